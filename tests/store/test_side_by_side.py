"""Transactions that overlap: they leave what one after the other would have left, whatever their order.

Each of the first tests holds one transaction back right before its commit, lets another one run into it, and
tries both orders. On SQLite the second waits for the whole of the first, so the same has to come out there.
"""

from __future__ import annotations

import random
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa

from poller.model import Target
from poller.store import Outbox, Settlement
from poller.store.outbox import Removed
from poller.store.queries import Selection
from poller.store.replay import Replay
from tests.store.conftest import Store
from tests.store.samples import TARGET, announced, arn, job, silent
from tests.store.test_outbox import claim, done, failed, lifecycle

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from poller.store import Claim, Database
    from tests.harness.clock import Clock


TWIN = Target("twin", TARGET.region, TARGET.kind)
"""Another target that shows the same jobs."""

HEADS = "SELECT min(id) FROM deliveries WHERE state = 'pending' GROUP BY sink, job_arn ORDER BY 1"
MARKED = "SELECT id FROM deliveries WHERE state = 'pending' AND head ORDER BY id"
COUNTED = "SELECT status, count(*) FROM jobs WHERE NOT gone GROUP BY status ORDER BY status"
KEPT = "SELECT status, jobs FROM job_counts WHERE jobs <> 0 ORDER BY status"


@contextmanager
def held_back(database: Database) -> Iterator[Callable[[Callable[[], Any], Callable[[], Any]], None]]:
    """Gives a function that runs two others: the second while the first waits to commit."""
    first = threading.local()
    reached, free = threading.Event(), threading.Event()

    def wait(_: sa.Connection) -> None:
        if getattr(first, "is_me", False):
            reached.set()
            assert free.wait(10)

    def run(one: Callable[[], Any], two: Callable[[], Any]) -> None:
        def begin() -> None:
            first.is_me = True
            one()

        reached.clear()
        free.clear()
        with ThreadPoolExecutor(2) as threads:
            running = [threads.submit(begin)]
            try:
                assert reached.wait(10)
                running.append(threads.submit(two))
                # Long enough to get to where it has to wait, if there is such a place.
                threading.Event().wait(0.15)
            finally:
                free.set()
            for each in running:
                each.result(20)

    sa.event.listen(database.engine, "commit", wait)
    try:
        yield run
    finally:
        sa.event.remove(database.engine, "commit", wait)


def agree(store: Store) -> None:
    """What is kept agrees with what would be found by looking at everything."""
    assert store.rows(MARKED) == store.rows(HEADS)
    assert store.rows(KEPT) == store.rows(COUNTED)


def _give_up(store: Store) -> None:
    (held,) = claim(store)
    store.outbox.settle(failed(held))


def twin(store: Store) -> Store:
    """Another replica, with a target that shows the same jobs."""
    other = Store(store.database, "other")
    other.snapshot.rows.register([TWIN])
    return other


def record(store: Store, status: str, *, target: Target = TARGET, number: int = 1) -> Callable[[], None]:
    """Something that records that a job has entered a status."""
    found = store.snapshot.leases.claim(target)
    assert found is not None
    return lambda: store.snapshot.record(found, [announced(job(number, status), "ops")])


@pytest.mark.parametrize("settled_first", [True, False])
@pytest.mark.parametrize("ending", ["done", "dead", "retried"])
def test_a_delivery_that_is_added_while_the_one_before_is_settled(
    store: Store, settled_first: bool, ending: str
) -> None:
    """It becomes the head if the other has ended, and waits if not; never none, never two."""
    lifecycle(store, "InProgress")
    (first,) = claim(store)
    add = record(store, "Completed")

    def settle() -> None:
        settlements = done(first) if ending == "done" else failed(first, 0 if ending == "retried" else None)
        assert store.outbox.settle(settlements) == 1

    with held_back(store.database) as run:
        run(*((settle, add) if settled_first else (add, settle)))
    agree(store)
    (delivery,) = claim(store)
    assert delivery.event.data["status"] == ("InProgress" if ending == "retried" else "Completed")


