"""How often targets are polled, and how many calls one poll may make.

Pure: intervals follow from what polls find, what they cost, and how AWS answers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import timedelta

_HALVINGS = 60
_MOST_BUSY = 0.8
"""Of the threads that poll; with more of them busy on average, polls wait for each other."""

SHORTEST_SECONDS = 2.0
"""Between two polls of a target that follow from a budget, however few calls they cost."""

LEAST_BUDGET = 10
"""Calls for single jobs that a poll may make however short the interval is."""

MAX_BACKOFF_FACTOR = 8
"""How many times slower than usual a target is polled at most while AWS throttles it."""


def call_budget(*, requests_per_second: float, interval: timedelta, sharing: int) -> int:
    """How many calls for single jobs one poll may make, so that it ends about when the next is due.

    Args:
        requests_per_second: The limit for the account and region.
        interval: Between two polls.
        sharing: How many targets poll that account and region.
    """
    return max(LEAST_BUDGET, int(requests_per_second * interval.total_seconds() / sharing))


def next_backoff_factor(backoff_factor: int, *, throttled: bool) -> int:
    """How many times slower than usual to poll: doubled by a throttled poll, halved by a calm one.

    Args:
        backoff_factor: The present factor, at least 1.
        throttled: AWS throttled the poll, or had to be asked more than once.
    """
    return min(backoff_factor * 2, MAX_BACKOFF_FACTOR) if throttled else max(backoff_factor // 2, 1)


def is_busy(*, open_jobs: int, quiet_for: timedelta, idle_interval: timedelta) -> bool:
    """Whether a target is polled often: it has open jobs, or had news less than an `idle_interval` ago.

    Args:
        open_jobs: Open jobs of the target.
        quiet_for: How long ago a change was last seen, or the program started.
        idle_interval: Between polls of a target that is not busy.
    """
    return open_jobs > 0 or quiet_for < idle_interval


def expected_calls(before: float | None, calls: int) -> float:
    """What a poll is expected to cost, after one that made so many calls: at once more, only slowly less.

    Args:
        before: What was expected of it; `None` if nothing was.
        calls: What it cost.
    """
    least = float(max(1, calls))
    return least if before is None else max(least, (before + least) / 2)


def intervals_within_budget(
    costs: Sequence[float], *, calls_per_second: float, spent: float, shortest: float, longest: float
) -> list[float]:
    """How often to poll the busy targets of one account and region, so that they stay within a budget.

    Every target gets the same part of the calls, so its interval grows with what its polls cost, between two
    bounds. What a target leaves at the shortest interval, or needs more at the longest, is shared by the
    others. Only where all are at the longest can their calls exceed the budget: no target is starved for it.

    In any time `t` they make at most `(calls_per_second - spent) * t` calls, and those of one more poll each,
    because a poll is not divided: one that costs more than the budget of a minute takes place all the same.

    Args:
        costs: Calls of one poll of each target, at least 1.
        calls_per_second: The budget.
        spent: Calls per second that are made anyway; they come off the budget first.
        shortest: Seconds.
        longest: Seconds, at least `shortest`.

    Returns:
        Seconds between two polls of each, at least.
    """
    left = calls_per_second - spent

    def at(scale: float) -> list[float]:
        return [min(max(scale * cost, shortest), longest) for cost in costs]

    def fits(scale: float) -> bool:
        return sum(cost / each for cost, each in zip(costs, at(scale), strict=True)) <= left

    low, high = 0.0, longest
    if fits(low):
        return at(low)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (low, middle) if fits(middle) else (middle, high)
    return at(high)


def stretch_factor(overlaps: Iterable[float], threads: float) -> float:
    """How many times longer intervals have to be, so that polls find a thread when they are due.

    Args:
        overlaps: How long a poll of each target takes, in planned intervals. Polls of one target never
            overlap, so more than 1 means that a thread is always at work on it.
        threads: How many polls can run at once.
    """
    longest_first = sorted(overlaps, reverse=True)
    free = _MOST_BUSY * threads
    if len(longest_first) <= threads or sum(min(1.0, each) for each in longest_first) <= free:
        return 1.0
    rest, factor, place = sum(longest_first), sum(longest_first) / free, 0
    while longest_first[place] > factor:
        # It keeps one thread busy at this factor too; the others share the remaining threads.
        rest, free, place = rest - longest_first[place], free - 1, place + 1
        factor = rest / free
    return factor
