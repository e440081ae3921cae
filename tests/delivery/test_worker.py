"""What a worker owes its sink: everything, in order for each job, at its own pace, and the truth about it."""

from __future__ import annotations

import asyncio
import random
import time
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa
from structlog.testing import capture_logs

from poller.errors import DeliveryError, DeliveryReason, PartialDeliveryError
from poller.retry import REFUSED_ATTEMPTS
from tests.delivery.conftest import Bench, Told, place

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from poller.model import Event


def failing(**attributes: Any) -> Callable[[object], Awaitable[None]]:
    """A send that always fails."""

    async def does(_: object) -> None:
        raise DeliveryError("no", **{"reason": DeliveryReason.SERVER_ERROR, **attributes})

    return does


async def forever(_: object) -> None:
    """A send that never ends by itself."""
    await asyncio.sleep(3600)


def test_what_is_owed_is_delivered_in_order(bench: Bench) -> None:
    """Each event once, those of one job in the order they were recorded; the sink is closed at the end."""
    places = [(job, number) for number in range(4) for job in range(5)]
    bench.owe(*places)
    sink = Told()
    bench.drain(sink)
    assert sorted(sink.sent) == sorted(places)
    for job in range(5):
        assert [number for which, number in sink.sent if which == job] == [0, 1, 2, 3]
    assert bench.states() == ["done"] * 20
    assert (sink.closed, bench.count("deliveries_total")) == (1, 20)
    assert bench.heartbeats.overdue() == {}


def test_no_more_sends_at_once_than_allowed(bench: Bench) -> None:
    """`concurrency` is reached and not exceeded; one job's events are never sent at once."""
    bench.owe(*((job, number) for number in range(2) for job in range(8)))
    under_way: list[int] = []

    async def does(events: Sequence[Event]) -> None:
        (job, _) = place(events[0])
        assert job not in under_way
        under_way.append(job)
        await asyncio.sleep(0.02)
        under_way.remove(job)

    sink = Told(does, concurrency=3)
    bench.drain(sink)
    assert (len(sink.sent), sink.most) == (16, 3)
    assert bench.states() == ["done"] * 16


def test_jobs_and_sinks_do_not_wait_for_each_other(bench: Bench) -> None:
    """A job whose event fails holds up its own later events and nothing else; another sink not even those."""
    bench.owe((1, 0), (1, 1), (2, 0), (2, 1), sinks=("told", "other"))

    async def does(events: Sequence[Event]) -> None:
        if place(events[0])[0] == 1:
            raise DeliveryError("no", reason=DeliveryReason.SERVER_ERROR)

    sink, other = Told(does), Told(name="other")
    bench.drain(sink, other)
    assert sorted(sink.sent) == [(1, 0), (2, 0), (2, 1)]
    assert sorted(other.sent) == [(1, 0), (1, 1), (2, 0), (2, 1)]


def test_a_slow_sink_costs_only_itself(bench: Bench) -> None:
    """While one sink hangs, another gets everything."""
    bench.owe(*((job, 0) for job in range(20)), sinks=("told", "other"))
    quick = Told(name="other")

    async def until_the_other_has_everything(_: object) -> None:
        while len(quick.sent) < 20:  # noqa: ASYNC110 - no event to wait for
            await asyncio.sleep(0.005)

    slow = Told(until_the_other_has_everything)
    bench.drain(slow, quick)
    assert (len(slow.sent), len(quick.sent)) == (20, 20)
    assert bench.states() == ["done"] * 40


