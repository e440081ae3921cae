"""Replicas keep one budget together: each knows what the polls of the others cost.

Half an hour is played through with the paces and cadences of several replicas over one record of claims, in
the place of the store: without threads, and by a clock that the test moves.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta

import pytest

from poller.metrics import Metrics
from poller.model import Target
from poller.polling import Cadence, PollReport
from poller.polling.cadence import JITTER
from poller.polling.pace import Pace
from tests.harness.clock import Clock

BUDGET = 0.5
SPAN = 1800.0
LOOK = 1.0
COSTS = {
    Target("a", "us-east-1", "async_invoke", "123456789012"): 1,
    Target("a", "us-east-1", "model_invocation_job", "123456789012"): 30,
    Target("a", "us-east-1", "other", "123456789012"): 2,
}


@dataclass
class Fleet:
    """Replicas, and what they have claimed."""

    replicas: int
    clock: Clock = field(default_factory=Clock)
    claims: list[tuple[float, Target, int]] = field(default_factory=list)
    costs: dict[Target, int | None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Plan every target for now on each."""
        self.cadences = [
            Cadence(
                COSTS,
                interval=None,
                idle_interval=timedelta(minutes=2),
                full_scan_interval=timedelta(hours=24),
                calls_per_second=BUDGET,
                threads=8,
                metrics=Metrics(),
                clock=self.clock.monotonic,
            )
            for _ in range(self.replicas)
        ]
        for cadence in self.cadences:
            # The store tells all of them where open jobs are, before they start.
            cadence.note_open_jobs({(*target.place, target.kind) for target in COSTS})
        self.began = self.clock.monotonic()
        self.paces = {
            (number, target): Pace(cadence.shortest, cadence.spread, due_at=self.began)
            for number, cadence in enumerate(self.cadences)
            for target in COSTS
        }

    def run(self, seconds: float, *, without: frozenset[int] = frozenset()) -> None:
        """Let time pass; some replicas may be gone."""
        end = self.clock.monotonic() + seconds
        alive = [key for key in self.paces if key[0] not in without]
        while True:
            number, target = min(alive, key=lambda key: self.paces[key].due_at)
            due = self.paces[number, target].due_at
            if due > end:
                break
            self.clock.tick(max(0.0, due - self.clock.monotonic()))
            self._poll(number, target)
        self.clock.tick(end - self.clock.monotonic())

    def _poll(self, number: int, target: Target) -> None:
        now, pace, cadence = self.clock.monotonic(), self.paces[number, target], self.cadences[number]
        last = max((at for at, claimed, _ in self.claims[-200:] if claimed == target), default=None)
        if last is not None and now - last < pace.interval * (1 - JITTER):
            # The store refuses the claim, and the next look tells why.
            self._tell(number, target, last)
            pace.due_at = max(pace.due_at, now + LOOK)
            return
        self.claims.append((now, target, number))
        report = PollReport(target, calls=COSTS[target], open_jobs=1, begun=now)
        pace.adapt(report, cadence, seconds=0.1, backlogged=False)
        pace.count_from(now)
        # Looks show that it has begun, and later what it has cost.
        for cost in (self.costs.get(target), COSTS[target]):
            self.costs[target] = cost
            for other in range(self.replicas):
                self._tell(other, target, now)

    def _tell(self, number: int, target: Target, begun: float) -> None:
        self.paces[number, target].saw(begun, target.id, self.costs.get(target), self.cadences[number])

    def calls(self, begin: float, end: float) -> int:
        """The calls of some time, of all replicas."""
        return sum(COSTS[target] for at, target, _ in self.claims if begin <= at < end)


@pytest.fixture(params=[1, 3, pytest.param(30, marks=pytest.mark.long)])
def fleet(request: pytest.FixtureRequest) -> Fleet:
    """One replica, some, and many."""
    return Fleet(request.param)


def test_together_they_stay_within_the_budget_from_the_start(fleet: Fleet) -> None:
    """In any minute, and in the whole time; a poll of each target aside, as a minute may begin with it."""
    fleet.run(SPAN)
    aside = sum(COSTS.values())
    for begin, _, _ in fleet.claims:
        assert fleet.calls(begin, begin + 60) <= 60 * BUDGET + aside
    assert 0.9 * SPAN * BUDGET <= fleet.calls(fleet.began, fleet.began + SPAN) <= SPAN * BUDGET + aside
    assert {number for _, _, number in fleet.claims} == set(range(fleet.replicas))


def test_targets_of_a_replica_that_is_gone_are_polled_on() -> None:
    """At the interval that they had, by one that has not polled them yet."""
    fleet = Fleet(2)
    fleet.run(20)
    gone = fleet.clock.monotonic()
    fleet.run(900, without=frozenset({fleet.claims[-1][2]}))
    cheap = [at for at, target, _ in fleet.claims if COSTS[target] == 1 and at > gone]
    assert cheap[0] - gone < 10
    assert len(cheap) > 90
