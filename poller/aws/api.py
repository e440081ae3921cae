"""Lists and gets the jobs of one kind in one account and region.

A listing believes every page it has been given and promises nothing about absence unless it reached its end.
The service says nowhere how long a token lives or whether a list holds still. A token that came before is a
circle. Fresh tokens may go on for dozens of empty pages, but not forever: pages that show nothing new are
bounded by their number and by time.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from poller.aws.failures import translated
from poller.errors import AwsError, AwsReason, IncompleteScanError
from poller.times import parse_time

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import datetime

    from poller.aws.limits import Patience
    from poller.aws.sessions import Client
    from poller.kinds import Kind

_MOST_PAGES = 20_000
_MOST_IDLE_PAGES = 1_000
_LEAST_IDLE_PAGES = 100
_IDLE_SECONDS = 120.0
"""A listing ends after so many pages in a row that show nothing new, or after fewer that take this long."""


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a listing.

    Args:
        items: The service's own JSON, one value for each item; nothing is promised about their types.
        token: What asks for the next page; `None` at the end.
        served_at: The service's clock, from the response's `Date` header.
    """

    items: list[Any]
    token: str | None
    served_at: datetime | None


@dataclass(frozen=True, slots=True)
class Answer:
    """What a Get says of one job.

    Args:
        item: The service's own JSON.
        served_at: As in `Page`.
    """

    item: dict[str, Any]
    served_at: datetime | None


class JobsApi:
    """The two calls that a kind needs.

    Args:
        client: Calls the kind's service.
        kind: The kind.
    """

    def __init__(self, client: Client, kind: Kind) -> None:
        self._kind = kind
        self._client = client

    @property
    def throttled(self) -> bool:
        """Whether AWS has throttled any of these calls, also one that succeeded in the end."""
        return self._client.throttled

    def pages(self, since: datetime | None) -> Iterator[Page]:
        """List the jobs submitted after `since`, or all; oldest first, a page at a time.

        Raises:
            AwsError: The first page could not be had.
            IncompleteScanError: A later one could not be had, or the listing goes round in circles.
        """
        token: str | None = None
        tokens: set[str] = set()
        shapes: set[int | None] = {None}
        idle, news_at = 0, time.monotonic()
        for number in range(_MOST_PAGES):
            page = self._page(since, token, number)
            yield page
            token = page.token
            if token is None:
                return
            if token in tokens:
                raise IncompleteScanError(
                    f"{self._kind.list_operation} goes round in circles at page {number + 1}"
                )
            tokens.add(token)
            shape = hash((repr(page.items[0]), repr(page.items[-1]), len(page.items))) if page.items else None
            if shape not in shapes:
                shapes.add(shape)
                idle, news_at = 0, time.monotonic()
                continue
            idle += 1
            long = idle >= _LEAST_IDLE_PAGES and time.monotonic() - news_at > _IDLE_SECONDS
            if long or idle >= _MOST_IDLE_PAGES:
                raise IncompleteScanError(
                    f"{self._kind.list_operation} has shown nothing new for {idle} pages"
                )
        raise IncompleteScanError(f"{self._kind.list_operation} has not ended after {_MOST_PAGES} pages")

    def _page(self, since: datetime | None, token: str | None, number: int) -> Page:
        asked: dict[str, Any] = dict(self._kind.list_parameters)
        if since is not None:
            asked[self._kind.since_parameter] = since
        if token is not None:
            asked["nextToken"] = token
        try:
            with translated(self._kind.list_operation):
                response = self._client.call(self._kind.list_operation, **asked)
        except AwsError as error:
            if number == 0:
                raise
            message = f"page {number + 1}: {error}"
            raise IncompleteScanError(message, reason=error.reason, code=error.code) from error
        items = response.get(self._kind.list_key)
        following = response.get("nextToken")
        # An empty list may be left out, but then nothing else stands in its place.
        strange = items is None and response.keys() - {self._kind.list_key, "nextToken", "ResponseMetadata"}
        if strange or not isinstance(items, list | None) or not isinstance(following, str | None):
            message = f"page {number + 1} of {self._kind.list_operation} is not a list of jobs"
            raise IncompleteScanError(message, reason=AwsReason.MALFORMED)
        return Page(items=items or [], token=following or None, served_at=_served_at(response))

    def get(self, arn: str, patience: Patience | None = None) -> Answer:
        """Get one job.

        Args:
            arn: The job.
            patience: How long it may take; without limit by default.

        Raises:
            AwsError: It could not be had; with `NOT_FOUND` if the service says that there is no such job.
        """
        try:
            with translated(self._kind.get_operation):
                asked = {self._kind.get_parameter: arn}
                response = self._client.call(self._kind.get_operation, patience=patience, **asked)
        except AwsError as error:
            if self._kind.is_gone(error.code, str(error)):
                raise AwsError(str(error), reason=AwsReason.NOT_FOUND, code=error.code) from error
            if error.reason is AwsReason.NOT_FOUND:
                # Something else is missing, not the job.
                raise AwsError(str(error), reason=AwsReason.INVALID, code=error.code) from error
            raise
        served_at = _served_at(response)
        del response["ResponseMetadata"]
        return Answer(response, served_at)


def _served_at(response: Mapping[str, Any]) -> datetime | None:
    return parse_time(response["ResponseMetadata"]["HTTPHeaders"].get("date"))