def test_retries_follow_the_schedule(bench: Bench) -> None:
    """Waits double from the first ceiling to the last, times the draw, until it is given up (fault 28)."""
    bench.owe((1, 0))
    sink = Told(failing(), retry={"initial": "10s", "max": "40s", "give_up_after": "2m"})
    waits = []
    while bench.states() == ["pending"]:
        bench.drain(sink)
        (row,) = bench.rows()
        wait = round(row.due_at - time.time() - bench.ahead)
        if row.state == "pending":
            waits.append(wait)
            bench.drain(sink)  # not due yet: nothing is sent
            bench.ahead += wait + 1
    assert waits[:4] == [5, 10, 20, 20]
    assert len(sink.sent) == len(waits) + 1
    assert sum(waits) == pytest.approx(120, abs=12)
    (row,) = bench.rows()
    assert (row.state, row.attempts) == ("dead", len(sink.sent))
    assert (row.last_reason, row.last_error) == ("server_error", "no")
    assert bench.count("deliveries_dead_total") == 1
    assert bench.count("delivery_failures_total", reason="server_error") == len(sink.sent)


def test_a_dead_letter_frees_what_waits_behind_it(bench: Bench) -> None:
    """Refused as such, an event is dead after some attempts, and the job's next event goes out.

    Injects fault 34.
    """
    bench.owe((1, 0), (1, 1))

    async def does(events: Sequence[Event]) -> None:
        if place(events[0]) == (1, 0):
            raise DeliveryError("bad event", reason=DeliveryReason.CLIENT_ERROR, permanent=True)

    sink = Told(does)
    for _ in range(REFUSED_ATTEMPTS + 2):
        bench.drain(sink)
        bench.ahead += 7200
    assert sink.sent == [(1, 0)] * (REFUSED_ATTEMPTS + 1) + [(1, 1)]
    assert bench.states() == ["dead", "done"]


def test_retry_after_pauses_the_whole_sink(bench: Bench) -> None:
    """What the receiver asks for one event holds for all that is queued for it (fault 26)."""
    bench.owe(*((job, 0) for job in range(10)))

    async def does(_: object) -> None:
        if len(sink.sent) == 1:
            raise DeliveryError("later", reason=DeliveryReason.RATE_LIMITED, retry_after=0.4)

    sink = Told(does, concurrency=1, retry={"initial": "10ms"})
    bench.run(sink, lambda: bench.states() == ["done"] * 10)
    assert sink.at[1] - sink.at[0] > 0.35
    assert len(sink.sent) == 11


def test_a_sink_that_says_it_is_gone_is_parked(bench: Bench) -> None:
    """No more is sent, what was claimed ahead neither; the events are kept, and come after `unpark`.

    Injects fault 27.
    """
    bench.owe(*((job, 0) for job in range(30)))
    gone = Told(failing(reason=DeliveryReason.GONE, permanent=True, park=True), concurrency=2)
    with capture_logs() as log:
        bench.drain(gone)
        bench.drain(gone)
    assert len(gone.sent) <= 4
    assert bench.outbox.parked() == {"told": "no"}
    assert bench.count("sink_parked") == 1
    assert any(entry["event"] == "sink.parked" and "unpark told" in entry["remedy"] for entry in log)
    assert bench.states() == ["pending"] * 30
    assert bench.outbox.unpark("told")
    back = Told()
    bench.drain(back)
    assert (len(back.sent), bench.states()) == (30, ["done"] * 30)


def test_of_a_batch_only_what_failed_is_sent_again(bench: Bench) -> None:
    """A partial failure settles the rest of its batch as delivered (fault 32)."""
    bench.owe(*((job, 0) for job in range(5)))

    class Batch(Told):
        batch_size = 5

    async def does(events: Sequence[Event]) -> None:
        bad = [event for event in events if place(event)[0] in {1, 3} and sink.sent.count(place(event)) == 1]
        if bad:
            no = DeliveryError("no", reason=DeliveryReason.SINK)
            raise PartialDeliveryError({event.id: no for event in bad})

    sink = Batch(does)
    bench.drain(sink)
    assert bench.states() == ["done", "pending", "done", "pending", "done"]
    bench.ahead += 3600
    bench.drain(sink)
    assert sorted(sink.sent) == [(0, 0), (1, 0), (1, 0), (2, 0), (3, 0), (3, 0), (4, 0)]


