"""When each target is to be polled next, as APScheduler asks for it.

A pace counts by the monotonic clock, from when the last poll of its target began, on whichever replica. Its
trigger turns that into the wall-clock time that APScheduler wants. A poll seen on another replica only moves
the due time: the job still fires when it was planned, finds its target not due, and fires again when it is.
"""

from __future__ import annotations

import math
import random
import time
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from apscheduler.triggers.base import BaseTrigger

from poller.pacing import is_busy, next_backoff_factor
from poller.polling.cadence import JITTER

if TYPE_CHECKING:
    from poller.polling.cadence import Cadence
    from poller.polling.page import PollReport

WAKE_SECONDS = 1.0
"""Between two polls of a target at least, however many wake-ups ask for one."""
_SAME_SECONDS = 2.0
"""Two sightings of one poll may differ by so much, where a replica was slow to look."""
_REFUSED_SECONDS = 2.0
"""A replica that was slower than another has heard of the other's poll by then."""


@dataclass(slots=True)
class Pace:
    """The rhythm of one target; times are monotonic seconds.

    Args:
        interval: Seconds between two polls.
        spread: Between which parts of the interval the next poll is due.
        due_at: When the next poll is to begin.
        begun: When the last poll began; `None` if none is known.
        last_change: When a poll last found a change.
        backoff_factor: How many times slower than usual the target is polled.
        not_before: When a wake-up may cause the next poll.
    """

    interval: float
    spread: tuple[float, float] = (1 - JITTER, 1 + JITTER)
    due_at: float = field(default_factory=time.monotonic)
    begun: float | None = None
    last_change: float = field(default_factory=time.monotonic)
    backoff_factor: int = 1
    not_before: float = -math.inf

    def wait(self) -> float:
        """Seconds until the next poll; zero if it is due."""
        return max(0.0, self.due_at - time.monotonic())

    def count_from(self, begun: float) -> None:
        """Plan the next poll an interval after one that has begun."""
        self.begun = begun
        spread = random.uniform(*self.spread)  # noqa: S311 - spreads polls, guards nothing
        self.due_at = begun + self.interval * spread

    def saw(self, begun: float, target_id: str, calls: int | None, cadence: Cadence) -> None:
        """Plan by a poll on another replica, which may be known already.

        Args:
            begun: When it began.
            target_id: The target.
            calls: What the last one that ended has cost, if that is known.
            cadence: Learns of it.
        """
        is_news = self.begun is None or begun - self.begun >= min(_SAME_SECONDS, cadence.shortest / 2)
        before = self.interval
        interval = cadence.note_poll_elsewhere(target_id, calls, is_news=is_news)
        if interval is not None:
            self.interval = interval * self.backoff_factor
        if is_news:
            self.count_from(begun)
        elif self.begun is not None and self.interval > before:
            self.count_from(self.begun)

    def make_due(self) -> None:
        """Plan a poll for now."""
        self.due_at = time.monotonic()

    def wake(self) -> None:
        """Plan a poll for now, or a second after the last one; not while the target is polled more slowly."""
        if self.backoff_factor == 1:
            now = time.monotonic()
            rested = -math.inf if self.begun is None else self.begun + WAKE_SECONDS
            earliest = max(now, rested, self.not_before)
            # What was due before now has begun, and left no later plan if it failed.
            self.due_at = earliest if self.due_at <= now else min(self.due_at, earliest)

    def forget(self) -> None:
        """Plan a poll for now, as if there had been none."""
        self.begun = None
        self.make_due()

    def ask_again_soon(self) -> None:
        """Plan a short wait, after another replica was found at work on the target."""
        self.due_at = time.monotonic() + min(self.interval, _REFUSED_SECONDS)

    def adapt(self, report: PollReport, cadence: Cadence, *, seconds: float, backlogged: bool) -> bool:
        """Set the interval by what a poll has found; returns whether the backoff factor has changed.

        Args:
            report: What the poll found.
            cadence: Knows how often a target of its kind is polled.
            seconds: How long the poll took.
            backlogged: Whether so many deliveries wait that polls should bring less.
        """
        now = time.monotonic()
        if report.events:
            self.last_change = now
        before = self.backoff_factor
        self.backoff_factor = next_backoff_factor(before, throttled=report.throttled or backlogged)
        busy = is_busy(
            open_jobs=report.open_jobs,
            quiet_for=timedelta(seconds=now - self.last_change),
            idle_interval=cadence.idle_interval,
        )
        self.interval = cadence.learn(report, busy=busy, seconds=seconds) * self.backoff_factor
        return self.backoff_factor != before


class PaceTrigger(BaseTrigger):  # type: ignore[misc] # it has no types
    """Tells APScheduler when a target is due.

    Args:
        pace: The target's pace.
    """

    def __init__(self, pace: Pace) -> None:
        self.pace = pace

    def get_next_fire_time(self, previous_fire_time: datetime | None, now: datetime) -> datetime:
        """When the target is due; an interval from now if that is what it fires for."""
        wait = self.pace.wait()
        if previous_fire_time is not None and wait == 0:
            # The end of the poll that begins now plans the next one; this is for a poll that does not end.
            wait = self.pace.interval
        return now + timedelta(seconds=wait)
