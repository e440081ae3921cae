"""Deliveries: claimed, settled, retried, parked, pruned."""

from __future__ import annotations

import threading
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

from poller.store import Database, Outbox, Settlement
from poller.store.outbox import Backlog, Enqueue, Removed
from tests.store.conftest import only_sqlite
from tests.store.samples import announced, arn, job

if TYPE_CHECKING:
    from collections.abc import Callable

    from poller.model import Delivery
    from tests.harness.clock import Clock
    from tests.store.conftest import Store

LEASE = 30.0


def claim(store: Store, sink: str = "ops", limit: int = 10) -> list[Delivery]:
    """Claim what is due."""
    return store.outbox.claim(sink, limit=limit, lease=LEASE)


def done(*deliveries: Delivery) -> list[Settlement]:
    """Settlements for what was delivered."""
    return [Settlement(delivery, delivered=True) for delivery in deliveries]


def failed(delivery: Delivery, retry_in: float | None = None, **said: Any) -> list[Settlement]:
    """The settlement for what was not."""
    return [Settlement(delivery, delivered=False, retry_in=retry_in, **said)]


def states(store: Store) -> list[tuple[Any, ...]]:
    """State, attempts and sink of every delivery, oldest first."""
    return store.rows("SELECT state, attempts, sink FROM deliveries ORDER BY id")


def lifecycle(store: Store, *statuses: str, number: int = 1, sink: str = "ops") -> None:
    """Record that a job went through statuses."""
    for minute, status in enumerate(statuses):
        store.record(announced(job(number, status, minute=minute), sink))


def test_a_claim_gives_out_the_event_s_own_bytes(store: Store) -> None:
    """What was recorded is sent: the same id, body and data, with nothing attempted yet."""
    observation = announced(job(1, "Completed"), "ops")
    store.record(observation)
    (delivery,) = claim(store)
    assert observation.event is not None
    assert delivery.event == observation.event
    assert delivery.event.body == observation.event.body
    assert (delivery.sink, delivery.attempts, delivery.epoch, delivery.failing_for) == ("ops", 0, 1, None)


def test_each_sink_has_its_own_deliveries(store: Store) -> None:
    """What one sink has claimed or lost does not matter to another."""
    store.record(announced(job(1), "ops", "audit"))
    (delivery,) = claim(store, "ops")
    store.outbox.settle(failed(delivery))
    assert [item.event.job_arn for item in claim(store, "audit")] == [arn(1)]
    assert claim(store, "topic") == []


def test_a_claimed_delivery_is_nobody_else_s_until_its_lease_ends(store: Store, clock: Clock) -> None:
    """Then it is given out again, with a higher epoch."""
    lifecycle(store, "InProgress")
    (first,) = claim(store)
    clock.tick(LEASE - 0.1)
    assert claim(store) == []
    clock.tick(0.2)
    (second,) = claim(store)
    assert (second.id, second.epoch) == (first.id, first.epoch + 1)


def test_events_of_one_job_are_given_out_one_at_a_time_in_order(store: Store) -> None:
    """The next comes once the one before it is settled, delivered or dead."""
    lifecycle(store, "Submitted", "InProgress", "Completed")
    lifecycle(store, "Submitted", number=2)
    first, other = claim(store)
    assert [item.event.data["status"] for item in (first, other)] == ["Submitted", "Submitted"]
    assert claim(store) == []
    store.outbox.settle(done(first))
    (second,) = claim(store)
    assert second.event.data["status"] == "InProgress"
    store.outbox.settle(failed(second))
    assert [item.event.data["status"] for item in claim(store)] == ["Completed"]


def test_a_delivery_that_waits_for_its_retry_holds_back_its_job_only(store: Store, clock: Clock) -> None:
    """Later events of the job wait with it, those of other jobs do not."""
    lifecycle(store, "Submitted", "Completed")
    (delivery,) = claim(store)
    store.outbox.settle(failed(delivery, 60))
    lifecycle(store, "Submitted", number=2)
    claimed = claim(store)
    assert [item.event.job_arn for item in claimed] == [arn(2)]
    store.outbox.settle(done(*claimed))
    clock.tick(60.1)
    assert [item.event.data["status"] for item in claim(store)] == ["Submitted"]