@pytest.mark.parametrize("error", [ValueError("s3cret"), KeyError(), AssertionError(), MemoryError()])
def test_a_sink_may_raise_anything(bench: Bench, error: Exception) -> None:
    """Whatever it raises is a failure with a reason, and the worker goes on (fault 37)."""
    bench.owe((1, 0), (2, 0))

    async def does(events: Sequence[Event]) -> None:
        if place(events[0])[0] == 1:
            raise error

    with capture_logs():
        bench.drain(Told(does))
    first, second = bench.rows()
    assert (first.state, first.last_reason, second.state) == ("pending", "sink", "done")
    assert first.last_error == f"the sink raised {type(error).__name__}"


def test_a_send_past_its_deadline_has_failed(bench: Bench) -> None:
    """A send is cancelled at the deadline and counts as a timeout."""
    bench.owe((1, 0))
    bench.drain(Told(forever, timeout="50ms"))
    (row,) = bench.rows()
    assert (row.state, row.attempts, row.last_reason) == ("pending", 1, "timeout")
    assert row.last_error == "no full answer within 50ms"


def test_a_stop_waits_for_sends_under_way(bench: Bench) -> None:
    """Within the grace period a send ends as usual and is settled; nothing more is claimed."""
    bench.owe((1, 0), (1, 1))

    async def does(_: object) -> None:
        await asyncio.sleep(0.2)

    sink = Told(does)
    bench.run(sink, lambda: sink.now == 1)
    assert (sink.sent, bench.states()) == ([(1, 0)], ["done", "pending"])


def test_a_stop_releases_what_does_not_end(bench: Bench) -> None:
    """After the grace period a send is cancelled, not counted, and free for others at once."""
    bench.owe(*((job, 0) for job in range(6)))
    sink = Told(forever, concurrency=2)
    bench.run(sink, lambda: sink.now == 2, grace=0.1)
    assert [(row.state, row.attempts, row.lease_until) for row in bench.rows()] == [("pending", 0, None)] * 6
    assert (sink.closed, bench.count("delivery_failures_total", reason="timeout")) == (1, 0)
    other = Told()
    bench.drain(other)
    assert bench.states() == ["done"] * 6


