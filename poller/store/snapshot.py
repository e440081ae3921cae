"""The snapshot of every job.

One transaction holds what was seen and the deliveries that it owes, under the lease on the target.
"""

from __future__ import annotations

from dataclasses import dataclass
from operator import itemgetter
from typing import TYPE_CHECKING, Any, ClassVar

import sqlalchemy as sa

from poller.model import Job, JobState, Outcome, Records, Target
from poller.plan import PAGE_SIZE, OpenJob
from poller.store.counts import JobCounts
from poller.store.database import Prepared, PreparedList
from poller.store.dialects import by_bytes
from poller.store.jobs import (
    COLUMNS,
    OPEN,
    PLACE,
    RECALL,
    RECORD_STATES,
    chunks,
    known_of,
    rank_of,
    row_of,
)
from poller.store.leases import Leases
from poller.store.native_events import NativeEvents
from poller.store.outbox import Enqueue
from poller.store.tables import from_micros, jobs
from poller.store.target_rows import TargetRows

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
    from datetime import datetime

    from poller.model import Change, Event
    from poller.store.database import Database
    from poller.store.leases import Claim
    from poller.store.native_events import Ending

_FIRST_WAIT_SECONDS = 60.0
_LONGEST_WAIT_SECONDS = 3600.0
"""Between two Gets of a job whose Get fails: twice as long each time, up to this."""


@dataclass(frozen=True, slots=True)
class Observation:
    """A change to record, the event it publishes if any, and the sinks the event is owed to.

    `ending` is there if a native event should tell of it.
    """

    change: Change
    event: Event | None = None
    sinks: tuple[str, ...] = ()
    ending: Ending | None = None


@dataclass(frozen=True, slots=True)
class OpenOutput:
    """Where an open job writes its output, and the target that it belongs to."""

    arn: str
    uri: str
    target_id: str


