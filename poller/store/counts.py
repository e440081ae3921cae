"""How many jobs there are: kept with every write, so that a long history costs nothing to count."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from poller.store.database import Prepared, PreparedList
from poller.store.jobs import OPEN, PLACE, RECORD_STATES, THESE, chunks
from poller.store.tables import job_counts, jobs

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from poller.store.database import Database

LONGEST_COUNTED = 200
"""Characters of a status by which jobs are counted; more do not fit into a key of PostgreSQL's index."""
_COUNTED_BY = (*PLACE, "status")
_COUNTED_STATUS: sa.ColumnElement[str] = sa.func.substr(
    jobs.c.status, sa.literal_column("1"), sa.literal_column(str(LONGEST_COUNTED))
)
_KEYS = (*(jobs.c[name] for name in PLACE), _COUNTED_STATUS)
_COUNTED = sa.select(*_KEYS, sa.func.count()).where(THESE, ~jobs.c.gone).group_by(*_KEYS)


class JobCounts:
    """The jobs' numbers by account, region, kind and status.

    Args:
        database: Where.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._counted = PreparedList(database.engine, _COUNTED)
        count = database.insert(job_counts)
        sums = {"jobs": job_counts.c.jobs + count.excluded.jobs}
        added = count.on_conflict_do_update(index_elements=list(job_counts.primary_key), set_=sums)
        self._recount = Prepared(database.engine, added, [column.name for column in job_counts.columns])

    def change_of(self, connection: sa.Connection, rows: Sequence[Mapping[str, Any]]) -> Counter[Any]:
        """By how much the numbers change when these rows are written; read before they are."""
        counts = Counter(_counted_by(row) for row in rows if not row["gone"])
        for some in chunks([row["arn"] for row in rows]):
            for *key, count in self._counted.all(connection, some):
                counts[tuple(key)] -= count
        return counts

    def add(self, connection: sa.Connection, change: Counter[Any]) -> None:
        """Write the numbers, in one order, so that two transactions cannot wait for each other."""
        moved = sorted((key, count) for key, count in change.items() if count)
        names = (*_COUNTED_BY, "jobs")
        self._recount.many(connection, [dict(zip(names, (*key, count), strict=True)) for key, count in moved])

    def by_status(self) -> Mapping[tuple[str, str, str, str], int]:
        """How many jobs there are by account, region, kind and status; those gone are left out."""
        statement = sa.select(job_counts).where(job_counts.c.jobs > 0)
        with self._database.read() as connection:
            return {(row[0], row[1], row[2], row[3]): row[4] for row in connection.execute(statement)}

    def open_totals(self) -> list[sa.Row[Any]]:
        """By account, region and kind: the open jobs' count, oldest submission (µs) and sums of records."""
        keys = (jobs.c.account_id, jobs.c.region, jobs.c.kind)
        statement = (
            sa.select(
                *keys,
                sa.func.count().label("open"),
                sa.func.min(jobs.c.submitted_at).label("oldest"),
                # Of two counts of 2^63 SQLite has no sum but as floating point.
                *(
                    sa.func.sum(sa.cast(jobs.c[f"records_{state}"], sa.Double())).label(state)
                    for state in RECORD_STATES
                ),
            )
            .where(OPEN)
            .group_by(*keys)
        )
        with self._database.read() as connection:
            return list(connection.execute(statement).all())


def _counted_by(row: Mapping[str, Any]) -> tuple[Any, ...]:
    return (*(row[key] for key in PLACE), row["status"][:LONGEST_COUNTED])
