"""Polls that a wake-up asks for: at once, a second apart, and never one that began before."""

from __future__ import annotations

import asyncio
import threading
import time
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest

from poller.errors import AwsError, AwsReason, StoppedError, StoreError, WakeError
from poller.heartbeats import Heartbeats
from poller.metrics import Metrics
from poller.polling import PollReport, PollScheduler
from poller.polling.pace import WAKE_SECONDS, Pace
from tests.harness.cadence import fixed_cadence
from tests.polling.test_scheduler import A, B, Script, eventually

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

HOUR = 3600.0


def polled(target: object) -> PollReport:
    """What a poll of a target with open jobs finds."""
    return PollReport(target, open_jobs=1, begun=time.monotonic())  # type: ignore[arg-type]


def run(
    script: Script,
    during: Callable[[PollScheduler], Awaitable[None]],
    *,
    shared: bool = False,
) -> None:
    """Run a scheduler that polls once an hour, after its first polls, while something happens."""

    async def main() -> None:
        metrics = Metrics()
        scheduler = PollScheduler(
            poller=script,  # type: ignore[arg-type]  # all it is asked for is poll()
            targets=[A, B],
            cadence=fixed_cadence([A, B], metrics, interval=HOUR),
            concurrency=4,
            stop=threading.Event(),
            metrics=metrics,
            heartbeats=Heartbeats(),
            shared=shared,
        )
        scheduler.start()
        await eventually(lambda: len(script.polls) == 2)
        await during(scheduler)
        await scheduler.stop(5)

    asyncio.run(main())


def test_a_woken_target_is_polled_at_once() -> None:
    """It alone, and the wake-up gets the report of a poll that began after it."""
    script = Script(polled)

    async def during(scheduler: PollScheduler) -> None:
        await asyncio.sleep(WAKE_SECONDS)
        asked = time.monotonic()
        report = await asyncio.wait_for(scheduler.wake(A.id), 5)
        assert report.target is A
        assert report.begun is not None
        assert report.begun >= asked
        assert scheduler._paces[A.id].wait() > HOUR / 2

    run(script, during)
    assert [len(script.times(name)) for name in "ab"] == [2, 1]


def test_a_flood_of_wake_ups_causes_a_poll_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten thousand of them share the polls; each gets one that began after it came (fault 70)."""
    monkeypatch.setattr("poller.polling.pace.WAKE_SECONDS", 0.2)
    monkeypatch.setattr("poller.polling.scheduler.WAKE_SECONDS", 0.2)
    script = Script(polled)

    async def during(scheduler: PollScheduler) -> None:
        for _ in range(10):
            asked = time.monotonic()
            waiting = [scheduler.wake(A.id) for _ in range(1000)]
            reports = await asyncio.wait_for(asyncio.gather(*waiting), 5)
            assert min(report.begun or 0 for report in reports) >= asked

    run(script, during)
    assert 10 <= len(script.times("a")) <= 12
    assert all(later - earlier >= 0.19 for earlier, later in pairwise(script.times("a")))


def test_a_poll_under_way_does_not_count() -> None:
    """Its list may have been read before; another one follows when it has ended."""
    release = threading.Event()
    script = Script(polled)

    async def during(scheduler: PollScheduler) -> None:
        await asyncio.sleep(WAKE_SECONDS)

        def hold(target: object) -> PollReport:
            begun = time.monotonic()
            release.wait(10)
            return PollReport(target, begun=begun)  # type: ignore[arg-type]

        script._does = hold
        first = scheduler.wake(A.id)
        await eventually(lambda: len(script.times("a")) == 2)
        second = scheduler.wake(A.id)
        release.set()
        await asyncio.wait_for(first, 5)
        assert not second.done()
        await asyncio.wait_for(second, 5)

    run(script, during)
    assert len(script.times("a")) == 3


@pytest.mark.parametrize(
    "failure", [AwsError("no", reason=AwsReason.ACCESS_DENIED), StoreError("full")], ids=["aws", "store"]
)
def test_a_failed_poll_fails_the_wake_up(failure: Exception) -> None:
    """Whether it leaves a report or not; the next one has its own poll."""
    script = Script(polled)

    def fail(target: object) -> PollReport:
        if isinstance(failure, AwsError):
            return PollReport(target, begun=time.monotonic(), failure=failure)  # type: ignore[arg-type]
        raise failure

    async def during(scheduler: PollScheduler) -> None:
        script._does = fail
        with pytest.raises(WakeError):
            await asyncio.wait_for(scheduler.wake(A.id), 5)
        script._does = polled
        await asyncio.wait_for(scheduler.wake(A.id), 5)

    run(script, during)
    assert all(later - earlier >= 0.9 for earlier, later in pairwise(script.times("a")))


def test_a_stop_ends_the_wait() -> None:
    """Nothing waits for a poll that does not come."""

    async def during(scheduler: PollScheduler) -> None:
        scheduler._paces[A.id].backoff_factor = 8
        waiting, given_up = scheduler.wake(A.id), scheduler.wake(A.id)
        given_up.cancel()
        await scheduler.stop(5)
        for each in (waiting, scheduler.wake(A.id)):
            with pytest.raises(StoppedError):
                await each

    run(Script(polled), during)


def test_a_replica_waits_until_the_other_lets_go() -> None:
    """It claims the target itself, a second after anyone has; what it is refused it asks for again."""
    script = Script(polled)

    async def during(scheduler: PollScheduler) -> None:
        refusals = iter([True, False])
        script._does = lambda target: PollReport(target, claimed=False) if next(refusals) else polled(target)
        report = await asyncio.wait_for(scheduler.wake(A.id), 5)
        assert report.claimed

    run(script, during, shared=True)
    assert script.after[2:] == [WAKE_SECONDS] * 2


def test_a_target_that_another_replica_has_just_polled_rests() -> None:
    """The wake-up may be about something later, so it is polled a second after that."""
    script = Script(polled)

    async def during(scheduler: PollScheduler) -> None:
        await asyncio.sleep(WAKE_SECONDS)
        scheduler._paces[A.id].begun = time.monotonic()
        asked = time.monotonic()
        await asyncio.wait_for(scheduler.wake(A.id), 5)
        assert time.monotonic() - asked > 0.9 * WAKE_SECONDS

    run(script, during, shared=True)


def test_a_target_that_is_throttled_is_not_hurried() -> None:
    """Its next poll comes when it would have come."""
    pace = Pace(60, due_at=time.monotonic() + 60, backoff_factor=2)
    pace.wake()
    assert pace.wait() > 50
    pace.backoff_factor = 1
    pace.wake()
    assert pace.wait() == 0
