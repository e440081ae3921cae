"""When to try a failed delivery again.

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

REFUSED_ATTEMPTS = 5
REFUSED_SECONDS = 15 * 60.0
"""How many attempts, and how long, an event gets that its receiver refuses as such: a receiver that is being
replaced may refuse everything for some minutes."""

SLACK_SECONDS = 60.0
"""What an attempt may take beside its wait: the send itself, a queue, a moment without the database."""


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
