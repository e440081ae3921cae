"""Sends deliveries again, or gives them up, by one selection.

`Replay` puts deliveries back to pending: the same rows with the same events, ids and bytes. The daemon finds
them as it finds every other delivery, in the order of their ids: for one job and sink the oldest goes first,
also before newer events that wait already. `Drop` makes what is pending or dead `dropped`: it is not sent,
and the next event of its job can be.

Both work in chunks, each a short transaction, so that a hundred thousand dead letters need no memory and no
other writer waits long; a run that was cut short can simply be repeated.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from poller.store.delivery_queries import DEAD, DROPPED, PENDING, DeliveryOrder
from poller.store.dialects import by_bytes
from poller.store.tables import deliveries, jobs

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from poller.store.database import Database
    from poller.store.queries import Selection

Counts = Counter[tuple[str, str]]
"""How many deliveries, by sink and by the state that they were in."""

MOST_IDS = 1000
"""How many ids one selection may have."""

_CHUNK = 1000


@dataclass(frozen=True, slots=True)
class Listed:
    """One delivery that was selected."""

    id: int
    event_id: str
    sink: str
    job_arn: str
    state: str


class Selected(ABC):
    """The deliveries that are selected, and what is done to them; every condition has to hold.

    Args:
        database: The store.
        selection: Which deliveries; its limit plays no part.
        ids: Only these, if any are given; at most `MOST_IDS`.
        chunk: How many a transaction changes.
    """

    def __init__(
        self, database: Database, selection: Selection, ids: Sequence[int] = (), *, chunk: int = _CHUNK
    ) -> None:
        self._database = database
        self._ids = ids
        self._chunk = chunk
        self._heads = DeliveryOrder(database, deliveries.c.id)
        self._conditions = selection.conditions(deliveries)
        if ids:
            self._conditions.append(deliveries.c.id.in_(ids))

    def unknown(self) -> list[int]:
        """The given ids that no delivery has."""
        statement = sa.select(deliveries.c.id).where(deliveries.c.id.in_(self._ids))
        with self._database.read() as connection:
            known = set(connection.scalars(statement))
        return sorted(set(self._ids) - known)

    def count(self) -> Counts:
        """How many are selected."""
        by = (deliveries.c.sink, deliveries.c.state)
        statement = sa.select(*by, sa.func.count()).where(*self._conditions).group_by(*by)
        with self._database.read() as connection:
            return Counter({(sink, state): count for sink, state, count in connection.execute(statement)})

    def listed(self) -> Iterator[Listed]:
        """What is selected, oldest first, a chunk in memory at a time."""
        for chunk in self._chunks():
            yield from chunk

    def run(self) -> Iterator[Counts]:
        """Change what is selected, oldest first.

        Yields:
            What each transaction changed, after its commit.

        Raises:
            StoreError: The store failed; what was yielded until then is changed.
        """
        for chunk in self._chunks():
            yield self._database.write(lambda connection, chunk=chunk: self._put(connection, chunk))  # type: ignore[misc] # the default binds it early

    @abstractmethod
    def _values(self, *, pending: bool) -> dict[str, Any]:
        """The columns to set of a delivery that is pending, or of one that is settled."""

    def _put(self, connection: sa.Connection, chunk: Sequence[Listed]) -> Counts:
        # Nothing but the ids, or SQLite would look for them among all that were ever delivered.
        here = deliveries.c.id.in_([each.id for each in chunk])
        # A poll that adds a delivery of one of these jobs holds its row: without a lock in common, neither
        # would see the other's.
        arns = sorted({each.job_arn for each in chunk})
        connection.execute(
            sa.select(jobs.c.arn).where(jobs.c.arn.in_(arns)).order_by(by_bytes(jobs.c.arn)).with_for_update()
        )
        self._heads.lock(connection, [each.id for each in chunk])
        rows = connection.execute(
            sa.select(deliveries.c.id, deliveries.c.state)
            .where(here)
            .order_by(deliveries.c.id)
            .with_for_update()
        )
        states = {row.id: row.state for row in rows}
        # What has moved on since it was selected is left alone.
        still = [each for each in chunk if states.get(each.id) == each.state]
        for pending in (True, False):
            if ids := [each.id for each in still if (each.state == PENDING) is pending]:
                values = self._values(pending=pending)
                connection.execute(sa.update(deliveries).where(deliveries.c.id.in_(ids)).values(values))
        self._heads.correct(connection, [each.id for each in still])
        return Counter((each.sink, each.state) for each in still)

    def _chunks(self) -> Iterator[list[Listed]]:
        """What is selected, oldest first, found without holding up anyone who writes."""
        chosen = sa.select(*(deliveries.c[name] for name in Listed.__slots__)).where(*self._conditions)
        last = 0
        while True:
            statement = chosen.where(deliveries.c.id > last).order_by(deliveries.c.id).limit(self._chunk)
            with self._database.read() as connection:
                chunk = [Listed(*row) for row in connection.execute(statement)]
            if not chunk:
                return
            yield chunk
            last = chunk[-1].id


class Replay(Selected):
    """Puts what is selected back to pending and due now.

    What was settled starts over: no attempts, and an epoch above that of any worker that may still hold it,
    so that a late settle changes nothing. What is pending is only made due: a send under way goes on, and is
    not made twice.
    """

    def _values(self, *, pending: bool) -> dict[str, Any]:
        afresh: dict[str, Any] = {"due_at": self._database.now(), "attempts": 0, "first_failed_at": None}
        again = {"state": PENDING, "settled_at": None, "lease_until": None, "epoch": deliveries.c.epoch + 1}
        return afresh if pending else afresh | again


class Drop(Selected):
    """Gives up what is selected and is still pending or dead; what was delivered stays as it is.

    The epoch grows, so that the result of a send under way changes nothing.
    """

    def __init__(
        self, database: Database, selection: Selection, ids: Sequence[int] = (), *, chunk: int = _CHUNK
    ) -> None:
        super().__init__(database, selection, ids, chunk=chunk)
        self._conditions.append(deliveries.c.state.in_((PENDING, DEAD)))

    def _values(self, *, pending: bool) -> dict[str, Any]:  # noqa: ARG002 - both end alike
        return {
            "state": DROPPED,
            "settled_at": self._database.now(),
            "lease_until": None,
            "epoch": deliveries.c.epoch + 1,
        }
