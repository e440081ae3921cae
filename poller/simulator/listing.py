"""Listings: filters, order and the tokens that continue them.

A listing goes on from the place (submission time, ARN) of the last job shown, not from a count of jobs, so
jobs submitted meanwhile neither shift nor repeat anything. A token is that place, sealed together with the
filters it belongs to; the time filters are exclusive, the harsher reading of silent documentation.
"""

from __future__ import annotations

import base64
import binascii
import json
from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from poller.kinds import Kind
    from poller.simulator.jobs import Shelf, SimJob

MAX_PAGE = 1000
_AFTER_ALL = "\U0010ffff"
_SEAL_BYTES = 16


class TokenError(Exception):
    """A token that was not minted for this listing; the operation answers ValidationException."""


@dataclass(frozen=True, slots=True)
class Filters:
    """What a listing asks for; times in milliseconds, exclusive."""

    after: int | None = None
    before: int | None = None
    status: str | None = None
    name_contains: str | None = None
    ascending: bool = False

    @classmethod
    def of(cls, kind: Kind, request: Mapping[str, Any]) -> Filters:
        """Read the filters off a parsed request of a kind's list operation."""
        return cls(
            after=request.get(kind.since_parameter),
            before=request.get(kind.before_parameter),
            status=request.get("statusEquals"),
            name_contains=request.get("nameContains"),
            ascending=request.get("sortOrder") == "Ascending",
        )

    def show(self, job: SimJob, now: int) -> bool:
        """Whether the listing shows a job that lies within the times."""
        if job.listed > now or (self.status is not None and job.entry(now).status != self.status):
            return False
        return self.name_contains is None or self.name_contains in (job.name or "")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a listing stands.

    Args:
        key: The last job shown; `None` before the first.
        page: The number of the next page, from 1.
    """

    key: tuple[int, str] | None = None
    page: int = 1


@dataclass(frozen=True, slots=True)
class Page:
    """One page: the jobs, where the next one begins, and whether there is a next one."""

    jobs: list[SimJob]
    next: Place
    more: bool


def page(shelf: Shelf, filters: Filters, place: Place, size: int, now: int) -> Page:
    """The next `size` jobs of a listing; costs a bisection and the jobs looked at."""
    order = shelf.order
    low = 0 if filters.after is None else bisect_right(order, (filters.after, _AFTER_ALL))
    high = bisect_right(order, (now, _AFTER_ALL))
    if filters.before is not None:
        high = min(high, bisect_left(order, (filters.before, "")))
    if filters.ascending:
        if place.key is not None:
            low = max(low, bisect_right(order, place.key))
        indexes = range(low, high)
    else:
        if place.key is not None:
            high = min(high, bisect_left(order, place.key))
        indexes = range(high - 1, low - 1, -1)
    jobs: list[SimJob] = []
    more = False
    for index in indexes:
        job = shelf.jobs[order[index][1]]
        if filters.show(job, now):
            if len(jobs) == size:
                more = True
                break
            jobs.append(job)
    key = jobs[-1].key if jobs else place.key
    return Page(jobs, Place(key, place.page + 1), more)


class Tokens:
    """Mints and reads pagination tokens.

    Args:
        seed: Makes the seals those of this simulator only.
    """

    def __init__(self, seed: int) -> None:
        self._key = blake2b(str(seed).encode(), digest_size=32).digest()

    def mint(self, scope: tuple[object, ...], place: Place) -> str:
        """A token that continues the listing named by `scope` at `place`."""
        claims = json.dumps([place.page, place.key]).encode()
        return base64.urlsafe_b64encode(self._seal(scope, claims) + claims).decode()

    def read(self, scope: tuple[object, ...], token: str) -> Place:
        """The place a token continues at.

        Raises:
            TokenError: It is not a token of this listing.
        """
        seal, claims = _split(token)
        if seal != self._seal(scope, claims):
            raise TokenError
        number, key = json.loads(claims)
        return Place(None if key is None else (key[0], key[1]), number)

    def _seal(self, scope: tuple[object, ...], claims: bytes) -> bytes:
        return blake2b(repr(scope).encode() + claims, key=self._key, digest_size=_SEAL_BYTES).digest()


def page_number(token: str | None) -> int:
    """The number of the page that a token asks for; 1 without a token, or for an invalid one."""
    if token is None:
        return 1
    try:
        return int(json.loads(_split(token)[1])[0])
    except (TokenError, ValueError, TypeError, LookupError):
        return 1


def _split(token: str) -> tuple[bytes, bytes]:
    try:
        raw = base64.b64decode(token.encode(), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError) as error:
        raise TokenError from error
    return raw[:_SEAL_BYTES], raw[_SEAL_BYTES:]
