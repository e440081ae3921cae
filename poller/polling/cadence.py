"""How often each target is polled: at a fixed interval, or as often as a budget of calls allows.

The budget belongs to an account and region. Its idle targets are polled every `idle_interval`; what that
leaves is shared by the busy ones, by what a poll of each has cost lately. Full listings are rare and do not
count. Where threads are short, all intervals grow by the same factor instead.
"""

from __future__ import annotations

import time
from collections import defaultdict, deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from poller.pacing import expected_calls, intervals_within_budget, stretch_factor

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable
    from datetime import timedelta

    from poller.metrics import Metrics
    from poller.model import Target
    from poller.polling.page import PollReport

SHORTEST_SECONDS = 2.0
"""Between two polls of a target, however few calls it costs."""
_MINUTE = 60.0


@dataclass(slots=True)
class _Course:
    """How the polls of a target have gone.

    Args:
        busy: Whether it is polled often.
        calls: What a poll is expected to cost; `None` if there was none.
        seconds: How long the last poll took.
        interval: Seconds between two polls, but for the stretch.
    """

    busy: bool = False
    calls: float | None = None
    seconds: float = 0.0
    interval: float = float("inf")

    @property
    def cost(self) -> float:
        return 1.0 if self.calls is None else self.calls

    @property
    def at_work(self) -> float:
        """How much of the time a thread polls it."""
        return self.seconds / self.interval


class Cadence:
    """The intervals of all targets of a process.

    Args:
        targets: All that are polled, by this process or another one.
        interval: Between polls of a busy target; `None` to follow the budget.
        idle_interval: Between polls of any other.
        calls_per_second: The budget of one account and region.
        threads: How many polls can run at once.
        metrics: Where the share of the budget and the stretch are shown.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        targets: Iterable[Target],
        *,
        interval: timedelta | None,
        idle_interval: timedelta,
        calls_per_second: float,
        threads: int,
        metrics: Metrics,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.idle_interval = idle_interval
        self._fixed = None if interval is None else interval.total_seconds()
        self._longest = idle_interval.total_seconds()
        self._budget = calls_per_second
        self._threads = threads
        self._metrics = metrics
        self._clock = clock
        self._courses: dict[str, _Course] = {}
        self._sharing: dict[tuple[str, str], list[str]] = defaultdict(list)
        self._kinds: dict[str, tuple[str, str, str]] = {}
        self._spent: dict[tuple[str, str], deque[tuple[float, int]]] = defaultdict(deque)
        self._at_work = 0.0
        metrics.poll_stretch.set(1)
        for target in targets:
            self._courses[target.id] = _Course()
            self._sharing[target.place].append(target.id)
            self._kinds[target.id] = (*target.place, target.kind)

    @property
    def shortest(self) -> float:
        """The shortest interval that a target can have, in seconds."""
        return min(SHORTEST_SECONDS, self._longest) if self._fixed is None else self._fixed

    def learn(self, report: PollReport, *, busy: bool, seconds: float) -> float:
        """Take note of a poll, and return the seconds until its target is to be polled again.

        Args:
            report: What it found, and what it cost.
            busy: Whether the target is to be polled often.
            seconds: How long it took.
        """
        target = report.target
        course = self._courses[target.id]
        course.busy = busy
        if not report.full:
            course.calls = expected_calls(course.calls, report.calls)
        self._at_work -= course.at_work
        course.seconds, course.interval = seconds, self._interval(target)
        self._at_work += course.at_work
        self._show_spent(target.place, report.calls)
        if self._fixed is not None:
            return course.interval
        stretch = stretch_factor(self._at_work, self._threads)
        self._metrics.poll_stretch.set(stretch)
        return min(course.interval * stretch, self._longest)

    def note_open_jobs(self, found: Collection[tuple[str, str, str]]) -> None:
        """Learn in which accounts, regions and kinds there are open jobs, whichever replica has seen them."""
        for target_id, kind in self._kinds.items():
            if kind in found:
                self._courses[target_id].busy = True

    def _interval(self, target: Target) -> float:
        course = self._courses[target.id]
        if not course.busy:
            return self._longest
        if self._fixed is not None:
            return self._fixed
        sharing = [self._courses[each] for each in self._sharing[target.place]]
        idle = sum(each.cost for each in sharing if not each.busy) / self._longest
        busy = [each for each in sharing if each.busy]
        intervals = intervals_within_budget(
            [each.cost for each in busy],
            calls_per_second=self._budget - idle,
            shortest=self.shortest,
            longest=self._longest,
        )
        return next(seconds for each, seconds in zip(busy, intervals, strict=True) if each is course)

    def _show_spent(self, place: tuple[str, str], calls: int) -> None:
        """Show which part of the budget was used in the last minute."""
        spent, now = self._spent[place], self._clock()
        spent.append((now, calls))
        while spent[0][0] < now - _MINUTE:
            spent.popleft()
        used = sum(calls for _, calls in spent) / (_MINUTE * self._budget)
        self._metrics.poll_budget_used.labels(*place).set(used)
