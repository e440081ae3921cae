"""When targets are polled, and that the trouble of one stays its own."""

from __future__ import annotations

import asyncio
import threading
import time
from itertools import pairwise
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest
from structlog.testing import capture_logs

from poller.errors import AwsError, AwsReason, LeaseLostError, StoppedError, StoreError
from poller.heartbeats import Heartbeats
from poller.metrics import Metrics
from poller.model import Target
from poller.polling import PollReport, PollScheduler
from tests.harness.cadence import fixed_cadence
from tests.harness.clock import Clock

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Sequence

    from structlog.typing import EventDict

A = Target("a", "us-east-1", "async_invoke", "123456789012")
B = Target("b", "us-east-1", "async_invoke", "222222222222")


class Script:
    """Stands where the poller stands: what each poll of a target does is the test's affair."""

    def __init__(self, does: Callable[[Target], PollReport] | None = None) -> None:
        self.polls: list[tuple[str, float]] = []
        self.after: list[float] = []
        self.most_at_once = 0
        self._does = does or PollReport
        self._now: list[str] = []
        self._lock = threading.Lock()

    def poll(self, target: Target, *, after: float = 0.0) -> PollReport:
        """Poll."""
        self.after.append(after)
        with self._lock:
            self.polls.append((target.name, time.monotonic()))
            self._now.append(target.name)
            self.most_at_once = max(self.most_at_once, len(self._now))
            assert self._now.count(target.name) == 1
        try:
            return self._does(target)
        finally:
            with self._lock:
                self._now.remove(target.name)

    def times(self, name: str) -> list[float]:
        """When a target was polled."""
        return [at for polled, at in self.polls if polled == name]


class Rig:
    """A scheduler and what it tells."""

    def __init__(
        self,
        script: Script,
        *,
        interval: float = 0.1,
        idle: float = 0.1,
        concurrency: int = 4,
        crowded: Callable[[], bool] = lambda: False,
        targets: Sequence[Target] = (A, B),
        optional: Collection[Target] = (),
    ) -> None:
        self.script = script
        self.metrics = Metrics()
        self.clock = Clock()
        self.heartbeats = Heartbeats(self.clock.monotonic)
        self.stop = threading.Event()
        self.reports: list[PollReport] = []
        self.scheduler = PollScheduler(
            poller=script,  # type: ignore[arg-type]  # all it is asked for is poll()
            targets=targets,
            cadence=fixed_cadence(targets, self.metrics, interval=interval, idle=idle),
            concurrency=concurrency,
            stop=self.stop,
            metrics=self.metrics,
            heartbeats=self.heartbeats,
            reported=self.reports.append,
            is_backlogged=crowded,
            optional=optional,
        )

    def run(self, until: Callable[[], bool] | float, *, grace: float = 5) -> None:
        """Run until something is true, for ten seconds at most, or for so many seconds."""

        async def main() -> None:
            self.scheduler.start()
            if isinstance(until, float):
                await asyncio.sleep(until)
            else:
                await eventually(until)
            await self.scheduler.stop(grace)

        asyncio.run(main())

    def count(self, metric: str, target: Target = A, **labels: str) -> float:
        """A metric of a target."""
        labels |= {"target": target.name, "region": target.region, "kind": target.kind}
        return self.metrics.registry.get_sample_value(f"bedrock_poller_{metric}", labels) or 0.0


async def eventually(true: Callable[[], bool]) -> None:
    """Wait until something is true."""
    async with asyncio.timeout(10):
        while not true():  # noqa: ASYNC110 - what it waits for happens in a thread
            await asyncio.sleep(0.005)


def test_every_target_is_polled_at_once() -> None:
    """The first polls do not wait for the interval."""
    script = Script(lambda target: PollReport(target, open_jobs=1))
    Rig(script, interval=3600, idle=3600).run(lambda: len(script.polls) == 2)


