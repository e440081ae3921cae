"""What a replica makes of the others' polls: it plans by them, and asks for nothing that they have done."""

from __future__ import annotations

import asyncio
import threading
import time
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from poller.heartbeats import Heartbeats
from poller.metrics import Metrics
from poller.model import Target
from poller.polling import Cadence, PollReport, PollScheduler
from tests.harness.cadence import fixed_cadence
from tests.harness.clock import Clock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

A = Target("a", "us-east-1", "async_invoke", "123456789012")
B = Target("b", "us-east-1", "async_invoke", "222222222222")
INTERVAL = 60.0


class Replica:
    """A scheduler that knows of others, and whose polls do what the test says."""

    def __init__(
        self,
        does: Callable[[Target], PollReport] = PollReport,
        *,
        concurrency: int = 1,
        follows_budget: bool = False,
    ) -> None:
        self._does = does
        self.polled: list[str] = []
        self.clock = Clock()
        self.heartbeats = Heartbeats(self.clock.monotonic)
        metrics = Metrics()
        cadence = fixed_cadence([A, B], metrics, interval=INTERVAL)
        if follows_budget:
            cadence = Cadence(
                [A, B],
                interval=None,
                idle_interval=timedelta(seconds=INTERVAL),
                full_scan_interval=timedelta(hours=24),
                calls_per_second=0.5,
                threads=8,
                metrics=metrics,
            )
        self.scheduler = PollScheduler(
            poller=self,  # type: ignore[arg-type]  # all it is asked for is poll()
            targets=[A, B],
            cadence=cadence,
            concurrency=concurrency,
            stop=threading.Event(),
            metrics=metrics,
            heartbeats=self.heartbeats,
            shared=True,
        )

    def poll(self, target: Target, *, after: float = 0.0) -> PollReport:
        """Poll."""
        assert after == pytest.approx(INTERVAL * 0.9)
        self.polled.append(target.id)
        return self._does(target)

    @asynccontextmanager
    async def at_work(self) -> AsyncIterator[PollScheduler]:
        """The scheduler, started."""
        self.scheduler.start()
        yield self.scheduler
        await self.scheduler.stop(5)

    def due_in(self, target: Target) -> float:
        """Seconds until a target is polled."""
        return self.scheduler._paces[target.id].wait()


async def eventually(true: Callable[[], bool]) -> None:
    """Wait until something is true."""
    async with asyncio.timeout(10):
        while not true():  # noqa: ASYNC110 - what it waits for happens in a thread
            await asyncio.sleep(0.005)


def test_a_poll_that_is_seen_twice_is_planned_by_once() -> None:
    """Looks overlap, and each tells the same poll; only another one moves the target."""
    replica = Replica()

    async def main() -> None:
        replica.scheduler.seen(A.id, 0)
        replica.scheduler.seen(B.id, 0)
        async with replica.at_work() as scheduler:
            scheduler.seen(A.id, 30)
            before = replica.due_in(A)
            assert before > INTERVAL * 0.8
            for age in (0.0, 0.5, 31):
                scheduler.seen(A.id, age)
            assert replica.due_in(A) == pytest.approx(before, abs=0.5)
            scheduler._paces[A.id].begun = time.monotonic() - 50
            scheduler.seen(A.id, 1)
            assert replica.due_in(A) != pytest.approx(before, abs=0.001)

    asyncio.run(main())
    assert replica.polled == []


