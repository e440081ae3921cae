"""How often targets are polled, by what their polls have cost and how long they took."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from poller.errors import AwsError, AwsReason
from poller.metrics import Metrics
from poller.model import Target
from poller.polling import Cadence, PollReport
from tests.harness.clock import Clock

if TYPE_CHECKING:
    from collections.abc import Sequence

ASYNC = Target("a", "us-east-1", "async_invoke", "123456789012")
BATCH = Target("a", "us-east-1", "model_invocation_job", "123456789012")
ELSEWHERE = Target("a", "eu-west-1", "async_invoke", "123456789012")
UNKNOWN = Target("new", "us-east-1", "async_invoke")


class Rig:
    """A cadence with the defaults, and its clock and metrics."""

    def __init__(
        self,
        targets: Sequence[Target] = (ASYNC, BATCH, ELSEWHERE, UNKNOWN),
        *,
        interval: float | None = None,
        budget: float = 0.5,
        threads: int = 8,
        full_scan_interval: timedelta = timedelta(hours=24),
    ) -> None:
        self.metrics = Metrics()
        self.clock = Clock()
        self.cadence = Cadence(
            targets,
            interval=None if interval is None else timedelta(seconds=interval),
            idle_interval=timedelta(minutes=2),
            full_scan_interval=full_scan_interval,
            calls_per_second=budget,
            threads=threads,
            metrics=self.metrics,
            clock=self.clock.monotonic,
        )

    def polled(
        self,
        target: Target,
        *,
        calls: int = 1,
        busy: bool = True,
        seconds: float = 0.1,
        full: bool = False,
        failure: AwsError | None = None,
    ) -> float:
        """Poll a target, and return the seconds until the next time, rounded."""
        report = PollReport(target, calls=calls, full=full, failure=failure)
        return round(self.cadence.learn(report, busy=busy, seconds=seconds), 2)

    def sample(self, name: str, **labels: str) -> float | None:
        """A metric."""
        return self.metrics.registry.get_sample_value(f"bedrock_poller_{name}", labels)


def test_busy_targets_of_an_account_and_region_share_its_budget() -> None:
    """One alone is polled about every 2 s, two every 4 s; those of other places as if they were alone."""
    rig = Rig()
    # The other target is idle, and costs a call in two minutes.
    assert rig.polled(ASYNC) == pytest.approx(2, abs=0.04)
    assert rig.polled(BATCH) == 4
    assert rig.polled(ASYNC) == 4
    assert rig.polled(ELSEWHERE) == 2
    assert rig.polled(UNKNOWN) == 2
    assert rig.polled(BATCH, busy=False) == 120
    assert rig.polled(ASYNC) == pytest.approx(2, abs=0.04)


def test_an_expensive_target_is_polled_less_often_and_leaves_the_others_their_part() -> None:
    """Thirty pages at each poll."""
    rig = Rig()
    rig.polled(ASYNC)
    assert rig.polled(BATCH, calls=30) == 120
    assert rig.polled(ASYNC) == 4
    for _ in range(12):
        rig.polled(BATCH, calls=1)
    assert rig.polled(BATCH, calls=1) == pytest.approx(4, abs=0.1)


def test_full_listings_come_off_the_budget() -> None:
    """At the rate at which they are made; one is no reason to poll a target less often from then on."""
    rig = Rig([ASYNC])
    rig.polled(ASYNC)
    assert rig.polled(ASYNC, calls=100, full=True) == pytest.approx(2, abs=0.01)
    often = Rig([ASYNC], full_scan_interval=timedelta(seconds=400))
    often.polled(ASYNC)
    assert often.polled(ASYNC, calls=100, full=True) == 4
    often.clock.tick(401)
    assert often.polled(ASYNC, calls=120, full=True) == 5


def test_full_listings_that_do_not_succeed_cost_what_they_cost() -> None:
    """A target whose first listing is never complete is listed whole at every poll."""
    rig = Rig([ASYNC])
    rig.polled(ASYNC, calls=30, full=True)
    rig.clock.tick(10)
    assert rig.polled(ASYNC, calls=30, full=True) == pytest.approx(60, abs=0.1)


def test_a_poll_that_failed_is_not_cheap() -> None:
    """It was cut short; one that failed late costs at least what it has cost so far."""
    rig = Rig([ASYNC])
    rig.polled(ASYNC, calls=20)
    failure = AwsError("no", reason=AwsReason.NETWORK)
    assert rig.polled(ASYNC, calls=0, failure=failure) == 40
    assert rig.polled(ASYNC, calls=25, failure=failure) == 50


def test_open_jobs_that_another_replica_has_found_count() -> None:
    """Replicas share the budget although each sees only its own polls."""
    rig = Rig()
    rig.cadence.note_open_jobs({("123456789012", "us-east-1", "model_invocation_job")})
    assert rig.polled(ASYNC) == 4


def test_what_polls_of_another_replica_cost_counts() -> None:
    """A replica that has not polled a target knows its interval, and what it leaves to the others."""
    rig = Rig()
    note = rig.cadence.note_poll_elsewhere
    rig.cadence.note_open_jobs({("123456789012", "us-east-1", "model_invocation_job")})
    assert note(BATCH.id, None, is_news=True) == pytest.approx(2, abs=0.1)
    assert note(BATCH.id, 42, is_news=True) == pytest.approx(86, abs=1)
    # Half of the budget is more than 20 calls in 120 s need; 42 need more than half.
    rig.polled(ASYNC)
    assert note(BATCH.id, 42, is_news=False) == 120
    assert rig.polled(ASYNC) == pytest.approx(1 / 0.15, abs=0.01)
    # Cheaper polls count by and by, and each but once.
    assert note(BATCH.id, 2, is_news=True) == pytest.approx(88, abs=0.1)
    assert note(BATCH.id, 2, is_news=False) == pytest.approx(88, abs=0.1)
    assert note(ELSEWHERE.id, 2, is_news=True) == 120
    assert Rig(interval=7).cadence.note_poll_elsewhere(ASYNC.id, 3, is_news=True) is None


def test_a_fixed_interval_stays_what_it_is() -> None:
    """Whatever polls cost, and however long they take."""
    rig = Rig(interval=7, threads=1)
    assert [rig.polled(target, calls=99, seconds=60) for target in (ASYNC, BATCH, ELSEWHERE)] == [7, 7, 7]
    assert rig.polled(ASYNC, busy=False) == 120
    assert rig.sample("poll_stretch_factor") == 1


def test_intervals_stretch_evenly_where_threads_are_short() -> None:
    """A thousand targets, a second each, on eight threads: no interval is shorter than the threads allow."""
    targets = [Target(f"{number}", "us-east-1", "async_invoke", f"{number:012}") for number in range(1000)]
    rig = Rig(targets)
    for _ in range(2):
        for target in targets:
            rig.polled(target, seconds=1)
        rig.clock.tick(2)
    assert rig.polled(targets[0], seconds=1) == 120
    # At 2 s, 500 would be at work at once, and 6.4 can be without a queue.
    assert rig.sample("poll_stretch_factor") == pytest.approx(500 / 6.4)
    for target in targets:
        rig.polled(target, seconds=0.1)
    rig.clock.tick(2)
    assert rig.polled(targets[0], seconds=0.1) == pytest.approx(2 * 50 / 6.4, abs=0.01)
    assert rig.sample("poll_stretch_factor") == pytest.approx(50 / 6.4)
    for target in targets:
        rig.polled(target, seconds=0.01)
    rig.clock.tick(2)
    assert {rig.polled(target, seconds=0.01) for target in targets} == {2}
    assert rig.sample("poll_stretch_factor") == 1


def test_a_few_long_polls_stretch_nothing() -> None:
    """A poll that waits for many Gets takes one thread, not as many as intervals would fit into it."""
    rig = Rig()
    for _ in range(2):
        rig.clock.tick(2)
        assert [rig.polled(target, seconds=30) for target in (ELSEWHERE, UNKNOWN)] == [2, 2]
    assert rig.sample("poll_stretch_factor") == 1


def test_replicas_stretch_by_what_all_their_threads_can_do() -> None:
    """Of 400 polls that would run at once, this replica does a quarter."""
    targets = [Target(f"{number}", "us-east-1", "async_invoke", f"{number:012}") for number in range(800)]
    rig = Rig(targets, threads=50)
    for _ in range(3):
        for target in targets:
            rig.polled(target, seconds=1)
            for _ in range(3):
                rig.cadence.note_poll_elsewhere(target.id, None, is_news=True)
        rig.clock.tick(2)
    rig.polled(targets[0], seconds=1)
    assert rig.sample("poll_stretch_factor") == pytest.approx(400 / (0.8 * 4 * 50), rel=0.01)


def test_the_share_of_the_budget_that_was_used_is_shown() -> None:
    """Calls of the last minute, by account and region; a target whose account is unknown by its name."""
    rig = Rig()
    rig.polled(ASYNC, calls=6)
    rig.polled(BATCH, calls=9)
    rig.polled(UNKNOWN, calls=3)
    place = {"account_id": "123456789012", "region": "us-east-1"}
    assert rig.sample("poll_budget_used_ratio", **place) == pytest.approx(15 / 30)
    assert rig.sample("poll_budget_used_ratio", account_id="new", region="us-east-1") == pytest.approx(0.1)
    rig.clock.tick(61)
    rig.polled(ASYNC, calls=3)
    assert rig.sample("poll_budget_used_ratio", **place) == pytest.approx(0.1)
