"""Which endings Bedrock's own events told of, and which of them a list has shown.

The replica that hears of an ending may not be the one whose poll shows it, so both stand in one row for each
job and status. An audit takes the rows out when their time is over: each is counted by one replica.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import sqlalchemy as sa

from poller.store.jobs import chunks
from poller.store.tables import native_events

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from poller.store.database import Database

LATEST_SECONDS = 300.0
"""How long after a list has shown an ending a native event may still tell of it."""
_KEPT_SECONDS = 86400.0


@dataclass(frozen=True, slots=True, order=True)
class Ending:
    """A job that has entered a status which ends it."""

    job_arn: str
    status: str
    kind: str


class NativeEvents:
    """The endings that were told of or shown.

    Args:
        database: Where.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def tell(self, endings: Iterable[Ending]) -> None:
        """Record that native events told of these endings; the first time counts."""
        found = sorted(set(endings))
        if found:
            self._database.write(lambda connection: self._note(connection, "told_at", found))

    def show(self, connection: sa.Connection, endings: Iterable[Ending]) -> None:
        """Record, in the transaction that records the events, that a list has shown these endings."""
        if found := sorted(set(endings)):
            self._note(connection, "shown_at", found)

    def _note(self, connection: sa.Connection, column: str, endings: Iterable[Ending]) -> None:
        insert = self._database.insert(native_events).values({column: self._database.now()})
        first = sa.func.coalesce(native_events.c[column], insert.excluded[column])
        key = [native_events.c.job_arn, native_events.c.status]
        statement = insert.on_conflict_do_update(index_elements=key, set_={column: first})
        connection.execute(
            statement,
            [{"job_arn": each.job_arn, "status": each.status, "kind": each.kind} for each in endings],
        )

    def told(self, arns: Collection[str]) -> set[tuple[str, str]]:
        """The jobs among these whose ending a native event told of, with the status."""
        columns = (native_events.c.job_arn, native_events.c.status)
        found: set[tuple[str, str]] = set()
        with self._database.read() as connection:
            for some in chunks(arns):
                told = native_events.c.told_at.is_not(None)
                statement = sa.select(*columns).where(native_events.c.job_arn.in_(some), told)
                found.update((arn, status) for arn, status in connection.execute(statement))
        return found

    def audit(self) -> Counter[str]:
        """Take out what is over, and count the endings that no native event told of in time, by kind."""
        told, shown = native_events.c.told_at, native_events.c.shown_at

        def transaction(connection: sa.Connection) -> Counter[str]:
            now = connection.execute(sa.select(self._database.now())).scalar_one()
            # Times that are yet to come were written by a clock that was ahead.
            seen = sa.func.coalesce(shown, told)
            forgotten = sa.or_(seen <= now - _KEPT_SECONDS, seen > now + LATEST_SECONDS)
            over = sa.or_(shown <= now - LATEST_SECONDS, forgotten)
            in_time = sa.func.coalesce(told <= shown + LATEST_SECONDS, sa.false())
            missed = sa.and_(shown.is_not(None), ~in_time, ~forgotten)
            statement = sa.delete(native_events).where(over).returning(native_events.c.kind, missed)
            return Counter(kind for kind, is_missed in connection.execute(statement) if is_missed)

        return self._database.write(transaction)
