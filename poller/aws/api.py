"""Lists and gets the jobs of one kind in one account and region.

A listing believes every page it has been given and promises nothing about absence unless it reached its end.
The service says nowhere how long a token lives or whether a list holds still, so a listing that goes round in
circles is recognised and ended.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from poller.aws.failures import translated
from poller.errors import AwsError, AwsReason, IncompleteScanError
from poller.kinds import parse_time

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import datetime

    from poller.aws.sessions import Client
    from poller.kinds import Kind

_MOST_PAGES = 20_000
_MOST_EMPTY_PAGES = 20


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


class JobsApi:
    """The two calls that a kind needs.

    Args:
        client: Calls the kind's service.
        kind: The kind.
    """

    def __init__(self, client: Client, kind: Kind) -> None:
        self._kind = kind
        self._client = client
        self.retries = 0
        """Attempts that answered calls needed beyond their first; a sign of throttling or trouble."""

    def pages(self, since: datetime | None) -> Iterator[Page]:
        """List the jobs submitted after `since`, or all; oldest first, a page at a time.

        Raises:
            AwsError: The first page could not be had.
            IncompleteScanError: A later one could not be had, or the listing goes round in circles.
        """
        token: str | None = None
        tokens: set[str] = set()
        shapes: set[int] = set()
        empty = 0
        for number in range(_MOST_PAGES):
            page = self._page(since, token, number)
            yield page
            token = page.token
            if token is None:
                return
            shape = hash((repr(page.items[0]), repr(page.items[-1]), len(page.items))) if page.items else None
            empty = 0 if page.items else empty + 1
            if token in tokens or shape in shapes or empty > _MOST_EMPTY_PAGES:
                raise IncompleteScanError(
                    f"{self._kind.list_operation} goes round in circles at page {number + 1}"
                )
            tokens.add(token)
            if shape is not None:
                shapes.add(shape)
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
        self.retries += response["ResponseMetadata"].get("RetryAttempts", 0)
        items = response.get(self._kind.list_key)
        following = response.get("nextToken")
        # An empty list may be left out, but then nothing else stands in its place.
        strange = items is None and response.keys() - {self._kind.list_key, "nextToken", "ResponseMetadata"}
        if strange or not isinstance(items, list | None) or not isinstance(following, str | None):
            message = f"page {number + 1} of {self._kind.list_operation} is not a list of jobs"
            raise IncompleteScanError(message, reason=AwsReason.MALFORMED)
        return Page(items=items or [], token=following or None, served_at=_served_at(response))

    def get(self, arn: str) -> dict[str, Any]:
        """Get one job, as the service's own JSON.

        Raises:
            AwsError: It could not be had; with `NOT_FOUND` if the service says that there is no such job.
        """
        try:
            with translated(self._kind.get_operation):
                response = self._client.call(self._kind.get_operation, **{self._kind.get_parameter: arn})
        except AwsError as error:
            if error.code in self._kind.gone_codes:
                raise AwsError(str(error), reason=AwsReason.NOT_FOUND, code=error.code) from error
            raise
        self.retries += response.pop("ResponseMetadata").get("RetryAttempts", 0)
        return response


def _served_at(response: Mapping[str, Any]) -> datetime | None:
    return parse_time(response["ResponseMetadata"]["HTTPHeaders"].get("date"))