def test_polls_keep_to_the_interval() -> None:
    """None comes earlier than a tenth of jitter allows, and they go on."""
    script = Script(lambda target: PollReport(target, open_jobs=1))
    rig = Rig(script, interval=0.3, idle=60)
    rig.run(lambda: len(script.times("a")) >= 4)
    for name in "ab":
        # The second is an interval after the start, and the jitter of two runs may add up.
        assert all(later - earlier > 0.15 for earlier, later in pairwise(script.times(name)[1:]))
    assert rig.count("poll_interval_seconds") == 0.3


def test_a_target_without_open_jobs_is_polled_less_often() -> None:
    """Once it has been quiet for the idle interval, a target is polled at that; a busy one is not slowed."""
    script = Script(lambda target: PollReport(target, open_jobs=int(target is A)))
    rig = Rig(script, interval=0.05, idle=0.5)
    rig.run(lambda: rig.count("poll_interval_seconds", B) == 0.5)
    assert rig.count("poll_interval_seconds", A) == 0.05


def test_a_target_that_wakes_up_is_polled_more_often() -> None:
    """An event brings the short interval back."""
    wake = threading.Event()
    script = Script(lambda target: PollReport(target, events=int(wake.is_set())))
    rig = Rig(script, interval=0.05, idle=0.3)

    def woken() -> bool:
        if rig.count("poll_interval_seconds") == 0.3:
            wake.set()
        return wake.is_set() and rig.count("poll_interval_seconds") == 0.05

    rig.run(woken)


def test_a_strained_target_is_polled_less_often_until_it_is_calm() -> None:
    """Throttling doubles the interval poll by poll up to eight times; calm polls bring it back (fault 14)."""
    calm = threading.Event()
    script = Script(lambda target: PollReport(target, open_jobs=1, throttled=not calm.is_set()))
    rig = Rig(script, interval=0.02, idle=0.02)

    def recovered() -> bool:
        if rig.count("poll_interval_seconds") == 0.16:
            calm.set()
        return calm.is_set() and rig.count("poll_interval_seconds") == 0.02

    rig.run(recovered)


def test_polls_slow_down_while_too_much_waits_to_be_delivered() -> None:
    """A backlog does for all targets what throttling does for one, carried work waits, and it is said why."""
    crowded = threading.Event()
    crowded.set()
    script = Script(lambda target: PollReport(target, open_jobs=1, deferred=1))
    rig = Rig(script, interval=0.05, idle=0.05, crowded=crowded.is_set)

    def recovered() -> bool:
        if rig.count("poll_interval_seconds") == rig.count("poll_interval_seconds", B) == 0.4:
            crowded.clear()
        return not crowded.is_set() and rig.count("poll_interval_seconds") == 0.05

    with capture_logs() as lines:
        rig.run(recovered)
    changes = [line for line in lines if line["event"] == "poll.strain_changed" and line["target"] == A.id]
    assert [(line["times_slower"], line["why"]) for line in changes[:4]] == [
        (2, "backlog"),
        (4, "backlog"),
        (8, "backlog"),
        (4, "calm"),
    ]


def test_a_poll_that_carried_work_is_followed_at_once() -> None:
    """What did not fit the budget of one poll does not wait for the interval."""
    script = Script(lambda target: PollReport(target, deferred=int(len(script.times(target.name)) < 4)))
    Rig(script, interval=3600, idle=3600).run(lambda: len(script.times("a")) == 4)


def test_a_poll_that_takes_long_is_not_begun_twice() -> None:
    """A target is polled once at a time, however long it takes, and the others go on meanwhile."""

    def does(target: Target) -> PollReport:
        if target is A:
            time.sleep(0.8)
        return PollReport(target, open_jobs=1)

    script = Script(does)
    Rig(script).run(lambda: len(script.times("b")) >= 6)
    assert len(script.times("a")) <= 2