def test_a_target_that_was_refused_is_asked_for_again_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not only after a whole interval: if nobody is seen who was faster, nobody was."""
    monkeypatch.setattr("poller.polling.pace._REFUSED_SECONDS", 0.05)
    replica = Replica(lambda target: PollReport(target, claimed=replica.polled.count(A.id) > 2))

    async def main() -> None:
        replica.scheduler.seen(B.id, 0)
        async with replica.at_work():
            await eventually(lambda: len(replica.polled) == 3)
            await eventually(lambda: replica.due_in(A) > INTERVAL * 0.8)

    asyncio.run(main())
    assert replica.polled == [A.id] * 3


def test_what_another_polls_meanwhile_is_left_alone() -> None:
    """A target that waits for its turn is not even claimed once another replica has polled it."""
    release = threading.Event()

    def wait(target: Target) -> PollReport:
        release.wait(10)
        return PollReport(target)

    replica = Replica(wait)

    async def main() -> None:
        async with replica.at_work() as scheduler:
            await eventually(lambda: len(replica.polled) == 1)
            (other,) = {A.id, B.id} - set(replica.polled)
            await asyncio.sleep(0.05)
            scheduler.seen(other, 0)
            release.set()
            await eventually(lambda: not scheduler._running)
            await asyncio.sleep(0.05)

    asyncio.run(main())
    assert len(replica.polled) == 1


def test_the_interval_counts_from_the_claim() -> None:
    """The store counts from there, and would refuse a poll that is planned by an earlier moment."""
    ahead = 25.0
    replica = Replica(lambda target: PollReport(target, begun=time.monotonic() + ahead))

    async def main() -> None:
        async with replica.at_work():
            await eventually(lambda: len(replica.polled) == 2 and replica.due_in(A) > 0)
            await eventually(lambda: min(replica.due_in(A), replica.due_in(B)) > INTERVAL * 0.85 + ahead)

    asyncio.run(main())


def test_polls_of_other_replicas_cost_no_look_at_what_is_due() -> None:
    """Learning of hundreds of polls does not make the scheduler look through its jobs hundreds of times."""
    replica = Replica()

    async def main() -> None:
        replica.scheduler.seen(A.id, 0)
        replica.scheduler.seen(B.id, 0)
        async with replica.at_work() as scheduler:
            await asyncio.sleep(0.05)
            looks = 0
            look = scheduler._scheduler._process_jobs

            def counted() -> object:
                nonlocal looks
                looks += 1
                return look()

            scheduler._scheduler._process_jobs = counted
            before = replica.due_in(A)
            for age in range(50):
                scheduler._paces[A.id].begun = time.monotonic() - 100
                scheduler.seen(A.id, age / 10)
            await asyncio.sleep(0.1)
            assert looks == 0
            assert replica.due_in(A) != pytest.approx(before, abs=0.001)

    asyncio.run(main())


def test_a_replica_that_is_never_the_first_is_well() -> None:
    """It polls nothing as long as others are faster, and health hears that its polls go on."""
    replica = Replica()

    async def main() -> None:
        replica.scheduler.seen(A.id, 0)
        replica.scheduler.seen(B.id, 0)
        async with replica.at_work() as scheduler:
            replica.clock.tick(1000)
            assert replica.heartbeats.overdue()
            # The job fires when it was planned, and finds that another replica has polled meanwhile.
            scheduler.seen(A.id, -1)
            await scheduler._run(A)
            assert not replica.heartbeats.overdue()

    asyncio.run(main())
    assert replica.polled == []


def test_a_target_that_another_replica_finds_busy_is_planned_sooner() -> None:
    """Within seconds, not when the interval of an idle target is over: the other replica may be gone."""
    replica = Replica(follows_budget=True)

    async def main() -> None:
        scheduler = replica.scheduler
        scheduler.seen(A.id, 0)
        scheduler.seen(B.id, 0)
        async with replica.at_work():
            assert replica.due_in(A) > INTERVAL * 0.9
            scheduler.cadence.note_open_jobs({(A.account_id or "", A.region, A.kind)})
            scheduler._paces[A.id].begun = time.monotonic() - 50
            scheduler.seen(A.id, 0, 3)
            # Three calls at half a call a second.
            assert 5 < replica.due_in(A) < 7
            job = scheduler._scheduler.get_job(A.id)
            assert (job.next_run_time - datetime.now(UTC)).total_seconds() < 7
            scheduler.seen(A.id, 0, 9)
            assert 17 < replica.due_in(A) < 20
            assert replica.due_in(B) > INTERVAL * 0.9

    asyncio.run(main())
    assert replica.polled == []


def test_what_keeps_a_budget_is_never_early() -> None:
    """The first of many replicas to be due polls: if some were early, all would be."""
    replica = Replica(follows_budget=True)
    due = []
    for begun in range(100):
        replica.scheduler._paces[A.id].begun = None
        replica.scheduler.seen(A.id, begun)
        due.append(replica.scheduler._paces[A.id].due_at + begun - time.monotonic())
    assert min(due) >= INTERVAL - 0.1
    assert max(due) <= INTERVAL * 1.1
    assert max(due) > INTERVAL * 1.05