@pytest.mark.parametrize("replayed_first", [True, False])
def test_a_delivery_that_is_added_while_an_older_one_is_replayed(store: Store, replayed_first: bool) -> None:
    """The older one goes first, although neither was pending when the other transaction began."""
    lifecycle(store, "InProgress")
    (first,) = claim(store)
    store.outbox.settle(failed(first))
    add = record(store, "Completed")
    again = Replay(store.database, Selection(equal={"state": "dead"}))

    def replay() -> None:
        assert sum(counts.total() for counts in again.run()) == 1

    with held_back(store.database) as run:
        run(*((replay, add) if replayed_first else (add, replay)))
    agree(store)
    assert [item.id for item in claim(store)] == [first.id]


def test_two_deliveries_of_a_job_that_are_replayed_at_once(store: Store) -> None:
    """By two people: the older one goes first."""
    lifecycle(store, "Submitted", "InProgress")
    for _ in range(2):
        _give_up(store)
    one, two = (Replay(store.database, Selection(), [number]) for number in (1, 2))
    with held_back(store.database) as run:
        run(lambda: list(two.run()), lambda: list(one.run()))
    agree(store)
    assert [item.id for item in claim(store)] == [1]


def test_a_replay_while_the_head_is_settled(store: Store) -> None:
    """What is replayed goes before what waits, whoever commits first."""
    lifecycle(store, "Submitted", "InProgress", "Completed")
    (first,) = claim(store)
    store.outbox.settle(failed(first))
    (second,) = claim(store)
    again = Replay(store.database, Selection(), [first.id])
    with held_back(store.database) as run:
        run(lambda: store.outbox.settle(done(second)), lambda: list(again.run()))
    agree(store)
    assert [item.id for item in claim(store)] == [first.id]


@pytest.mark.parametrize("known", [True, False])
def test_two_targets_that_show_the_same_job(store: Store, known: bool) -> None:
    """Their polls count it once, under the status that was written last, with one head."""
    other = twin(store)
    if known:
        lifecycle(store, "Submitted")
    one, two = record(store, "InProgress"), record(other, "Completed", target=TWIN)
    with held_back(store.database) as run:
        run(one, two)
    agree(store)
    assert store.rows(COUNTED) == [("Completed", 1)]


def test_two_polls_that_record_the_same_event(store: Store) -> None:
    """It is there once, and owed once."""
    other = twin(store)
    one, two = record(store, "Completed"), record(other, "Completed", target=TWIN)
    with held_back(store.database) as run:
        run(one, two)
    agree(store)
    assert store.rows("SELECT count(*) FROM events") == [(1,)]
    assert store.rows("SELECT count(*) FROM deliveries") == [(1,)]


def test_two_replicas_that_claim_a_target_at_once(store: Store) -> None:
    """One gets it."""
    replicas = [store, Store(store.database, "other")]
    together = threading.Barrier(2)

    def ask(one: Store) -> Claim | None:
        together.wait(10)
        return one.snapshot.leases.claim(TARGET)

    with ThreadPoolExecutor(2) as threads:
        for _ in range(20):
            found = list(threads.map(ask, replicas))
            assert sorted(each is None for each in found) == [False, True]
            for one, held in zip(replicas, found, strict=True):
                if held is not None:
                    one.snapshot.leases.release(held)


def test_a_target_that_somebody_writes_to_is_not_claimed(store: Store, clock: Clock) -> None:
    """Though its lease has run out: whoever writes is at work, and has renewed it in the end."""
    other = Store(store.database, "other")
    held = store.claim()
    clock.tick(15.1)
    found: list[Claim | None] = []
    with held_back(store.database) as run:
        run(
            lambda: store.snapshot.record(held, [announced(job(1))]),
            lambda: found.append(other.snapshot.leases.claim(TARGET)),
        )
    assert found == [None]