def test_no_more_polls_at_once_than_allowed() -> None:
    """`concurrency` bounds the polls that run at the same time."""

    def does(target: Target) -> PollReport:
        time.sleep(0.05)
        return PollReport(target)

    script = Script(does)
    Rig(script, concurrency=1).run(lambda: len(script.polls) >= 6)
    assert script.most_at_once == 1


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (StoreError("disk full"), "store"),
        (LeaseLostError("lost"), "lease_lost"),
        (ZeroDivisionError(), "internal"),
    ],
)
def test_a_failing_target_is_counted_and_does_not_hold_up_the_others(
    error: Exception, reason: str, log: list[EventDict]
) -> None:
    """Whatever a poll raises has a reason in the metrics and a line in the log, and both targets go on.

    Injects fault 14.
    """

    def does(target: Target) -> PollReport:
        if target is A:
            raise error
        return PollReport(target)

    script = Script(does)
    rig = Rig(script)
    rig.run(lambda: len(script.times("a")) >= 3 and len(script.times("b")) >= 3)
    assert rig.count("poll_failures_total", reason=reason) >= 3
    assert rig.count("polls_total") >= 3
    assert rig.count("poll_failures_total", B, reason=reason) == 0
    assert rig.count("poll_last_success_timestamp_seconds") == 0
    assert rig.count("poll_last_success_timestamp_seconds", B) == pytest.approx(time.time(), abs=30)
    assert {entry["event"] for entry in log} >= {"poll.finished"}
    assert any(entry["event"] in {"poll.failed", "poll.lease_lost"} for entry in log)
    lost = rig.metrics.registry.get_sample_value("bedrock_poller_leases_lost_total")
    assert bool(lost) == (reason == "lease_lost")


def test_an_incomplete_poll_is_counted_by_its_reason(log: list[EventDict]) -> None:
    """A report with a failure counts as failed, with the AWS reason, and is reported all the same."""
    failure = AwsError("no", reason=AwsReason.THROTTLED, code="ThrottlingException")
    script = Script(lambda target: PollReport(target, failure=failure, jobs=3))
    rig = Rig(script)
    rig.run(lambda: len(rig.reports) >= 2)
    assert rig.count("poll_failures_total", reason="throttled") >= 1
    assert rig.count("poll_last_success_timestamp_seconds") == 0
    assert any((entry["event"], entry.get("jobs")) == ("poll.failed", 3) for entry in log)


def test_a_target_held_by_another_replica_is_no_poll() -> None:
    """What was not claimed is not counted as a poll, nor as a success."""
    script = Script(lambda target: PollReport(target, claimed=False))
    rig = Rig(script)
    rig.run(lambda: len(script.times("a")) >= 2)
    assert rig.count("polls_total") == 0
    assert rig.count("poll_last_success_timestamp_seconds") == 0


def test_a_stop_waits_for_running_polls() -> None:
    """A running poll that notices the stop ends within the grace period, and no further one begins."""
    rig: list[Rig] = []
    noticed: list[bool] = []

    def does(target: Target) -> PollReport:
        noticed.append(rig[0].stop.wait(20))
        raise StoppedError("stopped")

    script = Script(does)
    rig.append(Rig(script))
    rig[0].run(lambda: len(script.polls) == 2)
    assert noticed == [True, True]
    assert len(script.polls) == 2
    assert rig[0].count("poll_failures_total", reason="internal") == 0


def test_a_stop_is_bounded() -> None:
    """A poll that does not notice the stop is left behind after the grace period."""
    free = threading.Event()
    ended: list[Target] = []

    def does(target: Target) -> PollReport:
        free.wait(20)
        ended.append(target)
        return PollReport(target)

    script = Script(does)
    rig = Rig(script)

    async def main() -> None:
        rig.scheduler.start()
        await eventually(lambda: len(script.polls) == 2)
        await rig.scheduler.stop(0.2)
        assert ended == []
        free.set()

    asyncio.run(main())


def test_stopping_what_never_began_is_allowed() -> None:
    """A scheduler that was not started polls on request, and stops."""
    rig = Rig(Script())

    async def main() -> PollReport | None:
        try:
            return await rig.scheduler.poll(A)
        finally:
            await rig.scheduler.stop(0)

    report = asyncio.run(main())
    assert report is not None
    assert report.target == A


