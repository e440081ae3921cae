"""The leases on targets, by which one replica at a time polls each.

A target is claimed by one conditional update, with a lease and a growing epoch, by the database's clock.
Every write of a poll carries the epoch, and writes nothing if another replica has claimed the target since.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from poller.errors import LeaseLostError
from poller.store.database import Prepared
from poller.store.tables import from_micros, targets, to_micros

if TYPE_CHECKING:
    from datetime import datetime

    from poller.model import Target
    from poller.store.database import Database
    from poller.store.target_rows import TargetRows

_LONG_LEASE_SECONDS = 120.0


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
class TargetActivity:
    """What is seen of a target.

    Args:
        target_id: The target.
        age: Seconds since its last claim.
        cut_off: Whether that poll was cut off.
        calls: What the last complete poll with a window cost; `None` if there was none.
    """

    target_id: str
    age: float
    cut_off: bool
    calls: int | None = None


class Leases:
    """The leases of one process.

    Args:
        database: Where.
        rows: The rows of the targets.
        owner: Who this process is; unique among replicas.
        lease: Seconds that a claim lasts unless renewed.
    """

    def __init__(self, database: Database, rows: TargetRows, *, owner: str, lease: float) -> None:
        self.rows = rows
        self.lease = lease
        self._database = database
        self._owner = owner
        self._renewed: dict[str, float] = {}
        held = (targets.c.id == sa.bindparam("target"), targets.c.epoch == sa.bindparam("held"))
        now = database.now()
        renewed = {"lease_until": now + lease}
        # A renewal that comes after the end of a poll must not take the target again.
        not_given_back = targets.c.lease_until.is_not(None)
        given_back = {"lease_owner": None, "lease_until": None}
        cost = sa.func.coalesce(sa.bindparam("calls", type_=sa.Integer()), targets.c.poll_calls)
        mark = sa.bindparam("mark", type_=sa.BigInteger())
        seen = {**given_back, "polled_at": now, "high_water": mark, "poll_calls": cost}
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

    def finish(
        self, claim: Claim, *, high_water: datetime | None, full: bool, calls: int | None = None
    ) -> None:
        """Record that a scan was complete, and give the lease back.

        Args:
            claim: The poll's claim.
            high_water: The newest submission seen; never moves the mark back.
            full: The scan listed everything: a first one is the baseline from now on.
            calls: What other replicas are to know of its cost, if anything.
        """
        mark = max((time for time in (high_water, claim.high_water) if time is not None), default=None)
        finishing = self._finishing_full if full else self._finishing
        values = {**_key(claim), "mark": to_micros(mark), "calls": calls}
        self._hold(claim, self._database.write_row(finishing, values))

    def fence(self, connection: sa.Connection, claim: Claim) -> None:
        """Extend the lease, in a transaction that writes nothing without it."""
        self._hold(claim, self._renewing.one(connection, _key(claim)).one_or_none())

    def _hold(self, claim: Claim, row: sa.Row[Any] | None) -> None:
        if row is None:
            raise LeaseLostError(f"the lease on {claim.target.id} was lost; nothing was written")
        self._renewed[claim.key] = time.monotonic()

    def sightings(self, within: float | None) -> list[TargetActivity]:
        """What the other replicas are doing.

        Args:
            within: Only what they have claimed in the last so many seconds, and what they have left lying;
                `None` for all that was ever claimed, our own included.
        """
        now = self._database.now()
        left = sa.and_(targets.c.lease_until.is_not(None), targets.c.lease_until <= now)
        age, cut_off = now - targets.c.claimed_at, sa.func.coalesce(left, sa.false())
        statement = sa.select(targets.c.id, age, cut_off, targets.c.poll_calls)
        if within is None:
            statement = statement.where(targets.c.claimed_at.is_not(None))
        else:
            others = sa.and_(
                targets.c.lease_owner.is_distinct_from(self._owner), targets.c.claimed_at > now - within
            )
            statement = statement.where(sa.or_(left, others))
        with self._database.read() as connection:
            found = [(self.rows.id_of(key), *row) for key, *row in connection.execute(statement)]
        # Rows of targets that are not configured here are of no interest.
        return [
            TargetActivity(one, age or 0.0, bool(left), calls)
            for one, age, left, calls in found
            if one is not None
        ]

    def peek(self, target: Target) -> Claim:
        """What a claim would remember, without taking the lease; nothing may be written with it."""
        key = self.rows.key(target)
        statement = sa.select(*self._remembered()).where(targets.c.id == key)
        with self._database.read() as connection:
            row = connection.execute(statement).one_or_none()
        return Claim(target, key, 0, False, None, None) if row is None else _claim(target, key, row)

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

    def _remembered(self) -> tuple[sa.ColumnElement[Any], ...]:
        age = self._database.now() - targets.c.full_scan_at
        return (targets.c.epoch, targets.c.baselined, targets.c.high_water, age.label("full_scan_age"))


def _claim(target: Target, key: str, row: Any) -> Claim:
    return Claim(target, key, row.epoch, bool(row.baselined), from_micros(row.high_water), row.full_scan_age)


def _key(claim: Claim) -> dict[str, Any]:
    """What says that a claim still holds."""
    return {"target": claim.key, "held": claim.epoch}