def test_new_work_wakes_the_worker(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is recorded while it rests is sent when it is woken; it need not look again by itself."""
    monkeypatch.setattr("poller.delivery.worker._IDLE_SECONDS", 3600.0)
    sink = Told()

    async def main() -> None:
        worker = bench.worker(sink)
        running = asyncio.create_task(worker.run(grace=1))
        await asyncio.sleep(0.2)
        bench.owe((1, 0))
        worker.wake()
        async with asyncio.timeout(20):
            while not sink.sent:  # noqa: ASYNC110 - no event to wait for
                await asyncio.sleep(0.005)
        worker.stop()
        await running

    asyncio.run(main())
    assert sink.sent == [(1, 0)]


def broken_store(bench: Bench, monkeypatch: pytest.MonkeyPatch, sql: str, times: int) -> list[int]:
    """Let some statements fail a number of times; returns how often they still will."""
    left = [times]

    def refuse(*args: Any) -> None:
        if left[0] and sql in str(args[2]):
            left[0] -= 1
            raise sa.exc.OperationalError(sql, {}, Exception("disk I/O error"))

    monkeypatch.setattr("poller.delivery.worker._STORE_RETRY_SECONDS", 0.05)
    sa.event.listen(bench.database.engine, "before_cursor_execute", refuse)
    return left


def test_a_settle_that_the_store_refuses_is_made_later(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was delivered while the store failed is settled when it works again: sent once, counted once."""
    bench.owe(*((job, 0) for job in range(5)))
    left = broken_store(bench, monkeypatch, "settled_at=", 3)
    sink = Told()
    with capture_logs() as log:
        bench.run(sink, lambda: bench.states() == ["done"] * 5)
    assert (left, len(sink.sent), bench.count("deliveries_total")) == ([0], 5, 5)
    assert any(entry["event"] == "delivery.store_failed" for entry in log)


def test_a_store_that_fails_to_the_end_only_repeats(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """If even the last settle fails, the lease runs out and the event is sent once more."""
    bench.owe((1, 0))
    left = broken_store(bench, monkeypatch, "settled_at=", 10**6)
    sink = Told()
    with capture_logs():
        bench.run(sink, lambda: bool(sink.sent))
    assert (bench.states(), sink.closed) == (["pending"], 1)
    left[0] = 0
    bench.ahead += 60
    bench.drain(sink)
    assert (sink.sent, bench.states()) == ([(1, 0)] * 2, ["done"])


def test_a_sink_that_cannot_be_closed_is_counted_and_ends_nothing(bench: Bench) -> None:
    """What was sent is settled, and a sink that exits the program at its close does not (fault 65)."""

    class Leaving(Told):
        async def close(self) -> None:
            raise SystemExit(3)

    bench.owe((1, 0))
    with capture_logs() as log:
        bench.drain(Leaving())
    assert bench.states() == ["done"]
    assert bench.count("delivery_failures_total", sink="told", reason="sink") == 1
    assert [entry["sink"] for entry in log if entry["event"] == "sink.close_failed"] == ["told"]


def test_a_park_that_the_store_refuses_is_made_later(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The refusal is logged, nothing is lost, and the next answer parks the sink."""
    bench.owe((1, 0))
    left = broken_store(bench, monkeypatch, "INSERT INTO sinks", 1)
    gone = Told(failing(reason=DeliveryReason.GONE, park=True))
    with capture_logs() as log:
        bench.drain(gone)
    assert (left, bench.outbox.parked(), bench.states()) == ([0], {}, ["pending"])
    assert any(entry["event"] == "delivery.store_failed" for entry in log)
    bench.drain(gone)
    assert bench.outbox.parked() == {"told": "no"}


def test_a_late_settle_changes_nothing(bench: Bench) -> None:
    """A worker that was asleep past its lease does not undo what another did meanwhile, and says so."""
    bench.owe((1, 0))
    other = Told()

    async def does(_: object) -> None:
        if len(sink.sent) == 1:
            bench.ahead += 60
            claimed = bench.outbox.claim("told", limit=1, lease=600)
            assert len(claimed) == 1

    sink = Told(does)
    with capture_logs() as log:
        bench.drain(sink)
    assert bench.states() == ["pending"]
    assert bench.count("leases_lost_total") == 1
    assert any(entry["event"] == "delivery.lease_lost" for entry in log)
    bench.ahead += 700
    bench.drain(other)
    assert bench.states() == ["done"]


SEEDS = [
    *(("sqlite", seed) for seed in range(7)),
    *(("postgresql", seed) for seed in range(7, 10)),
    *(pytest.param("sqlite", seed, marks=pytest.mark.long) for seed in range(10, 16)),
    *(pytest.param("postgresql", seed, marks=pytest.mark.long) for seed in range(10, 30)),
]


@pytest.mark.parametrize(("empty", "seed"), SEEDS, indirect=["empty"])
def test_at_least_once_and_in_order_whatever_fails(
    bench: Bench, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under random failures of sink and store, workers stopped at random, everything arrives in order."""
    dice = random.Random(seed)  # noqa: S311 - a test's dice
    places = [(job, number) for number in range(4) for job in range(6)]
    bench.owe(*places)
    taken: list[tuple[int, int]] = []

    async def does(events: Sequence[Event]) -> None:
        await asyncio.sleep(dice.choice((0, 0, 0.001, 0.01)))
        match dice.randrange(6):
            case 0:
                raise DeliveryError("no", reason=DeliveryReason.CONNECT)
            case 1:
                raise ZeroDivisionError
            case 2:
                bad = dice.sample(list(events), dice.randint(1, len(events)))
                taken.extend(place(event) for event in events if event not in bad)
                no = DeliveryError("no", reason=DeliveryReason.SINK)
                raise PartialDeliveryError({event.id: no for event in bad})
            case 3:
                taken.extend(place(event) for event in events)
                raise DeliveryError("the answer was lost", reason=DeliveryReason.RESPONSE)
        taken.extend(place(event) for event in events)

    class Batch(Told):
        batch_size = dice.choice((1, 3))

    broken_store(bench, monkeypatch, "settled_at=", dice.randrange(3))
    with capture_logs():
        for _ in range(300):
            sink = Batch(does, concurrency=dice.choice((1, 2, 8)), retry={"give_up_after": "3000d"})
            enough, late = dice.randint(1, 12), time.monotonic() + 0.1

            def until(sink: Told = sink, enough: int = enough, late: float = late) -> bool:
                return len(sink.sent) >= enough or time.monotonic() > late

            bench.run(sink, until, grace=dice.choice((0, 1)))
            bench.ahead += 7200
            if set(bench.states()) == {"done"}:
                break
    assert bench.states() == ["done"] * len(places)
    assert set(taken) == set(places)
    for job in range(6):
        assert list(dict.fromkeys(number for which, number in taken if which == job)) == [0, 1, 2, 3]


def test_a_sink_that_is_down_for_three_days_gets_everything_in_order(bench: Bench) -> None:
    """With the default schedule nothing dies in 72 hours, others are served, and it catches up (fault 35)."""
    down = True

    async def does(_: Sequence[Event]) -> None:
        if down:
            raise DeliveryError("refused", reason=DeliveryReason.CONNECT)

    retry = {"initial": "5s", "max": "4h", "give_up_after": "80h"}
    dead, alive = Told(does, name="dead", retry=retry), Told(name="alive", retry=retry)
    owed = []
    for hour in range(0, 72, 6):
        owed += [(job, hour) for job in range(4)]
        bench.owe(*owed[-4:], sinks=("dead", "alive"))
        bench.drain(dead, alive, draw=0.99)
        bench.ahead += 6 * 3600
    assert sorted(alive.sent) == sorted(owed)
    # Only the first event of each job has ever been tried.
    assert set(dead.sent) == {(job, 0) for job in range(4)}
    tried, down = len(dead.sent), False
    for _ in range(12):
        bench.drain(dead)
        bench.ahead += 4 * 3600
    assert sorted(dead.sent[tried:]) == sorted(owed)
    for job in range(4):
        arrived = [each for each in dead.sent[tried:] if each[0] == job]
        assert arrived == sorted(arrived)
    assert {row.state for row in bench.rows()} == {"done"}


def test_what_waited_too_long_for_its_turn_is_given_back(bench: Bench) -> None:
    """Claimed ahead behind a slow send, its lease would end before a send that begins now has to."""
    first = True

    async def does(_: Sequence[Event]) -> None:
        nonlocal first
        if first:
            first = False
            await asyncio.sleep(0.4)

    sink = Told(does, concurrency=1, timeout="5s")
    owed = [(job, 0) for job in range(20)]
    bench.owe(*owed)

    async def main() -> None:
        async with asyncio.timeout(20):
            await bench.worker(sink, lease=0.2).run(grace=5, until_idle=True)

    asyncio.run(main())
    assert sorted(sink.sent) == owed
    assert {(row.state, row.attempts) for row in bench.rows()} == {("done", 0)}
    # Once given back, they were claimed a second time.
    assert {row.epoch for row in bench.rows()} >= {1, 2}


def test_what_waited_too_long_for_its_turn_is_claimed_again_until_nothing_is_due(bench: Bench) -> None:
    """A slow sink outlasts the claims, and every event is tried all the same (fault 77)."""
    bench.owe(*((job, 0) for job in range(5)))

    async def slowly(_: object) -> None:
        await asyncio.sleep(0.3)

    sink = Told(slowly, concurrency=1)

    async def main() -> None:
        async with asyncio.timeout(20):
            await bench.worker(sink, lease=0.2).run(grace=5, until_idle=True)

    asyncio.run(main())
    assert bench.states() == ["done"] * 5
