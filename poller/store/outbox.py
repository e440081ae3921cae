"""Events, and the deliveries that are owed: an outbox in the same database as the snapshot.

A delivery is `pending` until it is settled as `done` or `dead`, or until an operator gives it up: `dropped`.
A claim takes a lease and raises the epoch; a settle with an older epoch changes nothing, so a worker that was
asleep past its lease cannot undo another's work. Of the pending deliveries of one job to one sink only the
oldest can be claimed: that is the order.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from poller.model import Delivery, Event, storable
from poller.store.clock import FALL_SECONDS
from poller.store.database import Prepared
from poller.store.delivery_queries import (
    BACKLOG,
    BACKLOG_OF,
    BODIES,
    DEAD,
    DEAD_LETTERS,
    DEAD_LETTERS_OF,
    DELIVERED,
    DONE,
    DROPPED,
    GIVEN_UP,
    GIVEN_UP_ON_REQUEST,
    LEASE,
    PENDING,
    PENDING_LITERAL,
    READY,
    RETRIED,
    DeliveryOrder,
    claimable,
    waiting,
)
from poller.store.tables import deliveries, events, sinks

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from poller.store.database import Database

_LONGEST_ERROR = 500
MOST_BYTES = 16 * 1024 * 1024
"""Of the bodies that one claim takes; the first one may be larger."""
_FOREVER_SECONDS = 1e12


@dataclass(frozen=True, slots=True)
class Settlement:
    """How one attempt ended.

    Args:
        delivery: The claimed delivery.
        delivered: The sink has it.
        retry_in: Seconds until the next attempt after a failure; `None` makes a dead letter.
        reason: The failure's closed-set reason.
        error: What went wrong, without secrets.
    """

    delivery: Delivery
    delivered: bool
    retry_in: float | None = None
    reason: str | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Backlog:
    """What is owed to one sink: counts by state, and when the oldest pending delivery was created."""

    states: Mapping[str, int]
    oldest_pending: float | None


@dataclass(frozen=True, slots=True)
class Removed:
    """What one step of retention deleted; the dead letters are not among the deliveries."""

    events: int = 0
    deliveries: int = 0
    dead_letters: int = 0


class Enqueue:
    """Writes events and what they owe, inside the transaction that writes why.

    Args:
        database: Where.
    """

    def __init__(self, database: Database) -> None:
        self._now = sa.select(database.now())
        self._clock = database.clock
        # An event that is there already, and that nothing refers to, may be about to be pruned: touched like
        # this, it is either kept or written again, and its retention begins now.
        inserted = database.insert(events)
        event = inserted.on_conflict_do_update(
            index_elements=[events.c.id], set_={"created_at": inserted.excluded.created_at}
        )
        self._events = Prepared(database.engine, event, ("id", "type", "job_arn", "created_at", "body"))
        once = [deliveries.c.event_id, deliveries.c.sink]
        delivery = database.insert(deliveries).on_conflict_do_nothing(index_elements=once)
        names = ("event_id", "sink", "job_arn", "state", "created_at", "due_at", "head")
        self._deliveries = Prepared(database.engine, delivery, names)
        self._heads = DeliveryOrder(database, deliveries.c.event_id)

    def __call__(self, connection: sa.Connection, owed: Sequence[tuple[Event, Collection[str]]]) -> None:
        """Write each event, and a delivery for each of its sinks; what is there already stays."""
        if not owed:
            return
        now = connection.execute(self._now).scalar_one()
        self._clock.wrote(now)
        self._events.many(
            connection,
            [
                {
                    "id": event.id,
                    "type": event.type,
                    "job_arn": event.job_arn,
                    "created_at": now,
                    "body": event.body,
                }
                for event, _ in owed
            ],
        )
        self._deliveries.many(
            connection,
            [
                {
                    "event_id": event.id,
                    "sink": sink,
                    "job_arn": event.job_arn,
                    "state": PENDING,
                    "created_at": now,
                    "due_at": now,
                    "head": True,
                }
                for event, names in owed
                for sink in names
            ],
        )
        keys = [event.id for event, _ in owed]
        self._heads.lock(connection, keys)
        self._heads.correct(connection, keys)


class Outbox:
    """The deliveries owed.

    Args:
        database: Where.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        # Built once: composing a statement costs more than running it.
        now = database.now()
        self._now = sa.select(now)
        self._claimable = claimable(now)
        # Ordered, and no EXISTS, or PostgreSQL would not use the order of the index to find none quickly.
        due = waiting().where(now >= READY).with_only_columns(sa.literal(1)).limit(1)
        self._look = sa.select(now, due.scalar_subquery())
        self._clock = database.clock
        self._next = waiting().with_only_columns(READY - now).limit(1)
        self._lease = Prepared(database.engine, LEASE)
        self._delivered = Prepared(database.engine, DELIVERED)
        self._retried = Prepared(database.engine, RETRIED)
        self._given_up = Prepared(database.engine, GIVEN_UP)
        self._heads = DeliveryOrder(database, deliveries.c.id)

    def claim(self, sink: str, *, limit: int, lease: float) -> list[Delivery]:
        """Take up to `limit` due deliveries of a sink, oldest first, at most one for each job.

        Args:
            sink: The sink's name; a parked sink yields nothing.
            limit: How many at most.
            lease: Seconds until others may take them again.
        """
        return self.exchange((), sink, limit=limit, lease=lease)[1]

    def settle(self, settlements: Sequence[Settlement]) -> int:
        """Record how attempts ended, in one transaction.

        Returns:
            How many were recorded; the rest had been claimed by another worker since.
        """
        return self.exchange(settlements, "", limit=0, lease=0)[0]

    def exchange(
        self,
        settlements: Sequence[Settlement],
        sink: str,
        *,
        limit: int,
        lease: float,
        most_bytes: int = MOST_BYTES,
        longest_wait: float = _FOREVER_SECONDS,
    ) -> tuple[int, list[Delivery]]:
        """Settle and claim in one transaction; a busy worker commits half as often that way.

        Args:
            settlements: As `settle`.
            sink: As `claim`, and the rest likewise; a `limit` of 0 claims nothing.
            limit: How many at most.
            lease: Seconds until others may take them again.
            most_bytes: Claim no more once their bodies have come to so many bytes.
            longest_wait: Seconds; what is due later than that was written by a clock that was ahead.

        Returns:
            How many settlements were recorded, and the claimed deliveries.
        """
        # A look first, because every transaction waits for the one lock there is to write.
        wanted = limit > 0 and (bool(settlements) or self._is_due(sink))
        if not settlements and not wanted:
            return 0, []

        def transaction(connection: sa.Connection) -> tuple[int, list[Delivery], float | None]:
            now: float = connection.execute(self._now).scalar_one()
            recorded = self._settle(connection, settlements, now)
            self._clock.wrote(now)
            if not wanted:
                return recorded, [], None
            fell = self._clock.fell_back(sink, now)
            if fell:
                self._repair_future_times_of(connection, sink, now, lease, longest_wait)
            claimed = self._claim(connection, sink, limit, now + lease, most_bytes)
            return recorded, claimed, now if fell else None

        recorded, claimed, corrected = self._database.write(transaction)
        if corrected is not None:
            self._clock.corrected(sink, corrected)
        return recorded, claimed

    def _settle(self, connection: sa.Connection, settlements: Sequence[Settlement], now: float) -> int:
        """Write settlements, and count those that were still held."""
        delivered, retried, given_up = [], [], []
        for item in settlements:
            row: dict[str, Any] = {"key": item.delivery.id, "held": item.delivery.epoch, "now": now}
            if item.delivered:
                delivered.append(row)
                continue
            row |= {"reason": item.reason, "error": storable((item.error or "")[:_LONGEST_ERROR])}
            if item.retry_in is None:
                given_up.append(row)
            else:
                retried.append(row | {"due": now + item.retry_in})
        self._heads.lock(connection, [item.delivery.id for item in settlements])
        recorded = (
            self._delivered.many(connection, delivered)
            + self._retried.many(connection, retried)
            + self._given_up.many(connection, given_up)
        )
        self._heads.correct(connection, [row["key"] for row in (*delivered, *given_up)])
        return recorded

    def _is_due(self, sink: str) -> bool:
        with self._database.read() as connection:
            now, due = connection.execute(self._look, {"sink_name": sink}).one()
        return bool(due) or self._clock.fell_back(sink, now)

    def _repair_future_times_of(
        self, connection: sa.Connection, sink: str, now: float, lease: float, longest_wait: float
    ) -> None:
        """Correct what was written while the clock was ahead, and would wait until it is there again."""
        later = [
            deliveries.c.sink == sink,
            deliveries.c.state == PENDING_LITERAL,
            deliveries.c.head,
            now < READY,
        ]
        # Not one that another replica has just taken, by a clock that has gone on since, or for longer.
        absurd = deliveries.c.lease_until > now + lease + FALL_SECONDS
        leased = sa.update(deliveries).where(*later, absurd)
        connection.execute(leased.values(lease_until=now + lease))
        ahead = [deliveries.c.due_at > now]
        if not self._clock.is_known(sink):
            # At a start it is unknown where the clock has been, except by times that cannot be.
            absurd = deliveries.c.due_at > now + longest_wait + FALL_SECONDS
            ahead.append(sa.or_(absurd, deliveries.c.created_at > now, deliveries.c.first_failed_at > now))
        first = deliveries.c.first_failed_at
        corrected = {"due_at": now, "first_failed_at": sa.case((first > now, now), else_=first)}
        connection.execute(sa.update(deliveries).where(*later, *ahead).values(corrected))

    def _claim(
        self, connection: sa.Connection, sink: str, limit: int, until: float, most_bytes: int
    ) -> list[Delivery]:
        found = connection.execute(self._claimable, {"sink_name": sink, "most": limit}).all()
        # Bodies are read once it is known how many fit: a few hundred may be as large as the memory.
        before = accumulate((row.size for row in found), initial=0)
        rows = [row for row, size in zip(found, before, strict=False) if size < most_bytes]
        self._lease.many(connection, [{"key": row.id, "until": until} for row in rows])
        keys = list({row.event_id for row in rows})
        bodies = dict(connection.execute(BODIES, {"keys": keys}).all()) if keys else {}
        return [
            Delivery(
                row.id,
                sink,
                Event(row.event_id, row.type, bytes(bodies[row.event_id])),
                row.attempts,
                row.epoch + 1,
                row.failing_for,
            )
            for row in rows
        ]

    def release(self, held: Sequence[Delivery]) -> None:
        """Give claims back without counting an attempt."""

        def transaction(connection: sa.Connection) -> None:
            for delivery in held:
                connection.execute(
                    sa.update(deliveries)
                    .where(deliveries.c.id == delivery.id, deliveries.c.epoch == delivery.epoch)
                    .values(lease_until=None)
                )

        self._database.write(transaction)

    def next_due(self, sink: str) -> float | None:
        """Seconds until a sink's next claimable delivery is due; negative if overdue, `None` if none is."""
        with self._database.read() as connection:
            seconds: float | None = connection.execute(self._next, {"sink_name": sink}).scalar_one_or_none()
        return seconds

    def park(self, sink: str, reason: str) -> None:
        """Stop giving out a sink's deliveries; they are kept."""
        now = self._database.now()
        statement = self._database.insert(sinks).values(
            name=sink, parked_at=now, parked_reason=storable(reason[:_LONGEST_ERROR])
        )
        update = {
            "parked_at": statement.excluded.parked_at,
            "parked_reason": statement.excluded.parked_reason,
        }
        upsert = statement.on_conflict_do_update(index_elements=[sinks.c.name], set_=update)
        self._database.write(lambda connection: connection.execute(upsert))

    def unpark(self, sink: str) -> bool:
        """Resume a parked sink; its deliveries start over, at once. False if it was not parked."""

        def transaction(connection: sa.Connection) -> bool:
            freed = connection.execute(
                sa.update(sinks)
                .where(sinks.c.name == sink, sinks.c.parked_at.is_not(None))
                .values(parked_at=None, parked_reason=None)
            )
            if freed.rowcount != 1:
                return False
            now = self._database.now()
            # Only what has been tried, so that a backlog of a million is not written again.
            connection.execute(
                sa.update(deliveries)
                .where(
                    deliveries.c.sink == sink,
                    deliveries.c.state == PENDING_LITERAL,
                    sa.or_(deliveries.c.attempts > 0, deliveries.c.due_at > now),
                )
                .values(due_at=now, attempts=0, first_failed_at=None)
            )
            return True

        return self._database.write(transaction)

    def parked(self) -> dict[str, str]:
        """The parked sinks, each with the reason."""
        statement = sa.select(sinks.c.name, sinks.c.parked_reason).where(sinks.c.parked_at.is_not(None))
        with self._database.read() as connection:
            return {row.name: row.parked_reason for row in connection.execute(statement)}

    def backlog(self, names: Collection[str] | None = None) -> dict[str, Backlog]:
        """What is owed, by sink; sinks to which nothing was ever owed are absent.

        Args:
            names: Count for these sinks only, without what was dropped; `None` counts everything.
        """
        found: dict[str, Backlog] = {}
        pending, others, parameters = BACKLOG, {DEAD: DEAD_LETTERS, DROPPED: GIVEN_UP_ON_REQUEST}, {}
        if names is not None:
            pending, others, parameters = BACKLOG_OF, {DEAD: DEAD_LETTERS_OF}, {"names": sorted(names)}
        with self._database.read() as connection:
            now: float = connection.execute(self._now).scalar_one()
            for sink, owed, oldest in connection.execute(pending, parameters):
                # What a clock that was ahead has written is not owed since tomorrow.
                found[sink] = Backlog({PENDING: owed}, min(oldest, now))
            for state, statement in others.items():
                for sink, owed in connection.execute(statement, parameters):
                    before = found.get(sink, Backlog({}, None))
                    found[sink] = Backlog({**before.states, state: owed}, before.oldest_pending)
        return found

    def prune(self, *, older_than: float, limit: int = 5000) -> Removed:
        """Delete settled deliveries and then events that nothing refers to, past their retention.

        Args:
            older_than: Seconds since they were settled, or created.
            limit: How many of each at most, so that the transaction stays short.

        Returns:
            What was deleted; there may be more until it is nothing at all.
        """

        def transaction(connection: sa.Connection) -> Removed:
            before = connection.execute(sa.select(self._database.now() - older_than)).scalar_one()
            self._repair_future_times(connection, before + older_than)

            def settled(state: str) -> int:
                old = (
                    sa.select(deliveries.c.id)
                    .where(deliveries.c.state == state, deliveries.c.settled_at < before)
                    .limit(limit)
                    # Held, so that none of them can be replayed before it is deleted.
                    .with_for_update(skip_locked=True)
                )
                return self._delete(connection, deliveries.c.id, old)

            delivered, dead = settled(DONE) + settled(DROPPED), settled(DEAD)
            referred = sa.exists().where(deliveries.c.event_id == events.c.id)
            orphans = (
                sa.select(events.c.seq)
                .where(events.c.created_at < before, ~referred)
                .limit(limit)
                # Held, so that a poll that owes the same event again waits, then writes it again.
                .with_for_update(skip_locked=True)
            )
            gone = self._delete(connection, events.c.seq, orphans)
            return Removed(gone, delivered, dead)

        return self._database.write(transaction)

    @staticmethod
    def _repair_future_times(connection: sa.Connection, now: float) -> None:
        """Let what a clock that was ahead has written grow old from now on."""
        limit = now + FALL_SECONDS
        for state in (DONE, DEAD, DROPPED):
            ahead = (deliveries.c.state == state, deliveries.c.settled_at > limit)
            connection.execute(sa.update(deliveries).where(*ahead).values(settled_at=now))
        connection.execute(sa.update(events).where(events.c.created_at > limit).values(created_at=now))

    @staticmethod
    def _delete(connection: sa.Connection, key: sa.Column[Any], chosen: sa.Select[Any]) -> int:
        # Materialized, because PostgreSQL may run a subquery with a limit several times.
        once = chosen.cte(nesting=True).prefix_with("MATERIALIZED", dialect="postgresql")
        return connection.execute(sa.delete(key.table).where(key.in_(sa.select(once.c[key.name])))).rowcount
