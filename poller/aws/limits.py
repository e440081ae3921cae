"""Keeps the calls to one account and region below a rate, and bounds how long one call may take.

The quotas of the list and Get operations are unpublished, and shared with whatever else the account runs, so
the limit is a setting and low by default. Retries of the SDK count, since they are requests too.

Listings go first: one listing tells of a thousand jobs, and a storm of Gets would hold it back for seconds.
Yet the targets of an account may list without end, so after a few listings in a row one Get has its turn.
"""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from typing import TYPE_CHECKING

from poller.errors import AwsError, AwsReason, StoppedError

if TYPE_CHECKING:
    from collections.abc import Callable

LISTINGS_IN_A_ROW = 3
"""Listings that may go before a waiting Get."""
_ROUNDING = 1e-6
"""Seconds by which sums of floating point may be wrong."""


class Patience:
    """How long one call may take, with its retries, from its first turn at the rate limit.

    The thread that calls shares it with the one that waits.

    Args:
        seconds: Without limit by default.
        clock: Monotonic seconds.
    """

    def __init__(self, seconds: float = math.inf, clock: Callable[[], float] = time.monotonic) -> None:
        self.seconds = seconds
        self.ends_at = math.inf
        """When it ends; never, before the first turn."""
        self.throttled = False
        """Whether AWS has throttled the call."""
        self._clock = clock

    def begin(self) -> None:
        """Count from now, unless it counts already."""
        self.ends_at = min(self.ends_at, self._clock() + self.seconds)

    @property
    def left(self) -> float:
        """The seconds that remain."""
        return self.ends_at - self._clock()

    @property
    def spent(self) -> float:
        """The seconds since the first turn; 0 before it, and if there is no end."""
        return self.seconds - self.left if self.ends_at < math.inf else 0.0

    def error(self) -> AwsError:
        """Why a call that takes longer is given up."""
        reason = AwsReason.THROTTLED if self.throttled else AwsReason.NETWORK
        why = "throttled" if self.throttled else "no answer"
        return AwsError(f"given up after {self.seconds:g} s: {why}", reason=reason)


class RateLimit:
    """A token bucket that callers in threads wait at, in two lines: listings, and all other calls.

    Args:
        per_second: The sustained rate.
        stop: Ends every wait.
        clock: Monotonic seconds.
    """

    def __init__(
        self, per_second: float, stop: threading.Event, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._interval = 1 / per_second
        self._burst = max(1.0, per_second)
        self._stop = stop
        self._clock = clock
        self._lock = threading.Lock()
        self._full_at = clock()
        self._listings: deque[object] = deque()
        self._others: deque[object] = deque()
        self._in_a_row = 0

    def wait(self, *, listing: bool = False, patience: Patience | None = None) -> None:
        """Wait for a turn.

        Args:
            listing: Whether it goes before other calls.
            patience: Of the call.

        Raises:
            StoppedError: The process is shutting down.
            AwsError: The patience ended first.
        """
        patience = patience or Patience()
        ticket = self.join(listing=listing)
        try:
            while patience.left > 0:
                if (seconds := self.take(ticket)) == 0:
                    break
                self._sleep(min(seconds, patience.left))
            else:
                raise patience.error()
        finally:
            self.leave(ticket)
        self._sleep(0)

    def join(self, *, listing: bool) -> object:
        """Stand in line; returns the ticket to take the turn with."""
        ticket = object()
        with self._lock:
            (self._listings if listing else self._others).append(ticket)
        return ticket

    def take(self, ticket: object) -> float:
        """Take the turn if it has come; else return the seconds until it does, if no listing comes between.

        Args:
            ticket: That of a caller who stands in line; it is used up by the turn.
        """
        with self._lock:
            now = self._clock()
            full_at = max(self._full_at, now)
            due = full_at + (self._before(ticket) + 1 - self._burst) * self._interval
            if due - now > _ROUNDING:
                return due - now
            self._full_at = full_at + self._interval
            if ticket in self._others:
                self._others.remove(ticket)
                self._in_a_row = 0
            else:
                self._listings.remove(ticket)
                self._in_a_row = min(self._in_a_row + 1, LISTINGS_IN_A_ROW)
            return 0.0

    def leave(self, ticket: object) -> None:
        """Leave the line, if still in it."""
        with self._lock:
            for line in (self._listings, self._others):
                if ticket in line:
                    line.remove(ticket)

    def _before(self, ticket: object) -> int:
        """How many of those in line have their turn before a ticket."""
        if ticket in self._listings:
            place = self._listings.index(ticket)
            return place + min(len(self._others), (self._in_a_row + place) // LISTINGS_IN_A_ROW)
        place = self._others.index(ticket)
        listings = (place + 1) * LISTINGS_IN_A_ROW - self._in_a_row
        return place + min(len(self._listings), listings)

    def _sleep(self, seconds: float) -> None:
        if self._stop.wait(seconds):
            raise StoppedError("given up: the process is shutting down")
