"""A wall clock that is wrong: for Python, and if wanted for SQLite in the same process.

The offset stands in a file and may change while the process runs; the monotonic clock stays as it is. That is
what a step of the system's clock does to a process, as far as a process can do it to itself.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import time
from datetime import timedelta, tzinfo
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

if TYPE_CHECKING:
    from pathlib import Path

_LOOK_SECONDS = 0.05
_EPOCH_JULIAN = 2440587.5
_DAY = 86400.0
_datetime = dt.datetime
_time = time.time


class _Meta(type):
    def __instancecheck__(cls, instance: object) -> bool:
        return isinstance(instance, _datetime)


class Offset:
    """How wrong the clock is.

    Args:
        path: A file with seconds in it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._looked = -1.0
        self._seconds = 0.0

    def __call__(self) -> float:
        """Seconds."""
        now = time.monotonic()
        if now - self._looked > _LOOK_SECONDS:
            self._looked = now
            # The file may be being written.
            with contextlib.suppress(OSError, ValueError):
                self._seconds = float(self._path.read_text())
        return self._seconds


def install(path: Path, *, database: bool) -> None:
    """Make the clock wrong; before the program is imported, or its modules keep the right one.

    Args:
        path: The file with the offset.
        database: Make SQLite's clock wrong too, by which leases and retries are timed.
    """
    offset = Offset(path)

    class Wrong(_datetime, metaclass=_Meta):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Any:
            return _datetime.now(tz) + timedelta(seconds=offset())

    def julianday(_moment: str) -> float:
        return _EPOCH_JULIAN + (_time() + offset()) / _DAY

    def connected(connection: Any, _record: Any) -> None:
        connection.create_function("julianday", 1, julianday)

    time.time = lambda: _time() + offset()
    dt.datetime = Wrong  # type: ignore[misc]
    if database:
        sa.event.listen(sa.engine.Engine, "connect", connected)