def watched(rig: Rig, during: Callable[[], Awaitable[None]]) -> None:
    """Run the scheduler with its watch of the clock while something happens."""

    async def main() -> None:
        rig.scheduler.start()
        watch = asyncio.create_task(rig.scheduler.watch_clock())
        try:
            await during()
        finally:
            await rig.scheduler.stop(1)
            watch.cancel()
            await asyncio.wait([watch])
        assert watch.cancelled()

    asyncio.run(main())


@pytest.mark.parametrize("jump", [3600.0, -3600.0])
def test_a_jump_of_the_wall_clock_makes_every_target_due(
    jump: float, monkeypatch: pytest.MonkeyPatch, log: list[EventDict]
) -> None:
    """When the wall clock jumps an hour either way, all targets are polled at once (fault 12)."""
    offset = [0.0]
    clock = SimpleNamespace(time=lambda: time.time() + offset[0], monotonic=time.monotonic)
    monkeypatch.setattr("poller.polling.clock_jumps.time", clock)
    monkeypatch.setattr("poller.polling.clock_jumps._CHECK_SECONDS", 0.05)
    script = Script()
    rig = Rig(script, interval=600, idle=600)

    async def during() -> None:
        await eventually(lambda: len(script.polls) == 2)
        await asyncio.sleep(0.15)
        assert len(script.polls) == 2
        offset[0] = jump
        await eventually(lambda: len(script.polls) == 4)

    watched(rig, during)
    (jumped,) = [entry for entry in log if entry["event"] == "clock.jumped"]
    assert jumped["seconds"] == pytest.approx(jump, abs=1)


