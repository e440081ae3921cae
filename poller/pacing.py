"""How often a target is polled, and how many calls one poll may make.

Pure: an interval follows from what the last poll found and how AWS answered.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import timedelta

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


def poll_interval(
    *,
    interval: timedelta,
    idle_interval: timedelta,
    open_jobs: int,
    quiet_for: timedelta | None,
    backoff_factor: int = 1,
) -> timedelta:
    """How long to wait until a target's next poll.

    Args:
        interval: For a target that has open jobs, or was quiet for less than `idle_interval`.
        idle_interval: For any other.
        open_jobs: Open jobs of the target.
        quiet_for: How long ago a change was last seen; `None` if never since the start.
        backoff_factor: How many times slower than that.
    """
    busy = open_jobs > 0 or (quiet_for is not None and quiet_for < idle_interval)
    return (interval if busy else idle_interval) * backoff_factor