def test_a_retry_does_not_wait_for_a_clock_that_fell_back(store: Store, clock: Clock) -> None:
    """What was put off by an hour's clock ahead is tried when the clock is right, with its failures kept."""
    lifecycle(store, "Submitted")
    (delivery,) = claim(store)
    store.outbox.settle(failed(delivery, 60))
    clock.tick(-3600)
    (again,) = claim(store)
    assert (again.event, again.attempts) == (delivery.event, 1)
    assert claim(store) == []
    store.outbox.settle(failed(again, 60))
    assert claim(store) == []


def test_what_is_due_later_than_any_retry_is_due_after_a_restart(
    store: Store, url: str, clock: Clock
) -> None:
    """The clock was an hour ahead at its last attempt only, and right again before the program began anew."""
    lifecycle(store, "Submitted")
    for ahead in (0, 3600):
        (delivery,) = claim(store)
        clock.tick(ahead)
        store.outbox.settle(failed(delivery, 60))
        clock.tick(60.1 - ahead)

    def restarted(longest_wait: float) -> list[Delivery]:
        with closing(Database(url, now=clock.sql)) as database:
            outbox = Outbox(database)
            return outbox.exchange((), "ops", limit=10, lease=LEASE, longest_wait=longest_wait)[1]

    assert restarted(4 * 3600.0) == []
    assert [delivery.attempts for delivery in restarted(600.0)] == [2]


def test_no_more_than_the_limit_is_claimed_oldest_first(store: Store) -> None:
    """The rest stays for the next claim."""
    for number in range(5):
        lifecycle(store, "InProgress", number=number)
    assert [item.event.job_arn for item in claim(store, limit=2)] == [arn(0), arn(1)]
    assert [item.event.job_arn for item in claim(store)] == [arn(2), arn(3), arn(4)]


def test_what_is_done_or_dead_never_comes_back(store: Store, clock: Clock) -> None:
    """Not after its lease, not after an unpark, not by a late settle of either kind."""
    lifecycle(store, "InProgress", number=1)
    lifecycle(store, "InProgress", number=2)
    one, two = claim(store)
    assert store.outbox.settle(done(one) + failed(two)) == 2
    assert store.outbox.settle(failed(one, 0) + done(two)) == 0
    store.outbox.release([one, two])
    store.outbox.park("ops", "x")
    store.outbox.unpark("ops")
    clock.tick(10 * LEASE)
    assert claim(store) == []
    assert states(store) == [("done", 0, "ops"), ("dead", 1, "ops")]


def test_a_settle_with_an_old_epoch_changes_nothing(store: Store, clock: Clock) -> None:
    """Whoever slept past the lease cannot undo or finish what another has begun."""
    lifecycle(store, "InProgress")
    (stale,) = claim(store)
    clock.tick(LEASE + 1)
    (current,) = claim(store)
    for settlements in (done(stale), failed(stale, 60), failed(stale)):
        assert store.outbox.settle(settlements) == 0
    store.outbox.release([stale])
    assert claim(store) == []
    assert states(store) == [("pending", 0, "ops")]
    assert store.outbox.settle(done(current)) == 1


def test_a_settle_in_time_counts_although_the_lease_has_ended(store: Store, clock: Clock) -> None:
    """As long as nobody else has claimed it, what was sent late is not sent again."""
    lifecycle(store, "InProgress")
    (delivery,) = claim(store)
    clock.tick(LEASE + 1)
    assert store.outbox.settle(done(delivery)) == 1


