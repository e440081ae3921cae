"""Deliveries that are sent again: the same rows, ids and bytes, in order, whatever else goes on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from poller.store import Settlement
from poller.store.outbox import Removed
from poller.store.queries import Selection
from poller.store.replay import Drop, Replay
from tests.store.conftest import only_sqlite
from tests.store.samples import announced, arn, job
from tests.store.test_outbox import claim, done, failed, lifecycle, states

if TYPE_CHECKING:
    from collections.abc import Sequence

    from poller.model import Delivery
    from tests.harness.clock import Clock
    from tests.store.conftest import Store


def replay(
    store: Store, ids: Sequence[int] = (), *, chunk: int = 1000, **selection: Any
) -> dict[tuple[str, str], int]:
    """Replay, and return how many by sink and former state."""
    chosen = Replay(store.database, Selection(equal=selection), ids, chunk=chunk)
    expected = chosen.count()
    assert len(list(chosen.listed())) == expected.total()
    found: dict[tuple[str, str], int] = {}
    for chunked in chosen.run():
        for key, count in chunked.items():
            found[key] = found.get(key, 0) + count
    assert found == expected
    return found


def dead(store: Store, *, sink: str = "ops") -> list[Delivery]:
    """Give up whatever can be claimed."""
    claimed = claim(store, sink)
    store.outbox.settle(
        [each for item in claimed for each in failed(item, reason="client_error", error="no")]
    )
    return claimed


def test_a_dead_letter_is_sent_again_as_it_was(store: Store, clock: Clock) -> None:
    """The same delivery with the same event, due at once, as if it had never been tried; its error stays."""
    lifecycle(store, "InProgress")
    (first,) = dead(store)
    clock.tick(50)
    assert claim(store) == []
    assert replay(store, state="dead") == {("ops", "dead"): 1}
    assert store.rows("SELECT settled_at, first_failed_at, last_error FROM deliveries") == [
        (None, None, "no")
    ]
    (again,) = claim(store)
    assert (again.id, again.attempts, again.failing_for) == (first.id, 0, None)
    assert (again.event, again.event.body) == (first.event, first.event.body)
    assert store.outbox.settle(done(again)) == 1
    assert states(store) == [("done", 0, "ops")]


def test_what_was_delivered_can_be_sent_again(store: Store) -> None:
    """For a receiver that has lost what it got."""
    lifecycle(store, "InProgress")
    (first,) = claim(store)
    store.outbox.settle(done(first))
    assert replay(store, event_id=first.event.id) == {("ops", "done"): 1}
    (again,) = claim(store)
    assert again.event.body == first.event.body


@pytest.mark.parametrize("settled", [True, False])
def test_a_late_settle_changes_nothing(store: Store, clock: Clock, settled: bool) -> None:
    """Of whoever held it before the replay: neither delivered nor given up on its word."""
    lifecycle(store, "InProgress")
    (stale,) = claim(store)
    clock.tick(31)
    (second,) = claim(store)
    store.outbox.settle(done(second))
    replay(store, state="done")
    for held in (stale, second):
        assert store.outbox.settle([Settlement(held, delivered=settled)]) == 0
    assert states(store) == [("pending", 0, "ops")]


def test_what_waits_for_its_next_attempt_is_due_at_once(store: Store) -> None:
    """With its attempts forgotten."""
    lifecycle(store, "InProgress")
    (first,) = claim(store)
    store.outbox.settle(failed(first, 3600))
    assert claim(store) == []
    assert replay(store, state="pending") == {("ops", "pending"): 1}
    (again,) = claim(store)
    assert (again.attempts, again.failing_for) == (0, None)


def test_a_send_under_way_is_not_made_twice(store: Store) -> None:
    """Its settle still counts, so the receiver gets no copy."""
    lifecycle(store, "InProgress")
    (held,) = claim(store)
    replay(store, sink="ops")
    assert claim(store) == []
    assert store.outbox.settle(done(held)) == 1
    assert states(store) == [("done", 0, "ops")]


def test_the_oldest_of_a_job_goes_first_and_newer_ones_wait(store: Store) -> None:
    """Also those that were recorded after the replayed ones had died, and whatever the size of a chunk."""
    lifecycle(store, "InProgress", "Completed")
    dead(store)
    dead(store)
    lifecycle(store, "Failed")
    assert replay(store, chunk=1, state="dead") == {("ops", "dead"): 2}
    order = []
    while claimed := claim(store):
        (delivery,) = claimed
        order.append(delivery.id)
        store.outbox.settle(done(delivery))
    assert order == [1, 2, 3]


def test_every_condition_has_to_hold(store: Store) -> None:
    """Ids, sink, state, job and event select together; the rest stays as it is."""
    for number in range(3):
        store.record(announced(job(number), "ops", "audit"))
    for sink in ("ops", "audit"):
        store.outbox.settle(done(*claim(store, sink)))
    assert replay(store, [1, 2, 3], sink="audit") == {("audit", "done"): 1}
    assert replay(store, sink="ops", job_arn=arn(1)) == {("ops", "done"): 1}
    assert replay(store, state="dead") == {}
    assert [row[0] for row in states(store)].count("pending") == 2


def test_a_time_selects_by_when_it_was_settled(store: Store, clock: Clock) -> None:
    """From `since` on and before `until`; what is pending counts from when it was recorded."""
    start = clock.seconds()
    for number in range(3):
        lifecycle(store, "InProgress", number=number)
    one, two, _ = claim(store)
    clock.tick(100)
    store.outbox.settle(done(one))
    clock.tick(100)
    store.outbox.settle(done(two))

    def found(since: float | None, until: float | None) -> list[int]:
        selection = Selection(since=since, until=until)
        return [each.id for each in Replay(store.database, selection).listed()]

    assert found(start, None) == [1, 2, 3]
    assert found(start + 100, None) == [1, 2]
    assert found(start + 100, start + 200) == [1]
    assert found(None, start + 100) == [3]


def test_ids_that_do_not_exist_are_named(store: Store) -> None:
    """So that a slip of the pen is noticed before anything is sent."""
    lifecycle(store, "InProgress")
    assert Replay(store.database, Selection(), [1, 7, 5]).unknown() == [5, 7]


def test_what_moved_on_since_it_was_selected_is_left_alone(store: Store) -> None:
    """A delivery that a worker settles in the meantime is not sent a second time."""
    lifecycle(store, "InProgress")
    lifecycle(store, "InProgress", number=2)
    chosen = Replay(store.database, Selection(equal={"sink": "ops"}), chunk=5)
    (chunk,) = chosen._chunks()
    (held, *_) = claim(store)
    store.outbox.settle(done(held))
    counts = store.database.write(lambda connection: chosen._put(connection, chunk))
    assert counts == {("ops", "pending"): 1}
    assert [row[0] for row in states(store)] == ["done", "pending"]


def test_what_is_replayed_is_not_pruned(store: Store, clock: Clock) -> None:
    """However old it is: it is owed again."""
    lifecycle(store, "InProgress")
    dead(store)
    clock.tick(10**9)
    replay(store, state="dead")
    assert store.outbox.prune(older_than=1) == Removed()
    assert len(claim(store)) == 1


@only_sqlite
def test_a_chunk_reads_nothing_but_its_own_rows(store: Store) -> None:
    """In the transaction that others wait for, rows are found by their ids alone."""
    lifecycle(store, "InProgress")
    dead(store)
    chosen = Replay(store.database, Selection(equal={"state": "dead"}))
    (chunk,) = chosen._chunks()
    with store.explained() as steps:
        store.database.write(lambda connection: chosen._put(connection, chunk))
    assert not [step for step in steps if step.startswith("SCAN") and step != "SCAN CONSTANT ROW"]


def test_what_is_dropped_is_not_sent_and_the_next_of_its_job_is(store: Store, clock: Clock) -> None:
    """A drop ends what is pending or dead, also under way; what was delivered stays (fault 60)."""
    lifecycle(store, "InProgress")
    store.outbox.settle(done(*claim(store)))
    lifecycle(store, "InProgress", "Completed", number=2)
    (held,) = claim(store)
    drop = Drop(store.database, Selection(equal={"sink": "ops"}), [1, held.id])
    assert drop.count() == {("ops", "pending"): 1}
    assert list(drop.run()) == [{("ops", "pending"): 1}]
    assert [state for state, *_ in states(store)] == ["done", "dropped", "pending"]
    assert store.outbox.settle(done(held)) == 0
    (after,) = claim(store)
    assert after.id > held.id
    store.outbox.settle(failed(after))
    assert list(Drop(store.database, Selection()).run()) == [{("ops", "dead"): 1}]
    assert store.outbox.backlog()["ops"].states == {"dropped": 2}
    assert replay(store, state="dropped") == {("ops", "dropped"): 2}
    (again,) = claim(store)
    assert (again.id, again.event.body) == (held.id, held.event.body)
    list(Drop(store.database, Selection()).run())
    clock.tick(11)
    assert store.outbox.prune(older_than=10) == Removed(events=3, deliveries=3)