def test_two_replicas_that_claim_deliveries_at_once(store: Store) -> None:
    """None goes to both, and what the first has not taken the second gets at once."""
    for number in range(4):
        lifecycle(store, "InProgress", number=number)
    other = Outbox(store.database)
    taken: list[list[int]] = []

    def take(outbox: Outbox) -> Callable[[], None]:
        return lambda: taken.append([item.id for item in outbox.claim("ops", limit=3, lease=30)])

    with held_back(store.database) as run:
        run(take(store.outbox), take(other))
    assert sorted(taken, key=len) == [[4], [1, 2, 3]]


def test_retention_on_two_replicas_at_once(store: Store, clock: Clock) -> None:
    """Each removes what the other has not taken up, and together they count everything once."""
    for number in range(6):
        lifecycle(store, "InProgress", number=number)
    store.outbox.settle(done(*claim(store)))
    clock.tick(100)
    other = Outbox(store.database)
    removed: list[Removed] = []
    with held_back(store.database) as run:
        run(
            lambda: removed.append(store.outbox.prune(older_than=1, limit=4)),
            lambda: removed.append(other.prune(older_than=1, limit=4)),
        )
    while (step := store.outbox.prune(older_than=1)) != Removed():
        removed.append(step)
    assert sum(each.deliveries for each in removed) == 6
    assert sum(each.events for each in removed) == 6
    assert store.rows("SELECT count(*) FROM events") == [(0,)]


def test_what_is_replayed_while_retention_would_remove_it(store: Store, clock: Clock) -> None:
    """Is not removed, and neither is its event."""
    lifecycle(store, "InProgress")
    _give_up(store)
    clock.tick(100)
    again = Replay(store.database, Selection(equal={"state": "dead"}))
    with held_back(store.database) as run:
        run(lambda: list(again.run()), lambda: store.outbox.prune(older_than=1))
    assert [item.event.job_arn for item in claim(store)] == [arn(1)]


STATUSES = ("Submitted", "Validating", "Scheduled", "InProgress", "Completed")


def poll(store: Store, target: Target, seed: int) -> None:
    """See four jobs go through all statuses, and one of one's own."""
    chance = random.Random(seed)  # noqa: S311 - a test's dice
    for status in STATUSES:
        claimed = store.snapshot.leases.claim(target)
        assert claimed is not None
        seen = [announced(job(number, status), "ops", "audit") for number in chance.sample(range(4), 4)]
        store.snapshot.record(claimed, [*seen, silent(job(100 + seed, status))])
        store.snapshot.leases.release(claimed)


def deliver(database: Database, sink: str, arrived: list[str], polled: threading.Event) -> None:
    """Deliver all that there is; a third fails at first."""
    outbox = Outbox(database)
    while not (polled.is_set() and outbox.next_due(sink) is None):
        for item in outbox.claim(sink, limit=3, lease=30):
            fails = item.attempts == 0 and item.id % 3 == 1
            if not fails:
                arrived.append(item.event.id)
            assert outbox.settle([Settlement(item, delivered=not fails, retry_in=0)]) == 1


def test_many_at_once_leave_nothing_wrong(store: Store, database: Database) -> None:
    """Polls of overlapping targets and several workers, all at once: every event arrives, in order, once."""
    store.snapshot.rows.register([TWIN])
    arrived: dict[str, list[str]] = {"ops": [], "audit": []}
    polled = threading.Event()
    with ThreadPoolExecutor(6) as threads:
        workers = [
            threads.submit(deliver, database, sink, arrived[sink], polled) for sink in (*arrived, *arrived)
        ]
        polls = [
            threads.submit(poll, Store(database, owner), target, seed)
            for seed, (owner, target) in enumerate((("one", TARGET), ("two", TWIN)))
        ]
        try:
            for each in polls:
                each.result(60)
        finally:
            polled.set()
        for each in workers:
            each.result(60)
    agree(store)
    for sink, ids in arrived.items():
        owed = store.rows(f"SELECT event_id, job_arn FROM deliveries WHERE sink = '{sink}' ORDER BY id")  # noqa: S608 - our own name
        assert sorted(ids) == sorted(row[0] for row in owed)
        for number in range(4):
            of_job = [row[0] for row in owed if row[1] == arn(number)]
            assert [one for one in ids if one in of_job] == of_job
