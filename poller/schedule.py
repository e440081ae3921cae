"""When to try a failed delivery again, and when a target is due.

Pure: the random draw is an argument. Waits grow exponentially with full jitter: a uniform draw between zero
and a ceiling that doubles, which spreads the retries of many deliveries better than any fixed share of it.
With the defaults (5 s, at most 4 h, 80 h in all) the ceilings are

    failure   1    2     3     4    5    6     7     8     9   10   11   12    13 …
    ceiling   5s  10s   20s   40s  80s  160s  5m20 10m40 21m20 43m 1h25 2h50   4h …

and on average some 50 attempts are made before the dead letter. What a receiver refused as such (a 400, say)
will hardly be welcome tomorrow: it gets five attempts and a quarter of an hour, then becomes a dead letter.
Only time in which there could have been attempts counts: a program that was stopped for a week gives nothing
up at its start.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import timedelta

REFUSED_ATTEMPTS = 5
REFUSED_SECONDS = 15 * 60.0
"""How many attempts, and how long, an event gets that its receiver refuses as such: a receiver that is being
replaced may refuse everything for some minutes."""

SLACK_SECONDS = 60.0
"""What an attempt may take beside its wait: the send itself, a queue, a moment without the database."""

LEAST_BUDGET = 10
"""Calls for single jobs that a poll may make however short the interval is."""

MOST_STRAIN = 8
"""How many times slower than usual a target is polled at most while AWS throttles it."""


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """A sink's retry schedule, in seconds.

    Args:
        initial: The ceiling of the first wait.
        maximum: Where the ceiling stops growing; also bounds what a receiver may ask for.
        give_up_after: From the first failure to the dead letter. The last attempt is made at its end.
    """

    initial: float
    maximum: float
    give_up_after: float


def retry_delay(
    policy: RetryPolicy,
    *,
    failures: int,
    since_first: float,
    draw: float,
    permanent: bool = False,
    retry_after: float | None = None,
) -> float | None:
    """Seconds until the next attempt, or `None` to give up.

    Args:
        policy: The sink's schedule.
        failures: Attempts that have failed so far, this one included; at least 1.
        since_first: Seconds since the first of them.
        draw: A uniform random number in [0, 1).
        permanent: The receiver refused the event as such.
        retry_after: Seconds the receiver asked to be left alone.
    """
    tried_for = _tried_for(policy, failures, since_first)
    left = policy.give_up_after - tried_for
    if left <= 0 or (permanent and failures >= REFUSED_ATTEMPTS and tried_for >= REFUSED_SECONDS):
        return None
    wait = _ceiling(policy, failures) * draw
    if retry_after is not None:
        wait = max(wait, min(retry_after, policy.maximum))
    return min(wait, left)


def _ceiling(policy: RetryPolicy, failures: int) -> float:
    # 2.0**1024 overflows; the ceiling has long been reached by then.
    return min(policy.maximum, policy.initial * 2.0 ** min(failures - 1, 60))


def _tried_for(policy: RetryPolicy, failures: int, since_first: float) -> float:
    """Seconds since the first failure in which there could have been attempts.

    While the program runs, no wait is longer than its ceiling, so more time than that has passed while it was
    stopped, or by a clock that was wrong.
    """
    longest = sum(_ceiling(policy, failure) + SLACK_SECONDS for failure in range(1, min(failures, 10_000)))
    return max(0.0, min(since_first, longest))


def call_budget(*, requests_per_second: float, interval: timedelta, sharing: int) -> int:
    """How many calls for single jobs one poll may make, so that it ends about when the next is due.

    Args:
        requests_per_second: The limit for the account and region.
        interval: Between two polls.
        sharing: How many targets poll that account and region.
    """
    return max(LEAST_BUDGET, int(requests_per_second * interval.total_seconds() / sharing))


def next_strain(strain: int, *, strained: bool) -> int:
    """How many times slower than usual to poll: doubles with every strained poll, halves with every calm one.

    Args:
        strain: The present factor, at least 1.
        strained: AWS throttled the poll, or had to be asked more than once.
    """
    return min(strain * 2, MOST_STRAIN) if strained else max(strain // 2, 1)


def poll_interval(
    *,
    interval: timedelta,
    idle_interval: timedelta,
    open_jobs: int,
    quiet_for: timedelta | None,
    strain: int = 1,
) -> timedelta:
    """How long to wait until a target's next poll.

    Args:
        interval: For a target that has open jobs, or was quiet for less than `idle_interval`.
        idle_interval: For any other.
        open_jobs: Open jobs of the target.
        quiet_for: How long ago a change was last seen; `None` if never since the start.
        strain: How many times slower than that.
    """
    busy = open_jobs > 0 or (quiet_for is not None and quiet_for < idle_interval)
    return (interval if busy else idle_interval) * strain