class Snapshot:
    """What is known of the jobs.

    Args:
        database: Where.
        owner: Who this process is, in leases; unique among replicas.
        lease: Seconds that a claim lasts unless renewed.
    """

    leases_type: ClassVar[type[Leases]] = Leases

    def __init__(self, database: Database, *, owner: str, lease: float) -> None:
        self.rows = TargetRows(database)
        self.leases = self.leases_type(database, self.rows, owner=owner, lease=lease)
        self.counts = JobCounts(database)
        self.native_events = NativeEvents(database)
        self._database = database
        self.on_owed: Callable[[], None] = lambda: None
        """Called, in the thread that recorded, after each commit that owes deliveries."""
        insert = database.insert(jobs)
        changing = {name: insert.excluded[name] for name in COLUMNS if name not in {"arn", "target_id"}}
        upsert = insert.on_conflict_do_update(index_elements=[jobs.c.arn], set_=changing)
        self._upsert = Prepared(database.engine, upsert, COLUMNS)
        self._recall = PreparedList(database.engine, RECALL)
        self._owe = Enqueue(database)
        self._opening = Prepared(
            database.engine,
            sa.select(
                jobs.c.arn,
                jobs.c.submitted_at,
                jobs.c.missed,
                jobs.c.get_failures,
                _is_waiting(database.now()),
            )
            .where(jobs.c.target_id == sa.bindparam("target"), OPEN)
            .order_by(sa.func.coalesce(jobs.c.submitted_at, -1), by_bytes(jobs.c.arn)),
        )

    def load_states(self, arns: Sequence[str]) -> tuple[dict[str, str], dict[str, JobState]]:
        """What is known of these jobs; those never seen are absent.

        Returns:
            The statuses of those that have ended and are still there, and the rows of the others, by ARN. In
            a long history nearly all have ended, and need no more than that.
        """
        ended: dict[str, str] = {}
        others: dict[str, JobState] = {}
        with self._database.read() as connection:
            for some in chunks(arns):
                for row in self._recall.all(connection, some):
                    arn, _, status, terminal, _, _, gone = row
                    if terminal and not gone:
                        ended[arn] = status
                    else:
                        others[arn] = known_of(row)
        return ended, others

    def known(self, arns: Collection[str]) -> dict[str, JobState]:
        """The rows of these jobs, by ARN; those never seen are absent."""
        with self._database.read() as connection:
            return {
                row.arn: known_of(row) for some in chunks(arns) for row in self._recall.all(connection, some)
            }

    def load_job(self, arn: str) -> Job:
        """The last observation of a job that has a row, without the service's own JSON."""
        with self._database.read() as connection:
            row = connection.execute(sa.select(jobs).where(jobs.c.arn == arn)).one()
        records = Records(*(getattr(row, f"records_{state}") for state in RECORD_STATES))
        return Job(
            arn=row.arn,
            kind=row.kind,
            account_id=row.account_id,
            region=row.region,
            status=row.status,
            rank=rank_of(row),
            terminal=row.terminal,
            outcome=Outcome(row.outcome) if row.outcome else None,
            name=row.name,
            model_id=row.model_id,
            submitted_at=from_micros(row.submitted_at),
            modified_at=from_micros(row.modified_at),
            ended_at=from_micros(row.ended_at),
            records=None if records == Records() else records,
        )

    def open_jobs(self, target: Target) -> list[OpenJob]:
        """The target's open jobs, oldest submission first, those without a time before all."""
        with self._database.read() as connection:
            rows = self._opening.one(connection, {"target": self.rows.key(target)}).all()
        return [
            OpenJob(row.arn, from_micros(row.submitted_at), row.missed, row.get_failures, bool(row.waiting))
            for row in rows
        ]

    def open_outputs(self) -> list[OpenOutput]:
        """Where the open jobs of the registered targets write their output."""
        statement = sa.select(jobs.c.arn, jobs.c.output_uri, jobs.c.target_id)
        with self._database.read() as connection:
            rows = connection.execute(statement.where(OPEN, jobs.c.output_uri.is_not(None))).all()
        found = [(row.arn, row.output_uri, self.rows.id_of(row.target_id)) for row in rows]
        # Rows of targets that are not configured here are of no interest.
        return [OpenOutput(arn, uri, target) for arn, uri, target in found if target is not None]

    def note_gets(self, claim: Claim, failed: Mapping[str, int], recovered: Collection[str]) -> None:
        """Record how the Gets of open jobs went; one that fails again and again is tried ever less often.

        Args:
            claim: The poll's claim.
            failed: How often in a row the Get of each of these jobs has failed.
            recovered: Jobs whose Get works again.

        Raises:
            LeaseLostError: Another replica has claimed the target since; nothing was written.
        """
        if not failed and not recovered:
            return

        def transaction(connection: sa.Connection) -> None:
            self.leases.fence(connection, claim)
            for count in sorted(set(failed.values())):
                wait = min(_FIRST_WAIT_SECONDS * 2.0 ** min(count - 1, 60), _LONGEST_WAIT_SECONDS)
                values = {"get_failures": count, "get_after": self._database.now() + wait}
                for some in chunks([arn for arn, failures in failed.items() if failures == count]):
                    connection.execute(sa.update(jobs).where(jobs.c.arn.in_(some)).values(values))
            for some in chunks(recovered):
                works = {"get_failures": 0, "get_after": None}
                connection.execute(sa.update(jobs).where(jobs.c.arn.in_(some)).values(works))

        self._database.write(transaction)

    def page_edges(self, target: Target) -> Iterator[datetime]:
        """When the last job of each full page of known jobs was submitted, newest first.

        Pages as the list operations would give them, filled with the known jobs of the target. Read as far
        as they are asked for, some pages at a time.
        """
        given, pages = 0, 1
        while True:
            edges = self._newest_edges(target, pages)
            yield from edges[given:]
            if len(edges) < pages:
                return
            given, pages = pages, 2 * pages

    def _newest_edges(self, target: Target, pages: int) -> list[datetime]:
        newest = (
            sa.select(jobs.c.submitted_at)
            .where(jobs.c.target_id == self.rows.key(target), jobs.c.submitted_at.is_not(None))
            .order_by(jobs.c.submitted_at.desc())
            .limit(pages * PAGE_SIZE)
            .subquery()
        )
        # Numbered outside of the limit, or the database would number the whole history first.
        place = sa.func.row_number().over(order_by=newest.c.submitted_at.desc()).label("place")
        numbered = sa.select(newest.c.submitted_at, place).subquery()
        statement = sa.select(numbered.c.submitted_at).where(numbered.c.place % PAGE_SIZE == 0)
        with self._database.read() as connection:
            edges = connection.execute(statement.order_by(numbered.c.place)).scalars().all()
        return [edge for micros in edges if (edge := from_micros(micros)) is not None]

    def record(
        self, claim: Claim, observations: Sequence[Observation], *, seen: Collection[str] = ()
    ) -> None:
        """Write what was seen, the events and the deliveries they owe, in one transaction.

        Args:
            claim: The poll's claim; its lease is renewed.
            observations: The changes.
            seen: ARNs of jobs that had been missed and are there again.

        Raises:
            LeaseLostError: Another replica has claimed the target since; nothing was written.
        """
        rows = [row_of(claim.key, observation.change) for observation in observations]
        owed = [(item.event, item.sinks) for item in observations if item.event is not None]
        shown = [item.ending for item in observations if item.ending is not None]

        def transaction(connection: sa.Connection) -> None:
            self.leases.fence(connection, claim)
            self._write(connection, rows)
            for some in chunks(seen):
                connection.execute(sa.update(jobs).where(jobs.c.arn.in_(some)).values(missed=0))
            self._owe(connection, owed)
            self.native_events.show(connection, shown)

        self._database.write(transaction)
        if owed:
            self.on_owed()

    def _write(self, connection: sa.Connection, rows: Sequence[dict[str, Any]]) -> None:
        """Write the jobs' rows, and keep the counts by what they replace."""
        if not rows:
            return
        # Another target may show the same jobs, and what its poll replaces has to be known.
        for place in sorted({"/".join(row[key] for key in PLACE) for row in rows}):
            self._database.exclude(connection, f"jobs of {place}")
        change = self.counts.change_of(connection, rows)
        # In one order, so that two transactions cannot wait for each other.
        self._upsert.many(connection, sorted(rows, key=itemgetter("arn")))
        self.counts.add(connection, change)

    def mark_missed(self, claim: Claim, arns: Collection[str]) -> dict[str, int]:
        """Count one more complete scan that should have shown these jobs and did not.

        Returns:
            The count of each so far.
        """
        if not arns:
            return {}
        # Read before, and written as what it shall be, or a transaction that is run twice would count twice.
        # Only the holder of the lease counts.
        with self._database.read() as connection:
            counted = {
                row.arn: row.missed + 1
                for some in chunks(arns)
                for row in connection.execute(
                    sa.select(jobs.c.arn, jobs.c.missed).where(jobs.c.arn.in_(some))
                )
            }

        def transaction(connection: sa.Connection) -> None:
            self.leases.fence(connection, claim)
            for count in sorted(set(counted.values())):
                for some in chunks([arn for arn, missed in counted.items() if missed == count]):
                    connection.execute(sa.update(jobs).where(jobs.c.arn.in_(some)).values(missed=count))

        self._database.write(transaction)
        return counted


def _is_waiting(now: sa.ColumnElement[float]) -> sa.ColumnElement[bool]:
    """Whether a job's Get is not to be tried yet; a time too far ahead was written by a wrong clock."""
    after = jobs.c.get_after
    waiting = sa.and_(after > now, after <= now + _LONGEST_WAIT_SECONDS)
    return sa.func.coalesce(waiting, sa.false()).label("waiting")
