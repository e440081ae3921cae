"""The snapshot of every job, and the leases on the targets that keep it current.

A target is claimed by one conditional update, with a lease and a growing epoch, by the database's clock.
Every write of a poll carries the epoch, and writes nothing if another replica has claimed the target since.
One transaction holds what was seen and the deliveries that it owes.
"""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass
from operator import itemgetter
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from poller.errors import LeaseLostError
from poller.model import Job, JobState, Outcome, Records, Target
from poller.plan import PAGE_SIZE, OpenJob
from poller.store.database import Prepared
from poller.store.dialects import by_bytes
from poller.store.jobs import (
    COLUMNS,
    COUNTED,
    COUNTED_BY,
    PLACE,
    RECALL,
    RECORD_STATES,
    chunks,
    counted_by,
    known_of,
    rank_of,
    row_of,
)
from poller.store.outbox import Enqueue
from poller.store.tables import from_micros, job_counts, jobs, targets, to_micros
from poller.store.target_rows import TargetRows

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
    from datetime import datetime

    from poller.model import Change, Event
    from poller.store.database import Database

_LONG_LEASE_SECONDS = 120.0

_FIRST_WAIT_SECONDS = 60.0
_LONGEST_WAIT_SECONDS = 3600.0
"""Between two Gets of a job whose Get fails: twice as long each time, up to this."""

_OPEN = sa.and_(~jobs.c.terminal, ~jobs.c.gone)


@dataclass(frozen=True, slots=True)
class Claim:
    """A target held for one poll, with what is remembered of it.

    Args:
        target: The target.
        key: The key of its row.
        epoch: The fencing number of this claim.
        baselined: Whether a first complete scan has been recorded.
        high_water: The newest submission time that a complete scan saw.
        full_scan_age: Seconds since the last complete full scan; `None` if there was none.
    """

    target: Target
    key: str
    epoch: int
    baselined: bool
    high_water: datetime | None
    full_scan_age: float | None


@dataclass(frozen=True, slots=True)
class Observation:
    """A change to record, the event it publishes if any, and the sinks the event is owed to."""

    change: Change
    event: Event | None = None
    sinks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class TargetActivity:
    """What is seen of a target: the seconds since its last claim, and whether that poll was cut off."""

    target_id: str
    age: float
    cut_off: bool