def test_failures_are_counted_from_the_first(store: Store, clock: Clock) -> None:
    """Each claim says how often it has failed and for how long, by the database's clock."""
    lifecycle(store, "InProgress")
    (delivery,) = claim(store)
    store.outbox.settle(failed(delivery, 10, reason="timeout", error="x" * 600))
    assert store.rows("SELECT last_reason, length(last_error) FROM deliveries") == [("timeout", 500)]
    clock.tick(10.5)
    (delivery,) = claim(store)
    assert delivery.attempts == 1
    assert delivery.failing_for == pytest.approx(10.5)
    store.outbox.settle(failed(delivery, 10))
    clock.tick(10)
    (delivery,) = claim(store)
    assert delivery.attempts == 2
    assert delivery.failing_for == pytest.approx(20.5)
    store.outbox.settle(done(delivery))
    assert store.rows("SELECT last_reason, last_error FROM deliveries") == [(None, None)]


def test_a_released_delivery_is_free_at_once_and_not_counted(store: Store) -> None:
    """A shutdown in the middle of a send is no attempt; what it still settles afterwards does count."""
    lifecycle(store, "InProgress")
    (delivery,) = claim(store)
    store.outbox.release([delivery])
    (again,) = claim(store)
    assert (again.attempts, again.epoch) == (0, 2)
    assert store.outbox.settle(done(delivery)) == 0


def test_a_parked_sink_gives_out_nothing_and_keeps_everything(store: Store, clock: Clock) -> None:
    """Its deliveries wait; other sinks go on; parking again keeps the newer reason."""
    store.record(announced(job(1), "ops", "audit"))
    store.outbox.park("ops", "410")
    store.outbox.park("ops", "x" * 600)
    assert claim(store) == []
    assert store.outbox.next_due("ops") is None
    assert store.outbox.parked() == {"ops": "x" * 500}
    assert len(claim(store, "audit")) == 1
    clock.tick(10**6)
    assert claim(store) == []


def test_an_unparked_sink_begins_anew_at_once(store: Store, clock: Clock) -> None:
    """Attempts and waits of before are forgotten, and nothing of the queue is lost."""
    lifecycle(store, "Submitted", "InProgress")
    (delivery,) = claim(store)
    store.outbox.settle(failed(delivery, 9999))
    store.outbox.park("ops", "410")
    clock.tick(1)
    assert store.outbox.unpark("ops")
    assert store.outbox.parked() == {}
    (delivery,) = claim(store)
    assert (delivery.attempts, delivery.failing_for) == (0, None)
    assert delivery.event.data["status"] == "Submitted"


def test_unparking_a_sink_that_is_not_parked_changes_nothing(store: Store) -> None:
    """It says so, and the waits of its deliveries stay."""
    lifecycle(store, "InProgress")
    (delivery,) = claim(store)
    store.outbox.settle(failed(delivery, 60))
    assert not store.outbox.unpark("ops")
    assert claim(store) == []
    assert states(store) == [("pending", 1, "ops")]


def test_the_next_due_time_is_told(store: Store, clock: Clock) -> None:
    """Negative if overdue, the end of a lease or of a wait if not, None if nothing can be claimed."""
    assert store.outbox.next_due("ops") is None
    lifecycle(store, "Submitted", "InProgress")
    clock.tick(2)
    assert store.outbox.next_due("ops") == pytest.approx(-2)
    (delivery,) = claim(store)
    assert store.outbox.next_due("ops") == pytest.approx(LEASE)
    store.outbox.settle(failed(delivery, 7))
    assert store.outbox.next_due("ops") == pytest.approx(7)


def test_the_backlog_is_told_by_sink(store: Store, clock: Clock) -> None:
    """Pending and dead are counted, the oldest pending one is named, what is done is not in it."""
    began = clock.seconds()
    store.record(announced(job(1), "ops", "audit", "topic"))
    clock.tick(5)
    store.record(announced(job(2), "ops"))
    for sink in ("audit", "topic"):
        (delivery,) = claim(store, sink)
        store.outbox.settle(done(delivery) if sink == "audit" else failed(delivery))
    first, _ = claim(store)
    store.outbox.settle(failed(first))
    assert store.outbox.backlog() == {
        "ops": Backlog({"pending": 1, "dead": 1}, began + 5),
        "topic": Backlog({"dead": 1}, None),
    }


