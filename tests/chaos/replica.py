"""One replica, as its supervisor keeps it: whatever ends is started again. And what can happen to it.

Nothing here waits: a trouble begins, and `tend` ends it when its time has come.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from tests.chaos.link import Link
from tests.harness.daemon import Child, Zygote

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from tests.harness.postgres import Databases

_WARM_SECONDS = 1.0
_LONGEST_END = 40.0
_EXCUSED_SECONDS = 15.0
_RESTART_SECONDS = 0.2


@dataclass(slots=True)
class Stop:
    """A replica that stops, in one way or another.

    Args:
        who: Which run of which replica.
        what: How.
        at: When, in seconds since the epoch.
        until: When it went on, if it did.
    """

    who: str
    what: str
    at: float
    until: float = float("inf")


class Replica:
    """A place for a daemon; a context manager.

    Args:
        name: Whose.
        databases: The server of its store.
        outputs: The folder for what it says; standard output is one file for all replicas, so that its order
            is the order in which they wrote.
        environ: Makes the variables of a run, given its name and its link.
    """

    def __init__(
        self,
        name: str,
        databases: Databases,
        outputs: Path,
        environ: Callable[[str, Link], Mapping[str, str]],
    ) -> None:
        self.name = name
        self.link = Link(databases)
        self.problems: list[str] = []
        self.stops: list[Stop] = []
        self.starts = 0
        self._outputs = outputs
        self._environ = environ
        self._zygote = Zygote()
        self._stack = contextlib.ExitStack()
        self._child: Child | None = None
        self._warm_at = float("inf")
        self._start_at = 0.0
        self._pause = 0.0
        self._trouble: Stop | None = None
        self._ends_at = float("inf")
        self._end: Callable[[], object] = bool
        self._kill_by: float | None = None
        self._cut_until = float("-inf")

    def __enter__(self) -> Self:
        self._stack.enter_context(self.link)
        self._stack.enter_context(self._zygote)
        return self

    def __exit__(self, *_: object) -> None:
        if self._child is not None:
            # Whoever has ended the run may have ended its zygote as well, and the child with it.
            with contextlib.suppress(AssertionError):
                self._child.kill()
        self._stack.close()

    @property
    def who(self) -> str:
        """The name of its present run."""
        return f"{self.name}-{self.starts:03}"

    @property
    def at_work(self) -> bool:
        """Whether it runs, if only just, and nothing else befalls it."""
        return self._child is not None and self._trouble is None and self._kill_by is None

    @property
    def well(self) -> bool:
        """Whether it works, and has done so for a moment."""
        return self.at_work and time.monotonic() > self._warm_at

    def kill(self, pause: float) -> None:
        """SIGKILL it; it is started again after a pause."""
        assert self._child is not None
        self._begin("kill")
        self._child.kill()
        self._gone(pause)

    def terminate(self, pause: float) -> None:
        """SIGTERM it; once it has ended, it is started again after a pause."""
        assert self._child is not None
        self._begin("term")
        self._kill_by = time.monotonic() + _LONGEST_END
        self._pause = pause
        self._signal(signal.SIGTERM)

    def halt(self, seconds: float) -> None:
        """SIGSTOP it, and let it go on after a while."""
        self._signal(signal.SIGSTOP)
        self._last("halt", seconds, lambda: self._signal(signal.SIGCONT))

    def cut_off(self, seconds: float, *, silently: bool, late: bool) -> None:
        """Keep it from the database for a while, and from nothing else.

        Args:
            seconds: How long.
            silently: Nobody hears of it.
            late: What is said meanwhile arrives in the end.
        """
        self._cut_until = time.monotonic() + seconds
        if silently:
            self.link.silence()
        else:
            self.link.cut()
        self._last("silence" if silently else "cut", seconds, lambda: self.link.mend(late=late))

    def tend(self, *, excused: bool) -> None:
        """End what has lasted long enough, and start what has ended.

        Args:
            excused: Whether the database was away a moment ago, which a start does not survive.
        """
        now = time.monotonic()
        if now > self._ends_at:
            self.relieve()
        if self._child is not None and (code := self._child.poll()) is not None:
            self._ended(code, excused=excused or now - self._cut_until < _EXCUSED_SECONDS)
        elif self._child is not None and self._kill_by is not None and now > self._kill_by:
            self.problems.append(f"{self.who} did not end within {_LONGEST_END:.0f} s of SIGTERM")
            self._child.kill()
            self._gone(0)
        if self._child is None and now >= self._start_at:
            self._start()
        if self._warm_at == float("inf") and self._child is not None and "daemon.starting" in self.said():
            self._warm_at = now + _WARM_SECONDS

    def relieve(self) -> None:
        """End the trouble there is."""
        if self._trouble is not None:
            self._end()
            self._trouble.until = time.time()
            self._trouble = None
        self._ends_at = float("inf")

    def end(self) -> int | None:
        """SIGTERM it for good; its exit code, `None` if it does not end."""
        if self._child is None:
            return 0
        self._signal(signal.SIGTERM)
        return self._child.poll(_LONGEST_END)

    def said(self) -> str:
        """What its present run has said."""
        said = self._outputs / f"err-{self.who}"
        return said.read_text() if said.exists() else ""

    def _begin(self, what: str) -> Stop:
        stop = Stop(self.who, what, time.time())
        self.stops.append(stop)
        return stop

    def _last(self, what: str, seconds: float, end: Callable[[], object]) -> None:
        self._trouble = self._begin(what)
        self._ends_at = time.monotonic() + seconds
        self._end = end

    def _signal(self, number: signal.Signals) -> None:
        assert self._child is not None
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._child.pid, number)

    def _ended(self, code: int, *, excused: bool) -> None:
        told = self._kill_by is not None
        # One that has not got as far as to listen for SIGTERM dies of it.
        expected = {0, -signal.SIGTERM} if told else set[int]()
        if code not in expected and not (excused and code == 1):
            self.problems.append(f"{self.who} ended with {code}: {self.said()[-2000:]}")
        self._gone(self._pause if told else _RESTART_SECONDS)

    def _gone(self, pause: float) -> None:
        self._child = self._kill_by = None
        self._start_at = time.monotonic() + pause

    def _start(self) -> None:
        self.starts += 1
        self._warm_at = float("inf")
        environ = self._environ(self.who, self.link)
        err = self._outputs / f"err-{self.who}"
        self._child = self._zygote.start(["run"], environ, self._outputs / "out-all", err)
