"""The statements of the queue of deliveries, and the mark that lets them find what is due.

Each is built once, and written so that an index answers it: none reads what is settled, or what waits behind
an earlier delivery of its job.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from poller.store.tables import deliveries, events, sinks

if TYPE_CHECKING:
    from collections.abc import Sequence

    from poller.store.database import Database

PENDING, DONE, DEAD, DROPPED = "pending", "done", "dead", "dropped"

# SQLite uses a partial index only for a literal, never for a bound value.
PENDING_LITERAL, _DEAD_LITERAL, _DROPPED_LITERAL = (
    sa.literal_column(f"'{state}'", sa.String()) for state in (PENDING, DEAD, DROPPED)
)

# The same words as in the index.
READY: sa.ColumnElement[float] = sa.func.coalesce(deliveries.c.lease_until, deliveries.c.due_at)
"""When a pending delivery can be claimed, if it is a head."""


class DeliveryOrder:
    """Keeps `head` true for the oldest pending delivery of a job to a sink, and for no other.

    A transaction that settles deliveries takes the lock before; one that adds some, after it has. So one that
    adds and one that settles what was before it wait for each other, and the second one sees what the
    first has done. `correct` comes last.

    Args:
        database: Where.
        key: The column that says which deliveries those are.
    """

    def __init__(self, database: Database, key: sa.Column[Any]) -> None:
        near = deliveries.alias()
        touched = sa.select(near.c.sink, near.c.job_arn).where(
            near.c[key.name].in_(sa.bindparam("keys", expanding=True))
        )
        pending = sa.and_(
            deliveries.c.state == PENDING_LITERAL,
            sa.tuple_(deliveries.c.sink, deliveries.c.job_arn).in_(touched),
        )
        self._lock = None
        if database.side_by_side:
            # In one order, so that two transactions cannot wait for each other in a circle.
            self._lock = sa.select(deliveries.c.id).where(pending).order_by(deliveries.c.id).with_for_update()
        self._correct = (
            sa.update(deliveries).where(pending, deliveries.c.head == _blocked()).values(head=~_blocked())
        )

    def lock(self, connection: sa.Connection, keys: Sequence[Any]) -> None:
        """Lock the pending deliveries of the jobs and sinks of these, until the end."""
        if keys and self._lock is not None:
            connection.execute(self._lock, {"keys": keys})

    def correct(self, connection: sa.Connection, keys: Sequence[Any]) -> None:
        """See to the jobs and sinks of these deliveries."""
        if keys:
            connection.execute(self._correct, {"keys": keys})


def _blocked() -> sa.Exists:
    """Whether an earlier delivery of the same job to the same sink is not settled yet."""
    earlier = deliveries.alias()
    return sa.exists().where(
        earlier.c.sink == deliveries.c.sink,
        earlier.c.job_arn == deliveries.c.job_arn,
        earlier.c.state == PENDING_LITERAL,
        earlier.c.id < deliveries.c.id,
    )


def _parked(sink: sa.BindParameter[str]) -> sa.Exists:
    return sa.exists().where(sinks.c.name == sink, sinks.c.parked_at.is_not(None))


def waiting() -> sa.Select[Any]:
    """What waits to be claimed, soonest first; takes `sink_name`."""
    sink = sa.bindparam("sink_name", type_=sa.String())
    return (
        sa.select(deliveries.c.id)
        .where(
            deliveries.c.sink == sink,
            deliveries.c.state == PENDING_LITERAL,
            deliveries.c.head,
            # The mark says the same; an order that must hold is not left to a mark alone.
            ~_blocked(),
            ~_parked(sink),
        )
        .order_by(READY, deliveries.c.id)
    )


def claimable(now: sa.ColumnElement[float]) -> sa.Select[Any]:
    """What can be claimed; takes `sink_name` and `most`."""
    return (
        waiting()
        .with_only_columns(
            deliveries.c.id,
            deliveries.c.attempts,
            deliveries.c.epoch,
            (now - deliveries.c.first_failed_at).label("failing_for"),
            deliveries.c.event_id,
            events.c.type,
            sa.func.length(events.c.body).label("size"),
        )
        .join(events, events.c.id == deliveries.c.event_id)
        .where(now >= READY)
        .limit(sa.bindparam("most", type_=sa.Integer()))
        .with_for_update(skip_locked=True, of=deliveries)
    )


BODIES = sa.select(events.c.id, events.c.body).where(events.c.id.in_(sa.bindparam("keys", expanding=True)))


def _counted(state: sa.ColumnElement[str]) -> sa.Select[Any]:
    """How many are in a state, and the first id, by sink; read from an index alone."""
    columns = (deliveries.c.sink, sa.func.count().label("owed"), sa.func.min(deliveries.c.id).label("first"))
    return sa.select(*columns).where(deliveries.c.state == state).group_by(deliveries.c.sink)


def _backlog(counted: sa.Select[Any]) -> sa.Select[Any]:
    pending = counted.subquery()
    columns = (pending.c.sink, pending.c.owed, deliveries.c.created_at)
    return sa.select(*columns).join(deliveries, deliveries.c.id == pending.c.first)


_named = deliveries.c.sink.in_(sa.bindparam("names", expanding=True))
BACKLOG = _backlog(_counted(PENDING_LITERAL))
BACKLOG_OF = _backlog(_counted(PENDING_LITERAL).where(_named))
DEAD_LETTERS = _counted(_DEAD_LITERAL).with_only_columns(deliveries.c.sink, sa.func.count())
DEAD_LETTERS_OF = DEAD_LETTERS.where(_named)
GIVEN_UP_ON_REQUEST = _counted(_DROPPED_LITERAL).with_only_columns(deliveries.c.sink, sa.func.count())

LEASE = (
    sa.update(deliveries)
    .where(deliveries.c.id == sa.bindparam("key"))
    .values(lease_until=sa.bindparam("until"), epoch=deliveries.c.epoch + 1)
)
_HELD = sa.and_(
    deliveries.c.id == sa.bindparam("key"),
    deliveries.c.epoch == sa.bindparam("held"),
    deliveries.c.state == PENDING_LITERAL,
)
_FAILED = {
    "attempts": deliveries.c.attempts + 1,
    "lease_until": None,
    "first_failed_at": sa.func.coalesce(deliveries.c.first_failed_at, sa.bindparam("now")),
    "last_reason": sa.bindparam("reason"),
    "last_error": sa.bindparam("error"),
}
DELIVERED = (
    sa.update(deliveries)
    .where(_HELD)
    .values(state=DONE, settled_at=sa.bindparam("now"), lease_until=None, last_reason=None, last_error=None)
)
# The epoch grows, or the same failure would be counted again when the answer to the commit was lost.
_RETRIED = {"due_at": sa.bindparam("due"), "epoch": deliveries.c.epoch + 1}
RETRIED = sa.update(deliveries).where(_HELD).values(_FAILED | _RETRIED)
GIVEN_UP = (
    sa.update(deliveries).where(_HELD).values(_FAILED | {"state": DEAD, "settled_at": sa.bindparam("now")})
)