class Snapshot:
    """What is known of the jobs.

    Args:
        database: Where.
        owner: Who this process is, in leases; unique among replicas.
        lease: Seconds that a claim lasts unless renewed.
    """

    def __init__(self, database: Database, *, owner: str, lease: float) -> None:
        self.rows = TargetRows(database)
        self._database = database
        self._owner = owner
        self.lease = lease
        self.on_owed: Callable[[], None] = lambda: None
        """Called, in the thread that recorded, after each commit that owes deliveries."""
        self._renewed: dict[str, float] = {}
        insert = database.insert(jobs)
        changing = {name: insert.excluded[name] for name in COLUMNS if name not in {"arn", "target_id"}}
        upsert = insert.on_conflict_do_update(index_elements=[jobs.c.arn], set_=changing)
        self._upsert = Prepared(database.engine, upsert, COLUMNS)
        count = database.insert(job_counts)
        sums = {"jobs": job_counts.c.jobs + count.excluded.jobs}
        added = count.on_conflict_do_update(index_elements=list(job_counts.primary_key), set_=sums)
        self._recount = Prepared(database.engine, added, [column.name for column in job_counts.columns])
        self._owe = Enqueue(database)
        held = (targets.c.id == sa.bindparam("target"), targets.c.epoch == sa.bindparam("held"))
        now = database.now()
        renewed = {"lease_until": now + lease}
        # A renewal that comes after the end of a poll must not take the target again.
        not_given_back = targets.c.lease_until.is_not(None)
        given_back = {"lease_owner": None, "lease_until": None}
        seen = {**given_back, "polled_at": now, "high_water": sa.bindparam("mark", type_=sa.BigInteger())}
        seen_whole = {**seen, "full_scan_at": now, "baselined": True}
        self._renewing, self._releasing, self._finishing, self._finishing_full = (
            Prepared(
                database.engine,
                sa.update(targets).where(*held, *more).values(values).returning(targets.c.epoch),
            )
            for values, more in (
                (renewed, [not_given_back]),
                (given_back, []),
                (seen, []),
                (seen_whole, []),
            )
        )
        self._claiming = Prepared(database.engine, self._claim_of(rested=False))
        self._claiming_rested = Prepared(database.engine, self._claim_of(rested=True))
        self._opening = Prepared(
            database.engine,
            sa.select(jobs.c.arn, jobs.c.submitted_at, jobs.c.missed, jobs.c.get_failures, _is_waiting(now))
            .where(jobs.c.target_id == sa.bindparam("target"), _OPEN)
            .order_by(sa.func.coalesce(jobs.c.submitted_at, -1), by_bytes(jobs.c.arn)),
        )

    def register(self, wanted: Iterable[Target]) -> None:
        """See that every target has a row of its own, with its present name."""
        self.rows.register(wanted)

    def claim(self, target: Target, *, after: float = 0.0) -> Claim | None:
        """Take the lease on a target; `None` if another replica holds it, or had it a moment ago.

        Args:
            target: The target.
            after: Seconds since its last claim that must have passed, unless its replica has fallen silent in
                the middle of the poll.
        """
        claiming = self._claiming_rested if after > 0 else self._claiming
        key = self.rows.key(target)
        row = self._database.write_row(claiming, {"target": key, "rest": after})
        if row is None:
            return None
        self._renewed[key] = time.monotonic()
        return _claim(target, key, row)

    def _claim_of(self, *, rested: bool) -> sa.Executable:
        """The statement that claims a target; takes `target`, and `rest` if the target must have rested."""
        now = self._database.now()
        # A lease of an absurd length was taken while the clock was ahead.
        absurd = targets.c.lease_until > now + max(2 * self.lease, _LONG_LEASE_SECONDS)
        free = sa.or_(targets.c.lease_until.is_(None), targets.c.lease_until <= now, absurd)
        if rested:
            last = targets.c.claimed_at
            long_ago = last <= now - sa.bindparam("rest", type_=sa.Double())
            due = sa.or_(last.is_(None), long_ago, last > now, targets.c.lease_until.is_not(None))
            free = sa.and_(free, due)
        # The replica that holds the row is at work on the target, if not yet or no longer by a lease.
        unlocked = sa.select(targets.c.id).where(targets.c.id == sa.bindparam("target"), free)
        return (
            sa.update(targets)
            .where(targets.c.id == unlocked.with_for_update(skip_locked=True).scalar_subquery())
            .values(
                lease_owner=self._owner,
                lease_until=now + self.lease,
                epoch=targets.c.epoch + 1,
                claimed_at=now,
            )
            .returning(*self._remembered())
        )

    def sightings(self, within: float | None) -> list[TargetActivity]:
        """What the other replicas are doing.

        Args:
            within: Only what they have claimed in the last so many seconds, and what they have left lying;
                `None` for all that was ever claimed, our own included.
        """
        now = self._database.now()
        left = sa.and_(targets.c.lease_until.is_not(None), targets.c.lease_until <= now)
        statement = sa.select(targets.c.id, now - targets.c.claimed_at, sa.func.coalesce(left, sa.false()))
        if within is None:
            statement = statement.where(targets.c.claimed_at.is_not(None))
        else:
            others = sa.and_(
                targets.c.lease_owner.is_distinct_from(self._owner), targets.c.claimed_at > now - within
            )
            statement = statement.where(sa.or_(left, others))
        with self._database.read() as connection:
            found = [(self.rows.id_of(key), age, left) for key, age, left in connection.execute(statement)]
        # Rows of targets that are not configured here are of no interest.
        return [TargetActivity(one, age or 0.0, bool(left)) for one, age, left in found if one is not None]

    def peek(self, target: Target) -> Claim:
        """What a claim would remember, without taking the lease; nothing may be written with it."""
        key = self.rows.key(target)
        statement = sa.select(*self._remembered()).where(targets.c.id == key)
        with self._database.read() as connection:
            row = connection.execute(statement).one_or_none()
        return Claim(target, key, 0, False, None, None) if row is None else _claim(target, key, row)

    def _remembered(self) -> tuple[sa.ColumnElement[Any], ...]:
        age = self._database.now() - targets.c.full_scan_at
        return (targets.c.epoch, targets.c.baselined, targets.c.high_water, age.label("full_scan_age"))

    def renew(self, claim: Claim) -> None:
        """Extend the lease, if a third of it has passed since the last write.

        Raises:
            LeaseLostError: Another replica has claimed the target since.
        """
        renewed = self._renewed.get(claim.key)
        if renewed is None or time.monotonic() - renewed > self.lease / 3:
            self._hold(claim, self._database.write_row(self._renewing, _key(claim)))

    def release(self, claim: Claim) -> None:
        """Give the lease back; nothing happens if it was lost."""
        self._database.write_row(self._releasing, _key(claim))

    def _fence(self, connection: sa.Connection, claim: Claim) -> None:
        """Extend the lease, in a transaction that writes nothing without it."""
        self._hold(claim, self._renewing.one(connection, _key(claim)).one_or_none())

    def _hold(self, claim: Claim, row: sa.Row[Any] | None) -> None:
        if row is None:
            raise LeaseLostError(f"the lease on {claim.target.id} was lost; nothing was written")
        self._renewed[claim.key] = time.monotonic()

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
                for row in connection.execute(RECALL, {"arns": some}):
                    if row.terminal and not row.gone:
                        ended[row.arn] = row.status
                    else:
                        others[row.arn] = known_of(row)
        return ended, others

    def known(self, arns: Collection[str]) -> dict[str, JobState]:
        """The rows of these jobs, by ARN; those never seen are absent."""
        with self._database.read() as connection:
            return {
                row.arn: known_of(row)
                for some in chunks(arns)
                for row in connection.execute(RECALL, {"arns": some})
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
            self._fence(connection, claim)
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

        def transaction(connection: sa.Connection) -> None:
            self._fence(connection, claim)
            self._write(connection, rows)
            for some in chunks(seen):
                connection.execute(sa.update(jobs).where(jobs.c.arn.in_(some)).values(missed=0))
            self._owe(connection, owed)

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
        counts = Counter(counted_by(row) for row in rows if not row["gone"])
        for some in chunks([row["arn"] for row in rows]):
            for *key, count in connection.execute(COUNTED, {"arns": some}):
                counts[tuple(key)] -= count
        # In one order, here and below, so that two transactions cannot wait for each other.
        self._upsert.many(connection, sorted(rows, key=itemgetter("arn")))
        moved = sorted((key, count) for key, count in counts.items() if count)
        names = (*COUNTED_BY, "jobs")
        self._recount.many(connection, [dict(zip(names, (*key, count), strict=True)) for key, count in moved])

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
            self._fence(connection, claim)
            for count in sorted(set(counted.values())):
                for some in chunks([arn for arn, missed in counted.items() if missed == count]):
                    connection.execute(sa.update(jobs).where(jobs.c.arn.in_(some)).values(missed=count))

        self._database.write(transaction)
        return counted

    def finish(self, claim: Claim, *, high_water: datetime | None, full: bool) -> None:
        """Record that a scan was complete, and give the lease back.

        Args:
            claim: The poll's claim.
            high_water: The newest submission seen; never moves the mark back.
            full: The scan listed everything: a first one is the baseline from now on.
        """
        mark = max((time for time in (high_water, claim.high_water) if time is not None), default=None)
        finishing = self._finishing_full if full else self._finishing
        self._hold(claim, self._database.write_row(finishing, {**_key(claim), "mark": to_micros(mark)}))

    def status_counts(self) -> Mapping[tuple[str, str, str, str], int]:
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
            .where(_OPEN)
            .group_by(*keys)
        )
        with self._database.read() as connection:
            return list(connection.execute(statement).all())


def _is_waiting(now: sa.ColumnElement[float]) -> sa.ColumnElement[bool]:
    """Whether a job's Get is not to be tried yet; a time too far ahead was written by a wrong clock."""
    after = jobs.c.get_after
    waiting = sa.and_(after > now, after <= now + _LONGEST_WAIT_SECONDS)
    return sa.func.coalesce(waiting, sa.false()).label("waiting")


def _claim(target: Target, key: str, row: Any) -> Claim:
    return Claim(target, key, row.epoch, bool(row.baselined), from_micros(row.high_water), row.full_scan_age)


def _key(claim: Claim) -> dict[str, Any]:
    """What says that a claim still holds."""
    return {"target": claim.key, "held": claim.epoch}
