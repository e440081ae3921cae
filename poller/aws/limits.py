"""Keeps the calls to one account and region below a rate.

The quotas of the list and Get operations are unpublished, and shared with whatever else the account runs, so
the limit is a setting and low by default. Retries of the SDK count, since they are requests too.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from poller.errors import StoppedError

if TYPE_CHECKING:
    from collections.abc import Callable


class RateLimit:
    """A token bucket that callers in threads wait at, in turn.

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

    def reserve(self) -> float:
        """Take the next turn, and return the seconds until it comes."""
        with self._lock:
            now = self._clock()
            self._full_at = max(self._full_at, now) + self._interval
            return max(0.0, self._full_at - now - self._burst * self._interval)

    def wait(self) -> None:
        """Wait for a turn.

        Raises:
            StoppedError: The process is shutting down.
        """
        if self._stop.wait(self.reserve()):
            raise StoppedError("given up: the process is shutting down")
