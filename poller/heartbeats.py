"""Which loops make progress, and which are overdue: what `/-/healthy` answers from.

Liveness follows progress, not the fact that a process exists. Every loop of the daemon says when it will be
heard of next, and a loop that is not heard of by then is stuck. The clock is monotonic.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class Heartbeats:
    """The promises of every loop.

    Two generations of loops may run for a moment, under the same names. Each makes its promises through a
    `part` of its own, so that the end of one does not take back what the other has promised.

    Args:
        clock: Monotonic seconds.
        patience: Seconds that every loop gets beyond what it promised.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic, *, patience: float = 0.0) -> None:
        self._clock = clock
        self.patience = patience
        self._due: dict[str, float] = {}
        self._lock = threading.Lock()
        self._parts: list[Heartbeats] = []

    def part(self) -> Heartbeats:
        """Promises of their own, which count here as well until they are forgotten."""
        part = Heartbeats(self._clock, patience=self.patience)
        with self._lock:
            self._parts = [each for each in self._parts if each._due]  # noqa: SLF001 - the same class
            self._parts.append(part)
        return part

    def beat(self, name: str, *, within: float) -> None:
        """Say that `name` is alive and will be heard of again within so many seconds."""
        with self._lock:
            self._due[name] = self._clock() + within + self.patience

    def forget(self, name: str) -> None:
        """Say that `name` has ended and is not expected again."""
        with self._lock:
            self._due.pop(name, None)

    def overdue(self) -> dict[str, float]:
        """Those who are late, and by how many seconds."""
        now = self._clock()
        with self._lock:
            late = {name: now - due for name, due in self._due.items() if due < now}
            parts = tuple(self._parts)
        for part in parts:
            for name, seconds in part.overdue().items():
                late[name] = max(seconds, late.get(name, seconds))
        return late
