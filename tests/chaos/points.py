"""Numbers every step that the program takes, and makes it die or fail at one of them.

Nothing in the program knows of this. A step is what passes a border: a statement or a commit at the
database's driver, a request at botocore's HTTP session, a POST at aiohttp's, a write to standard output. Each
is a point before it happens and a point after, when it has happened and nobody has been told. An error is
raised where the library below would raise it, so that everything above treats it as real.
"""

from __future__ import annotations

import errno
import io
import os
import re
import signal
import sqlite3
import sys
import time
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp
from botocore.exceptions import ConnectionClosedError, EndpointConnectionError
from botocore.httpsession import URLLib3Session
from sqlalchemy.engine.default import DefaultDialect

from tests.chaos.disk import fill, limit
from tests.chaos.trace import Trace

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_STEPS = (
    ("alembic|CREATE|sqlite_master|table_info|DROP", "migrate"),
    ("^BEGIN", "begin"),
    ("quick_check|user_version|FROM targets LIMIT", "probe"),
    ("INTO targets", "register"),
    ("INTO jobs|INTO events|INTO deliveries", "record"),
    ("UPDATE targets.*RETURNING", "claim target"),
    ("UPDATE targets", "fence target"),
    ("job_counts", "count jobs"),
    ("UPDATE jobs", "count missing"),
    ("UPDATE deliveries.*(state=|attempts=)", "settle"),
    ("UPDATE deliveries", "claim delivery"),
    ("DELETE", "prune"),
    ("FROM deliveries", "look for deliveries"),
    ("FROM jobs", "recall jobs"),
    ("^SELECT .*julianday", "ask the time"),
)
_HANG_LOOK_SECONDS = 0.02


class Mode(StrEnum):
    """What happens at the point."""

    COUNT = "count"
    """Nothing; the points are numbered."""
    KILL = "kill"
    """SIGKILL."""
    ERROR_ONCE = "error-once"
    """The step fails, this time."""
    ERROR_FOR_GOOD = "error-for-good"
    """The step and every later one of its kind fail, until somebody makes the file that ends it."""
    HANG = "hang"
    """The step and every later one of its kind do not return, until somebody makes the file that ends it."""
    DISK_FULL = "disk-full"
    """From this step on there is no room on the store's disk, until somebody makes room."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do to a process.

    Args:
        trace: Where its points are noted.
        mode: What happens at the point.
        number: The point.
        ended: The file whose existence ends an error for good.
        disk: The folder whose disk fills up.
    """

    trace: Path
    mode: Mode = Mode.COUNT
    number: int = 0
    ended: Path | None = None
    disk: Path | None = None

    def environ(self) -> dict[str, str]:
        """As variables for the process."""
        return {
            "CHAOS_TRACE": str(self.trace),
            "CHAOS_MODE": self.mode.value,
            "CHAOS_POINT": str(self.number),
            "CHAOS_ENDED": str(self.ended or ""),
            "CHAOS_DISK": str(self.disk or ""),
        }

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> Plan | None:
        """What the variables say; `None` if they say nothing."""
        if "CHAOS_TRACE" not in environ:
            return None
        return cls(
            trace=Path(environ["CHAOS_TRACE"]),
            mode=Mode(environ["CHAOS_MODE"]),
            number=int(environ["CHAOS_POINT"]),
            ended=Path(environ["CHAOS_ENDED"]) if environ["CHAOS_ENDED"] else None,
            disk=Path(environ["CHAOS_DISK"]) if environ["CHAOS_DISK"] else None,
        )


class Points:
    """Passes the points of one process.

    Args:
        plan: What happens at which.
    """

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._trace = Trace(plan.trace)
        self._failing: str | None = None

    def reach(self, kind: str, name: str, error: Callable[[], Exception]) -> None:
        """Pass one point.

        Args:
            kind: What fails together for good, such as `commit`.
            name: What the step is.
            error: What would be raised here.
        """
        plan = self._plan
        number = self._trace.note(f"{kind}: {name}")
        if number == plan.number:
            if plan.mode is Mode.KILL:
                self._trace.fire()
                os.kill(os.getpid(), signal.SIGKILL)
            if plan.mode is Mode.ERROR_ONCE:
                self._trace.fire()
                raise error()
            if plan.mode is Mode.DISK_FULL and plan.disk is not None:
                if not fill(plan.disk):
                    limit(plan.disk, os.getpid())
                self._trace.fire()
            if plan.mode in {Mode.ERROR_FOR_GOOD, Mode.HANG}:
                self._failing = kind
        if self._failing == kind and not self._ended():
            self._trace.fire()
            if plan.mode is not Mode.HANG:
                raise error()
            while not self._ended():
                time.sleep(_HANG_LOOK_SECONDS)

    def _ended(self) -> bool:
        return self._plan.ended is not None and self._plan.ended.exists()

    def install(self) -> None:
        """Put the points where the program meets the world."""
        self._watch_database()
        self._watch_aws()
        self._watch_posts()
        sys.stdout = io.TextIOWrapper(_Watched(self), write_through=True)

    def _watch_database(self) -> None:
        def wrap(method: str, kind: str, sql: int | None) -> None:
            real = getattr(DefaultDialect, method)

            def watched(dialect: Any, *arguments: Any, **named: Any) -> Any:
                name = method.removeprefix("do_") if sql is None else step_of(arguments[sql])
                self.reach(f"before {kind}", name, _disk_error)
                result = real(dialect, *arguments, **named)
                self.reach(f"after {kind}", name, _disk_error)
                return result

            setattr(DefaultDialect, method, watched)

        wrap("do_execute", "statement", 1)
        wrap("do_executemany", "statement", 1)
        wrap("do_execute_no_params", "statement", 1)
        wrap("do_commit", "commit", None)
        wrap("connect", "connect", None)

    def _watch_aws(self) -> None:
        real = URLLib3Session.send

        def send(session: Any, request: Any) -> Any:
            name = f"{request.method} /{request.url.split('/')[3].split('?')[0]}"
            self.reach(
                "before request",
                name,
                lambda: EndpointConnectionError(endpoint_url=request.url, error="no route"),
            )
            response = real(session, request)
            self.reach("after request", name, lambda: ConnectionClosedError(endpoint_url=request.url))
            return response

        URLLib3Session.send = send

    def _watch_posts(self) -> None:
        real = aiohttp.ClientSession._request

        async def request(session: Any, *arguments: Any, **named: Any) -> Any:
            self.reach("before post", "webhook", lambda: aiohttp.ClientOSError(errno.EPIPE, "broken pipe"))
            response = await real(session, *arguments, **named)
            try:
                self.reach("after post", "webhook", aiohttp.ServerDisconnectedError)
            except aiohttp.ClientError:
                response.close()
                raise
            return response

        aiohttp.ClientSession._request = request  # type: ignore[assignment, method-assign]


class _Watched(io.BufferedWriter):
    """Standard output with a point before each write and after each flush."""

    def __init__(self, points: Points) -> None:
        super().__init__(io.FileIO(1, "w", closefd=False))
        self._points = points

    def write(self, data: Any) -> int:
        self._points.reach("before write", "stdout", _io_error)
        return super().write(data)

    def flush(self) -> None:
        super().flush()
        self._points.reach("after write", "stdout", _io_error)


def step_of(statement: str) -> str:
    """What a statement is for."""
    flat = " ".join(statement.split())
    return next((step for pattern, step in _STEPS if re.search(pattern, flat)), flat[:40])


def _disk_error() -> Exception:
    return sqlite3.OperationalError("disk I/O error")


def _io_error() -> Exception:
    return OSError(errno.EIO, os.strerror(errno.EIO))
