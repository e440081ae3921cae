"""The one clock of the tests: it stands still until it is moved, and speaks every language of the program."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import sqlalchemy as sa

NOW = datetime(2026, 11, 20, 10, tzinfo=UTC)


class Clock:
    """A time of day, seconds and SQL, all from one time.

    Args:
        now: Where it begins.
    """

    def __init__(self, now: datetime = NOW) -> None:
        self.now = now

    def __call__(self) -> datetime:
        """The time of day."""
        return self.now

    def seconds(self) -> float:
        """Seconds since the epoch."""
        return self.now.timestamp()

    def monotonic(self) -> float:
        """Seconds of a clock that shows no date."""
        return (self.now - NOW).total_seconds()

    def sql(self) -> sa.ColumnElement[float]:
        """Seconds as SQL that takes the time anew whenever a statement runs."""
        time: sa.BindParameter[float] = sa.bindparam(
            "clock", callable_=self.seconds, type_=sa.Double(), unique=True
        )
        return sa.cast(time, sa.Double())

    def tick(self, seconds: float) -> None:
        """Let time pass."""
        self.now += timedelta(seconds=seconds)