def test_only_what_is_settled_is_pruned(store: Store, clock: Clock) -> None:
    """Past its retention: deliveries that are done or dead, and events that no delivery needs."""
    for number in range(3):
        lifecycle(store, "InProgress", number=number)
    store.record(announced(job(3)))
    one, two, _ = claim(store)
    store.outbox.settle(done(one) + failed(two))
    clock.tick(100)
    assert store.outbox.prune(older_than=101) == Removed()
    assert store.outbox.prune(older_than=99) == Removed(events=3, deliveries=1, dead_letters=1)
    assert states(store) == [("pending", 0, "ops")]
    assert store.rows("SELECT job_arn FROM events") == [(arn(2),)]
    assert store.rows("SELECT count(*) FROM jobs") == [(4,)]
    clock.tick(10**9)
    assert store.outbox.prune(older_than=1) == Removed()
    assert [item.event.job_arn for item in claim(store)] == [arn(2)]


def test_an_event_stays_while_one_sink_still_waits_for_it(store: Store, clock: Clock) -> None:
    """However long ago another sink has had it."""
    store.record(announced(job(1), "ops", "audit"))
    store.outbox.settle(done(*claim(store, "audit")))
    clock.tick(10**9)
    assert store.outbox.prune(older_than=1) == Removed(deliveries=1)
    assert store.outbox.prune(older_than=1) == Removed()
    (delivery,) = claim(store)
    assert delivery.event.job_arn == arn(1)


def test_pruning_takes_a_bounded_number_at_a_time(store: Store, clock: Clock) -> None:
    """So that no transaction is long; the next call goes on."""
    for number in range(5):
        lifecycle(store, "InProgress", number=number)
    store.outbox.settle(done(*claim(store)))
    clock.tick(100)
    assert [store.outbox.prune(older_than=1, limit=2) for _ in range(4)] == [
        Removed(2, 2),
        Removed(2, 2),
        Removed(1, 1),
        Removed(),
    ]


def test_pruning_says_when_only_deliveries_went(store: Store, clock: Clock) -> None:
    """Their event may have to wait for its other deliveries; whoever goes on until nothing went gets all."""
    for number in range(3):
        store.record(announced(job(number), "ops", "audit"))
    for sink in ("ops", "audit"):
        store.outbox.settle(done(*claim(store, sink)))
    clock.tick(100)
    steps = []
    while (removed := store.outbox.prune(older_than=1, limit=1)) != Removed():
        steps.append(removed)
    assert Removed(events=0, deliveries=1) in steps
    assert sum(step.deliveries for step in steps) == 6
    assert sum(step.events for step in steps) == 3
    assert store.rows("SELECT count(*) FROM events") == [(0,)]


def test_no_two_of_many_threads_get_the_same_delivery(store: Store, database: Database) -> None:
    """Claims of one sink at the same time share the queue without overlap and without gaps."""
    for number in range(40):
        lifecycle(store, "InProgress", number=number)
    taken: list[int] = []
    barrier = threading.Barrier(4)

    def work() -> None:
        outbox = Outbox(database)
        barrier.wait()
        while claimed := outbox.claim("ops", limit=3, lease=LEASE):
            taken.extend(item.id for item in claimed)
            outbox.settle(done(*claimed))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(taken) == sorted(set(taken))
    assert len(taken) == 40


def test_an_odd_error_text_can_be_stored(store: Store) -> None:
    """What a receiver said may hold anything."""
    lifecycle(store, "InProgress")
    (delivery,) = claim(store)
    assert store.outbox.settle(failed(delivery, 1, error="no\x00\ud800")) == 1
    store.outbox.park("ops", "gone\x00\ud800")
    assert store.outbox.parked() == {"ops": "gone\N{REPLACEMENT CHARACTER}\N{REPLACEMENT CHARACTER}"}