def test_a_jump_during_the_stop_is_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that jumps while running polls are waited for does not begin new ones, and breaks nothing."""
    offset = [0.0]
    clock = SimpleNamespace(time=lambda: time.time() + offset[0], monotonic=time.monotonic)
    monkeypatch.setattr("poller.polling.clock_jumps.time", clock)
    monkeypatch.setattr("poller.polling.clock_jumps._CHECK_SECONDS", 0.05)
    free = threading.Event()
    script = Script(lambda target: (free.wait(10), PollReport(target))[1])
    rig = Rig(script, interval=600, idle=600)

    async def during() -> None:
        await eventually(lambda: len(script.polls) == 2)
        await asyncio.sleep(0.1)
        stopping = asyncio.create_task(rig.scheduler.stop(5))
        await asyncio.sleep(0.05)
        offset[0] = 3600
        await asyncio.sleep(0.2)
        free.set()
        await stopping

    watched(rig, during)
    assert len(script.polls) == 2


def test_progress_is_promised_for_the_polls_and_for_each_while_it_runs() -> None:
    """Polls as a whole are expected to move, and each one that runs is; none is when all has ended."""
    rig = Rig(Script())
    names: set[str] = set()
    real = rig.heartbeats.beat

    def beat(name: str, *, within: float) -> None:
        names.add(name)
        real(name, within=within)

    rig.heartbeats.beat = beat  # type: ignore[method-assign]
    rig.run(lambda: len(rig.reports) >= 2)
    assert names == {"polls", f"poll {A.id}", f"poll {B.id}"}
    rig.clock.tick(100_000)
    assert rig.heartbeats.overdue() == {}


def test_the_shortest_interval_is_known_without_a_record_of_all_that_were() -> None:
    """Progress is expected by it, and budgets make intervals change with nearly every poll."""
    rig = Rig(Script(), interval=60, idle=60)
    scheduler = rig.scheduler
    assert scheduler._shortest() == 60
    for interval, shortest in ((50.0, 50.0), (70.0, 60.0), (30.0, 30.0), (40.0, 40.0)):
        pace = scheduler._paces[A.id]
        before, pace.interval = pace.interval, interval
        scheduler._note_interval(A.id, before)
        assert scheduler._shortest() == shortest
        assert rig.count("poll_interval_seconds") == interval


def test_a_poll_that_hangs_is_overdue_and_so_are_polls_that_do_not_begin() -> None:
    """Health hears of a poll that has not got further for too long, and of polls that have ceased."""
    free = threading.Event()

    def does(target: Target) -> PollReport:
        free.wait(10)
        return PollReport(target)

    rig = Rig(Script(does), concurrency=1)

    async def main() -> dict[str, float]:
        rig.scheduler.start()
        await eventually(lambda: len(rig.script.polls) == 1)
        rig.clock.tick(1000)
        found = rig.heartbeats.overdue()
        free.set()
        await rig.scheduler.stop(5)
        return found

    assert asyncio.run(main()).keys() == {"polls", f"poll {rig.script.polls[0][0]}/us-east-1/async_invoke"}


def test_a_silent_service_leaves_threads_for_the_others() -> None:
    """Two dozen targets whose service does not answer hold a quarter of the threads; the rest are polled.

    Injects fault 24.
    """
    silence = AwsError("no answer", reason=AwsReason.NETWORK)
    targets = [Target(f"dead-{number}", "eu-west-1", "async_invoke") for number in range(24)]
    answers = threading.Event()

    def does(target: Target) -> PollReport:
        if target.region == "us-east-1" or answers.is_set():
            return PollReport(target, open_jobs=1)
        time.sleep(0.3)
        return PollReport(target, failure=silence)

    script = Script(does)
    rig = Rig(script, targets=[*targets, A, B], concurrency=4)
    rig.run(lambda: len(script.times("a")) >= 15)
    # The first four find out; from then on it is one at a time.
    begun = sorted(at for name, at in script.polls if name.startswith("dead"))[4:]
    assert all(later - earlier > 0.25 for earlier, later in pairwise(begun))
    answers.set()
    again = Script(does)
    rig = Rig(again, targets=[*targets, A, B], concurrency=4)
    rig.run(lambda: len(again.polls) >= 60)
    assert len({name for name, _ in again.polls}) == 26


def test_a_region_that_an_account_cannot_use_is_no_failure() -> None:
    """Of `auto`, never seen, while the account answers elsewhere: asked rarely, counted apart (fault 24)."""
    refused = AwsError("not enabled", reason=AwsReason.CREDENTIALS)
    far = Target("a", "ap-east-2", "async_invoke")
    alone = Target("c", "ap-east-2", "async_invoke")
    seen = Target("a", "af-south-1", "async_invoke")
    enabled = threading.Event()

    def does(target: Target) -> PollReport:
        if target is A or (target is far and enabled.is_set()):
            return PollReport(target, open_jobs=1)
        return PollReport(target, open_jobs=1, failure=refused, known=target is seen)

    script = Script(does)
    optional = {A, far, alone, seen}
    rig = Rig(script, interval=0.05, targets=[A, far, alone, seen], optional=optional)

    def unavailable() -> float | None:
        return rig.metrics.registry.get_sample_value("bedrock_poller_targets_unavailable")

    with capture_logs() as log:

        async def main() -> None:
            rig.scheduler.start()
            await eventually(lambda: rig.count("poll_interval_seconds", far) >= 8 * 0.05)
            assert unavailable() == 1
            enabled.set()
            await eventually(lambda: unavailable() == 0)
            await rig.scheduler.stop(5)

        asyncio.run(main())
    # At most the first polls, before the account had answered anywhere.
    assert rig.count("poll_failures_total", far, reason="credentials") <= 1
    assert rig.count("poll_failures_total", alone, reason="credentials") >= 2
    assert rig.count("poll_failures_total", seen, reason="credentials") >= 2
    assert [entry["target"] for entry in log if entry["event"] == "target.unavailable"] == [far.id]
    assert [entry["target"] for entry in log if entry["event"] == "target.available"] == [far.id]
