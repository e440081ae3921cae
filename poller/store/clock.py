"""Notices when the database's clock falls back, against the monotonic clock of this process.

What is written while that clock is ahead would wait until it is there again. Code that reads the clock
reports it here, and code that waits for a time asks whether the written times can be believed.
"""

from __future__ import annotations

import threading
import time

FALL_SECONDS = 60.0
"""How far the database's clock may fall back without a delivery being tried the earlier for it."""


class ClockWatch:
    """How far the database's clock was ahead of the monotonic one; for many threads."""

    def __init__(self) -> None:
        self._offsets: dict[str, float] = {}
        self._lock = threading.Lock()

    def wrote(self, now: float) -> None:
        """Take note that something with a time of this clock is being written."""
        offset = now - time.monotonic()
        with self._lock:
            for name, known in self._offsets.items():
                self._offsets[name] = max(known, offset)

    def corrected(self, name: str, now: float) -> None:
        """Take note that nothing that `name` waits for has a time beyond this clock's any more."""
        with self._lock:
            self._offsets[name] = now - time.monotonic()

    def is_known(self, name: str) -> bool:
        """Whether what `name` waits for has been corrected before."""
        return name in self._offsets

    def fell_back(self, name: str, now: float) -> bool:
        """Whether the clock shows less than when something was written; so it may be at a first look."""
        before = self._offsets.get(name)
        return before is None or now - time.monotonic() < before - FALL_SECONDS
