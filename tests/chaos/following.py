"""The same course of events with the daemon, `run`, instead of `once` for every poll."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from typing import TYPE_CHECKING

from tests.chaos.scenario import LONGEST, STARTS, Course

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.harness.daemon import Child

_TICK_SECONDS = 0.02


class DaemonCourse(Course):
    """One course of a daemon that is started again whenever it has ended."""

    child: Child | None = None

    def poll(self) -> None:
        """Let it run until the store has what the simulator has."""
        self._until(self._seen, "what happened is not in the store")

    def drain(self) -> None:
        """Let it run until nothing is owed, and stop it."""
        self._until(lambda: self._seen() and self.stage.pending() == 0, "something is still owed")
        if self.child is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.child.pid, signal.SIGTERM)
            if self.child.poll(LONGEST) is None:
                self.child.kill()
                self.problems.append("it did not end after SIGTERM")
            self.child = None

    def _until(self, true: Callable[[], bool], otherwise: str) -> None:
        limit = time.monotonic() + LONGEST
        while not (self._tend() and true()):
            if time.monotonic() > limit or self.starts > STARTS:
                self.problems.append(f"after {self.starts} starts {otherwise}")
                if self.child is not None:
                    self.child.kill()
                    self.child = None
                return

    def _tend(self) -> bool:
        """Start it if it does not run, and end a fault that has lasted long enough; whether it runs."""
        if self.child is None:
            self.child = self.start("run")
        code = self.child.poll(_TICK_SECONDS)
        if self.lasting and self.fired:
            code = self.endure(self.child)
        if code is None:
            return True
        self.ended(code)
        self.child = None
        return False

    def _seen(self) -> bool:
        return self.stage.baselined() and self.stage.seen()
