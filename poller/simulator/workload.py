"""Jobs that come without anybody submitting them.

`populate` fills a region once; a `Workload` keeps submitting. Nothing ticks here either: arrivals are a
function of the seed and of when the region was first asked for, and are caught up with at the next request.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from poller.simulator.lifecycles import ASYNC_INVOKE, MODEL_INVOCATION_JOB
from poller.simulator.seeding import Dice

if TYPE_CHECKING:
    from poller.simulator.jobs import SimJob
    from poller.simulator.world import World

HISTORY_SPAN = 10 * 24 * 3600.0
"""Seconds over which the ends of made-up past jobs are spread."""
SPREAD = 10.0
"""Seconds over which the submissions of made-up jobs are spread."""
_MOST_AT_ONCE = 10_000  # arrivals made up for the time in which nobody asked


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """What every region that is asked for is busy with.

    Args:
        per_minute: New jobs a minute, of both kinds.
        jobs: Jobs submitted in the first seconds.
        history: Jobs that had ended before.
    """

    per_minute: float = 20.0
    jobs: int = 10
    history: int = 40


class Flow:
    """The workload of one region of one account, from its first request on."""

    def __init__(self, workload: Workload, world: World, account: str, region: str, now: int) -> None:
        self._world = world
        self._place = (account, region)
        self._gap = 60_000 / workload.per_minute if workload.per_minute > 0 else None
        self._next = float(now)
        self._arrivals = 0
        populate(world, account, region, now, jobs=workload.jobs, history=workload.history)

    def catch_up(self, now: int) -> None:
        """Submit what has arrived by now."""
        if self._gap is None:
            return
        self._next = max(self._next, now - _MOST_AT_ONCE * self._gap)
        while self._next <= now:
            dice = Dice(self._world.seed, "workload", *self._place, self._arrivals)
            self._world.submit(_kind(dice), *self._place, int(self._next))
            self._arrivals += 1
            self._next += self._gap * dice.between(0.5, 1.5)


def populate(
    world: World, account: str, region: str, now: int, *, jobs: int, history: int, spread: float = SPREAD
) -> list[SimJob]:
    """Make up `jobs` jobs submitted over the next `spread` seconds and `history` jobs that have ended.

    Returns:
        All of them, those of the past first.
    """
    made = []
    for number in range(history):
        dice = Dice(world.seed, "history", account, region, number)
        ended = now - round(dice.between(60, HISTORY_SPAN) * 1000)
        made.append(world.make(_kind(dice), account, region, ended=ended))
    for number in range(jobs):
        dice = Dice(world.seed, "jobs", account, region, number)
        at = now + round(dice.between(0, spread) * 1000)
        made.append(world.make(_kind(dice), account, region, at=at, speed=world.speed))
    for kind in (ASYNC_INVOKE, MODEL_INVOCATION_JOB):
        world.store.shelf(account, region, kind).add([job for job in made if job.kind == kind])
    return made


def _kind(dice: Dice) -> str:
    return dice.pick((ASYNC_INVOKE, MODEL_INVOCATION_JOB))
