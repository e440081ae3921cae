"""A stateful machine over the real store: whatever the order of events, it agrees with a model in memory.

The model says what may be claimed, by whom, and what a settle changes. Steps include crashes (the database is
closed and opened again), leases that run out by the database's clock, late settles of older claims, and polls
that have lost their target. At the end everything that was recorded is delivered, in order.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from poller.errors import LeaseLostError
from poller.store import Claim, Database, Outbox, Settlement, Snapshot
from tests.harness.clock import Clock
from tests.store.samples import TARGET, announced, job

if TYPE_CHECKING:
    from collections.abc import Callable

    from poller.model import Delivery

SINKS = ("ops", "audit")
LEASE = 30.0
RETENTION = 500.0
ENDS = ("done", "retry", "dead", "release")


@dataclass
class Owed:
    """What the model knows of one delivery."""

    event_id: str
    sink: str
    job: int
    due: float
    state: str = "pending"
    lease_until: float = float("-inf")
    epoch: int = 0
    attempts: int = 0
    failing_since: float | None = None
    settled_at: float | None = None

    @property
    def ready(self) -> float:
        """When it can be claimed."""
        return self.due if self.lease_until == float("-inf") else self.lease_until


@dataclass
class Model:
    """What is owed, oldest first, and which sinks are parked."""

    owed: list[Owed] = field(default_factory=list)
    parked: set[str] = field(default_factory=set)

    def heads(self, sink: str) -> list[Owed]:
        """The oldest pending delivery of each job."""
        first: dict[int, Owed] = {}
        for item in self.owed:
            if item.sink == sink and item.state == "pending":
                first.setdefault(item.job, item)
        return [] if sink in self.parked else list(first.values())

    def claimable(self, sink: str, now: float) -> list[Owed]:
        """What a claim has to give out."""
        found = [item for item in self.heads(sink) if item.ready <= now]
        return sorted(found, key=lambda item: (item.ready, self.owed.index(item)))


class StoreMachine(RuleBasedStateMachine):
    """The store against the model."""

    empty: ClassVar[Callable[[], str]]

    def __init__(self) -> None:
        super().__init__()
        self.url = type(self).empty()
        self.clock = Clock()
        self.model = Model()
        self.claims: list[tuple[Delivery, Owed]] = []
        self.entered: dict[int, int] = {}
        self.lost: list[Claim] = []

    def open(self) -> None:
        """Start a process."""
        self.database = Database(self.url, now=self.clock.sql)
        self.snapshot = Snapshot(self.database, owner="me", lease=LEASE)
        self.outbox = Outbox(self.database)

    @initialize()
    def start(self) -> None:
        """Begin with an empty store."""
        self.open()
        self.database.prepare()
        self.snapshot.rows.register([TARGET])

    @rule(
        numbers=st.lists(st.integers(0, 2), min_size=1, max_size=3, unique=True),
        sinks=st.lists(st.sampled_from(SINKS), unique=True),
    )
    def record(self, numbers: list[int], sinks: list[str]) -> None:
        """A poll sees jobs enter a status once more."""
        claim = self.snapshot.leases.claim(TARGET)
        if claim is None:
            self.clock.tick(LEASE + 1)
            claim = self.snapshot.leases.claim(TARGET)
        assert claim is not None
        seen = []
        for number in numbers:
            occurrence = self.entered.get(number, 0)
            self.entered[number] = occurrence + 1
            observation = announced(
                job(number), *sinks, occurrence=occurrence, entries={"InProgress": occurrence + 1}
            )
            assert observation.event is not None
            seen.append(observation)
            for sink in sinks:
                self.model.owed.append(Owed(observation.event.id, sink, number, self.clock.seconds()))
        self.snapshot.record(claim, seen)
        self.snapshot.record(claim, seen)
        self.snapshot.leases.release(claim)
        self.lost.append(claim)

    @rule()
    def die_in_a_poll(self) -> None:
        """A poll takes the target and is never heard of again."""
        claim = self.snapshot.leases.claim(TARGET)
        if claim is not None:
            self.lost.append(claim)

    @precondition(lambda self: self.lost)
    @rule(data=st.data())
    def record_with_a_lost_claim(self, data: st.DataObject) -> None:
        """A poll that comes back after somebody else has taken the target writes nothing."""
        stale = data.draw(st.sampled_from(self.lost))
        self.clock.tick(LEASE + 1)
        current = self.snapshot.leases.claim(TARGET)
        assert current is not None
        assert current.epoch > stale.epoch
        with pytest.raises(LeaseLostError):
            self.snapshot.record(stale, [announced(job(9), *SINKS, occurrence=99)])
        self.snapshot.leases.release(current)

    @rule(sink=st.sampled_from(SINKS), limit=st.integers(1, 4))
    def claim(self, sink: str, limit: int) -> None:
        """A worker gets exactly what the model says may be claimed, in order."""
        self.take(sink, limit)

    @rule(sink=st.sampled_from(SINKS), how=st.sampled_from(ENDS))
    def oversleep(self, sink: str, how: str) -> None:
        """A worker sleeps past its lease, another one takes over, and the first one settles after all."""
        late = self.take(sink, 2)
        self.clock.tick(LEASE + 1)
        self.take(sink, 9)
        for delivery, owed in late:
            self.end(delivery, owed, how, 0)

    def take(self, sink: str, limit: int) -> list[tuple[Delivery, Owed]]:
        """Claim, and compare with the model."""
        expected = self.model.claimable(sink, self.clock.seconds())[:limit]
        claimed = self.outbox.claim(sink, limit=limit, lease=LEASE)
        assert [item.event.id for item in claimed] == [item.event_id for item in expected]
        for delivery, owed in zip(claimed, expected, strict=True):
            owed.epoch += 1
            owed.lease_until = self.clock.seconds() + LEASE
            assert (delivery.epoch, delivery.attempts) == (owed.epoch, owed.attempts)
            since = owed.failing_since
            assert delivery.failing_for == (
                None if since is None else pytest.approx(self.clock.seconds() - since, abs=1e-3)
            )
        taken = list(zip(claimed, expected, strict=True))
        self.claims += taken
        return taken

    @precondition(lambda self: self.claims)
    @rule(data=st.data(), how=st.sampled_from(ENDS), wait=st.integers(0, 90))
    def settle(self, data: st.DataObject, how: str, wait: int) -> None:
        """Any claim ever made is settled, in time or far too late: only the newest one counts."""
        delivery, owed = data.draw(st.sampled_from(self.claims))
        self.end(delivery, owed, how, wait)

    def end(self, delivery: Delivery, owed: Owed, how: str, wait: int) -> None:
        """Settle, and compare with the model."""
        current = owed.state == "pending" and owed.epoch == delivery.epoch
        now = self.clock.seconds()
        if how == "release":
            self.outbox.release([delivery])
            if current:
                owed.lease_until = float("-inf")
            return
        settlement = Settlement(
            delivery, delivered=how == "done", retry_in=float(wait) if how == "retry" else None
        )
        assert self.outbox.settle([settlement]) == current
        if not current:
            return
        owed.lease_until = float("-inf")
        if how != "done":
            owed.attempts += 1
            owed.failing_since = now if owed.failing_since is None else owed.failing_since
        if how == "retry":
            owed.due = now + wait
            owed.epoch += 1
        else:
            owed.state, owed.settled_at = how, now

    @rule(sink=st.sampled_from(SINKS))
    def park(self, sink: str) -> None:
        """A receiver says it is gone."""
        self.outbox.park(sink, "410")
        self.model.parked.add(sink)

    @rule(sink=st.sampled_from(SINKS))
    def unpark(self, sink: str) -> None:
        """Somebody says it is back."""
        assert self.outbox.unpark(sink) == (sink in self.model.parked)
        if sink in self.model.parked:
            self.model.parked.remove(sink)
            for owed in self.model.owed:
                tried = owed.attempts > 0 or owed.due > self.clock.seconds()
                if owed.sink == sink and owed.state == "pending" and tried:
                    owed.due, owed.attempts, owed.failing_since = self.clock.seconds(), 0, None

    @rule(seconds=st.sampled_from([0.5, LEASE / 2, LEASE + 1, 100.0]))
    def wait(self, seconds: float) -> None:
        """Time passes; leases run out."""
        self.clock.tick(seconds)

    @rule()
    def crash(self) -> None:
        """The process dies and another one starts on the same database."""
        self.database.close()
        self.open()

    @rule()
    def prune(self) -> None:
        """What was settled long ago is forgotten, and nothing else."""
        self.outbox.prune(older_than=RETENTION)
        before = self.clock.seconds() - RETENTION
        self.model.owed = [
            owed for owed in self.model.owed if owed.settled_at is None or owed.settled_at >= before
        ]

    @invariant()
    def the_backlog_is_what_the_model_owes(self) -> None:
        """Nothing is lost, doubled or taken back."""
        if not hasattr(self, "outbox"):
            return
        backlog = self.outbox.backlog()
        for sink in SINKS:
            counted = backlog[sink].states if sink in backlog else {}
            for state in ("pending", "dead"):
                owed = sum(item.sink == sink and item.state == state for item in self.model.owed)
                assert counted.get(state, 0) == owed

    @invariant()
    def what_is_kept_is_what_would_be_counted(self) -> None:
        """The marks and counts that spare a look at everything agree with a look at everything."""
        if not hasattr(self, "outbox"):
            return
        heads = "SELECT min(id) FROM deliveries WHERE state = 'pending' GROUP BY sink, job_arn ORDER BY 1"
        marked = "SELECT id FROM deliveries WHERE state = 'pending' AND head ORDER BY id"
        with self.database.read() as connection:
            assert list(connection.exec_driver_sql(marked)) == list(connection.exec_driver_sql(heads))
            counted = connection.exec_driver_sql(
                "SELECT account_id, region, kind, status, count(*) FROM jobs WHERE NOT gone"
                " GROUP BY account_id, region, kind, status"
            ).all()
        assert self.snapshot.counts.by_status() == {tuple(row[:4]): row[4] for row in counted}

    @invariant()
    def the_next_due_time_is_the_model_s(self) -> None:
        """A worker that sleeps for so long misses nothing."""
        if not hasattr(self, "outbox"):
            return
        for sink in SINKS:
            due = self.outbox.next_due(sink)
            heads = self.model.heads(sink)
            assert (due is None) == (not heads)
            if due is not None:
                expected = min(item.ready for item in heads) - self.clock.seconds()
                # A lease that has run out and a due time that has passed both mean: now.
                assert max(due, 0) == pytest.approx(max(expected, 0), abs=1e-3)

    def teardown(self) -> None:
        """At last every sink takes everything: what is owed arrives, job by job in order."""
        try:
            self.drain()
        finally:
            self.database.close()

    def drain(self) -> None:
        """Deliver all that is left."""
        for sink in SINKS:
            self.unpark(sink)
            self.clock.tick(1000)
            expected = [item for item in self.model.owed if item.sink == sink and item.state == "pending"]
            arrived: list[str] = []
            while taken := self.take(sink, 2):
                arrived += [item.event.id for item, _ in taken]
                for item, owed in taken:
                    self.end(item, owed, "done", 0)
            assert sorted(arrived) == sorted(item.event_id for item in expected)
            for number in range(3):
                of_job = [item.event_id for item in expected if item.job == number]
                assert [name for name in arrived if name in of_job] == of_job


def run(empty: Callable[[], str], examples: int) -> None:
    """Try sequences of steps."""
    machine = type("Machine", (StoreMachine,), {"empty": staticmethod(empty)})
    run_state_machine_as_test(
        machine, settings=settings(max_examples=examples, stateful_step_count=30, deadline=None)
    )


def test_the_store_agrees_with_the_model(empty: Callable[[], str]) -> None:
    """Order, exclusiveness, fencing and completeness hold for every sequence of steps that was tried."""
    run(empty, 3 if empty().startswith("postgresql") else 10)


@pytest.mark.long
def test_the_store_agrees_with_the_model_for_long(empty: Callable[[], str]) -> None:
    """The same, for more of them."""
    run(empty, 30)