@only_sqlite
@pytest.mark.parametrize("call", ["claim", "next_due", "unpark", "prune", "backlog"])
def test_queries_of_the_queue_use_an_index(store: Store, call: str) -> None:
    """What is done, and what other sinks have waiting, is not read to find what is due."""
    store.outbox.park("ops", "x")
    calls: dict[str, Callable[[], object]] = {
        "claim": lambda: claim(store),
        "next_due": lambda: store.outbox.next_due("ops"),
        "unpark": lambda: store.outbox.unpark("ops"),
        "prune": lambda: store.outbox.prune(older_than=1),
        "backlog": store.outbox.backlog,
    }
    with store.explained() as steps:
        calls[call]()
    allowed = ("SCAN CONSTANT ROW", "SCAN deliveries USING COVERING INDEX", "SCAN anon_1")
    assert not [step for step in steps if step.startswith("SCAN") and not step.startswith(allowed)], steps
    if call in {"claim", "next_due"}:
        found = "SEARCH deliveries USING INDEX deliveries_ready (sink=? AND state=? AND head=?"
        assert any(step.startswith(found) for step in steps), steps
        assert not any("TEMP B-TREE" in step for step in steps), steps
        earlier = "INDEX deliveries_pending (sink=? AND job_arn=? AND state=? AND id<?)"
        assert any(step.endswith(earlier) for step in steps), steps


def test_an_event_that_is_owed_again_is_not_pruned_meanwhile(store: Store, clock: Clock) -> None:
    """A poll that owes an old event again and a pruning at the same moment leave both rows (fault 78)."""
    owed = announced(job(1), "ops")
    store.record(owed)
    store.outbox.settle(done(*claim(store)))
    clock.tick(100)
    assert store.outbox.prune(older_than=200) == Removed()
    with store.database.engine.begin() as connection:
        connection.exec_driver_sql("DELETE FROM deliveries")
    clock.tick(100)
    removed: list[Removed] = []
    pruning = threading.Thread(target=lambda: removed.append(store.outbox.prune(older_than=150)))
    with store.database.engine.begin() as connection:
        assert owed.event is not None
        Enqueue(store.database)(connection, [(owed.event, ("ops",))])
        pruning.start()
        pruning.join(0.5)
    pruning.join(20)
    assert removed == [Removed()]
    assert [delivery.event.body for delivery in claim(store)] == [owed.event.body]


def test_an_event_that_is_being_pruned_is_written_again(store: Store, clock: Clock) -> None:
    """The other way round: who comes second finds the row gone, and makes it anew (fault 78)."""
    owed = announced(job(1), "ops")
    assert owed.event is not None
    store.record(owed)
    with store.database.engine.begin() as connection:
        connection.exec_driver_sql("DELETE FROM deliveries")
    clock.tick(200)
    enqueue, event = Enqueue(store.database), owed.event

    def again() -> None:
        store.database.write(lambda connection: enqueue(connection, [(event, ("ops",))]))

    owing = threading.Thread(target=again)
    with store.database.engine.begin() as connection:
        connection.exec_driver_sql("DELETE FROM events")
        owing.start()
        owing.join(0.5)
    owing.join(20)
    assert [delivery.event.body for delivery in claim(store)] == [event.body]


def test_what_a_clock_ahead_has_written_grows_old_from_now_on(store: Store, clock: Clock) -> None:
    """A year later nothing waits for that year: retention, and what the gauges show (fault 59)."""
    clock.tick(365 * 86400)
    for number in (1, 2):
        store.record(announced(job(number), "ops"))
    (first, second) = claim(store)
    store.outbox.settle(done(first))
    clock.tick(-365 * 86400)
    oldest = store.outbox.backlog()["ops"].oldest_pending
    assert oldest == clock.seconds()
    assert store.outbox.prune(older_than=1000) == Removed()
    clock.tick(2000)
    assert store.outbox.prune(older_than=1000).deliveries == 1
    assert claim(store) == []
    clock.tick(LEASE + 1)
    assert [delivery.id for delivery in claim(store)] == [second.id]


def test_the_backlog_of_some_sinks_can_be_counted_alone(store: Store) -> None:
    """What is owed to a sink that was removed need not be counted for the others (fault 60)."""
    store.record(announced(job(1), "ops", "gone"))
    assert store.outbox.backlog(["ops", "idle"]).keys() == {"ops"}
    assert store.outbox.backlog().keys() == {"ops", "gone"}
