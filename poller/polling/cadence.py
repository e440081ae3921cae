"""How often each target is polled: at a fixed interval, or as often as a budget of calls allows.

The budget belongs to an account and region, and to all replicas together. Its idle targets are polled every
`idle_interval`, and all are listed whole every `full_scan_interval`; what that leaves is shared by the busy
ones, by what a poll of each has cost lately. Where threads are short, all intervals grow by one factor.

Each replica computes the intervals of all targets, also of those that others poll: it learns from the store
what their polls cost and where open jobs are. So whichever replica is the first to be due, the budget holds.
"""

from __future__ import annotations

import time
from collections import defaultdict, deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from poller.pacing import SHORTEST_SECONDS, expected_calls, intervals_within_budget, stretch_factor

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable
    from datetime import timedelta

    from poller.metrics import Metrics
    from poller.model import Target
    from poller.polling.page import PollReport

JITTER = 0.1
"""Polls are spread by this part of the interval: either way, or only later where a budget is kept."""
_MINUTE = 60.0
_STRETCH_SECONDS = 1.0
"""How often the stretch is computed: it takes a look at every target."""
_REMEMBERED_POLLS = 1000
"""Of all replicas, from which this one knows its part; older ones count half, and so on."""


@dataclass(slots=True)
class _Course:
    """How the polls of a target have gone.

    Args:
        busy: Whether it is polled often.
        calls: What a poll is expected to cost; `None` if there was none.
        full_calls: What its last full listing cost.
        full_at: When that was; `None` if there was none.
        seconds: How long the last poll took.
        interval: Seconds between two polls, but for the stretch.
    """

    busy: bool = False
    calls: float | None = None
    full_calls: int = 0
    full_at: float | None = None
    seconds: float = 0.0
    interval: float = float("inf")

    @property
    def cost(self) -> float:
        return 1.0 if self.calls is None else self.calls


class Cadence:
    """The intervals of all targets of a process.

    Args:
        targets: All that are polled, by this process or another one.
        interval: Between polls of a busy target; `None` to follow the budget.
        idle_interval: Between polls of any other.
        full_scan_interval: Between full listings.
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
        full_scan_interval: timedelta,
        calls_per_second: float,
        threads: int,
        metrics: Metrics,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.idle_interval = idle_interval
        self._fixed = None if interval is None else interval.total_seconds()
        self.longest = idle_interval.total_seconds()
        self._full_scan_interval = full_scan_interval.total_seconds()
        self._budget = calls_per_second
        self._threads = threads
        self._metrics = metrics
        self._clock = clock
        self._courses: dict[str, _Course] = {}
        self._sharing: dict[tuple[str, str], list[_Course]] = defaultdict(list)
        self._kinds: dict[str, tuple[str, str, str]] = {}
        self._spent: dict[tuple[str, str], deque[tuple[float, int]]] = defaultdict(deque)
        self._stretch = 1.0
        self._stretched_at = float("-inf")
        self._own_polls = 0.0
        self._other_polls = 0.0
        metrics.poll_stretch.set(1)
        for target in targets:
            course = self._courses[target.id] = _Course()
            self._sharing[target.place].append(course)
            self._kinds[target.id] = (*target.place, target.kind)

    @property
    def follows_budget(self) -> bool:
        """Whether intervals follow from a budget."""
        return self._fixed is None

    @property
    def shortest(self) -> float:
        """The shortest interval that a target can have, in seconds."""
        return SHORTEST_SECONDS if self._fixed is None else self._fixed

    @property
    def spread(self) -> tuple[float, float]:
        """Between which parts of its interval a target is polled again.

        The first of many replicas to be due polls, so a budget would not hold if some came early.
        """
        return (1.0 if self.follows_budget else 1 - JITTER), 1 + JITTER

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
        self._note_cost(course, report)
        self._show_spent(target.place, report.calls)
        course.seconds, course.interval = seconds, self._interval(target.id)
        if self._fixed is not None:
            return course.interval
        self._note_polls(own=1)
        self._stretch_anew()
        return min(course.interval * self._stretch, self.longest)

    def note_poll_elsewhere(self, target_id: str, calls: int | None, *, is_news: bool) -> float | None:
        """Learn of a poll on another replica, and return the seconds until the target is to be polled again.

        Args:
            target_id: The target.
            calls: What the last one that ended has cost; `None` if no poll has told.
            is_news: Whether the poll was unknown until now.

        Returns:
            Seconds; `None` if nothing is learned, because intervals are fixed.
        """
        if self._fixed is not None:
            return None
        course = self._courses[target_id]
        if is_news:
            self._note_polls(others=1)
        if calls is not None:
            # What has been seen of this poll before is not to count twice where it was cheaper.
            course.calls = expected_calls(course.calls, calls) if is_news else max(course.cost, calls)
        course.interval = self._interval(target_id)
        return min(course.interval * self._stretch, self.longest)

    def note_open_jobs(self, found: Collection[tuple[str, str, str]]) -> None:
        """Learn in which accounts, regions and kinds there are open jobs, whichever replica has seen them."""
        for target_id, kind in self._kinds.items():
            if kind in found:
                self._courses[target_id].busy = True

    def _note_cost(self, course: _Course, report: PollReport) -> None:
        now = self._clock()
        since = None if course.full_at is None else now - course.full_at
        if report.full:
            course.full_at, course.full_calls = now, report.calls
            # One that comes much sooner does so because the last one failed.
            if since is None or since > self._full_scan_interval / 2:
                return
        calls = expected_calls(course.calls, report.calls)
        # A poll that was cut short says no more than that the whole costs at least as much.
        course.calls = calls if report.failure is None else max(calls, course.cost)

    def _interval(self, target_id: str) -> float:
        course = self._courses[target_id]
        if not course.busy:
            return self.longest
        if self._fixed is not None:
            return self._fixed
        account, region, _ = self._kinds[target_id]
        sharing = self._sharing[account, region]
        idle = sum(each.cost for each in sharing if not each.busy) / self.longest
        whole = sum(each.full_calls for each in sharing) / self._full_scan_interval
        busy = [each for each in sharing if each.busy]
        intervals = intervals_within_budget(
            [each.cost for each in busy],
            calls_per_second=self._budget,
            spent=idle + whole,
            shortest=self.shortest,
            longest=self.longest,
        )
        return next(seconds for each, seconds in zip(busy, intervals, strict=True) if each is course)

    def _note_polls(self, *, own: int = 0, others: int = 0) -> None:
        self._own_polls += own
        self._other_polls += others
        if self._own_polls + self._other_polls > _REMEMBERED_POLLS:
            self._own_polls /= 2
            self._other_polls /= 2

    def _stretch_anew(self) -> None:
        """Compute by what intervals have to grow, and show it."""
        now = self._clock()
        if now - self._stretched_at < _STRETCH_SECONDS:
            return
        self._stretched_at = now
        # Replicas share the polls of all targets, so together they have so many threads for them.
        threads = self._threads * (self._own_polls + self._other_polls) / self._own_polls
        overlaps = [each.seconds / each.interval for each in self._courses.values()]
        self._stretch = stretch_factor(overlaps, threads)
        self._metrics.poll_stretch.set(self._stretch)

    def _show_spent(self, place: tuple[str, str], calls: int) -> None:
        """Show which part of the budget was used in the last minute."""
        spent, now = self._spent[place], self._clock()
        spent.append((now, calls))
        while spent[0][0] < now - _MINUTE:
            spent.popleft()
        used = sum(calls for _, calls in spent) / (_MINUTE * self._budget)
        self._metrics.poll_budget_used.labels(*place).set(used)
