"""The retry schedule, followed from the first failure to the dead letter."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from freezegun import freeze_time
from hypothesis import given
from hypothesis import strategies as st

from poller.retry import REFUSED_ATTEMPTS, SLACK_SECONDS, RetryPolicy, retry_delay
from poller.settings.sinks import RetrySettings

if TYPE_CHECKING:
    from collections.abc import Callable

HOUR = 3600.0


def default_policy() -> RetryPolicy:
    """What a sink gets whose settings say nothing."""
    retry = RetrySettings()
    return RetryPolicy(
        initial=retry.initial.total_seconds(),
        maximum=retry.max.total_seconds(),
        give_up_after=retry.give_up_after.total_seconds(),
    )


DEFAULT = default_policy()

policies = st.builds(
    lambda initial, factor, patience: RetryPolicy(initial, initial * factor, patience),
    st.floats(0.1, 600),
    st.floats(1, 5000),
    st.floats(0, 10 * 24 * HOUR),
)
draws = st.floats(0, 1, exclude_max=True)


def attempts(policy: RetryPolicy, draw: Callable[[], float], *, permanent: bool = False) -> list[datetime]:
    """When a delivery is attempted that always fails, by a clock that is frozen and moved by each wait."""
    made: list[datetime] = []
    with freeze_time("2026-11-20T10:00:00Z") as frozen:
        while True:
            made.append(datetime.now(UTC))
            wait = retry_delay(
                policy,
                failures=len(made),
                since_first=(made[-1] - made[0]).total_seconds(),
                draw=draw(),
                permanent=permanent,
            )
            if wait is None:
                return made
            frozen.tick(timedelta(seconds=wait))


@given(policies, st.integers(1, 5000), draws, st.floats(0, 10 * 24 * HOUR))
def test_a_wait_lies_between_nothing_and_a_ceiling_that_doubles(
    policy: RetryPolicy, failures: int, draw: float, since_first: float
) -> None:
    """Full jitter: a share of the ceiling, which doubles with each failure up to the maximum."""
    wait = retry_delay(policy, failures=failures, since_first=since_first, draw=draw)
    if wait is None:
        assert since_first >= policy.give_up_after
        return
    ceilings = (min(policy.maximum, policy.initial * 2.0 ** min(each, 900)) for each in range(failures - 1))
    counted = min(since_first, sum(ceiling + SLACK_SECONDS for ceiling in ceilings))
    ceiling = min(policy.maximum, policy.initial * 2.0 ** min(failures - 1, 900))
    assert 0 <= wait <= ceiling
    assert wait == pytest.approx(min(ceiling * draw, policy.give_up_after - counted))


def test_the_ceilings_are_those_of_the_documentation() -> None:
    """With the defaults: 5 s, 10 s, 20 s … up to 4 h."""
    ceilings = [
        retry_delay(DEFAULT, failures=failures, since_first=0, draw=1 - 2**-53) for failures in range(1, 15)
    ]
    expected = [*(5.0 * 2**power for power in range(12)), 4 * HOUR, 4 * HOUR]
    assert ceilings == pytest.approx(expected)


@pytest.mark.parametrize("seed", range(20))
def test_with_the_defaults_a_delivery_is_tried_for_at_least_76_hours(seed: int) -> None:
    """A receiver that is down for three days loses nothing, however the draws fall."""
    made = attempts(DEFAULT, random.Random(seed).random)  # noqa: S311 - jitter guards nothing
    assert made[-1] - made[0] >= timedelta(hours=76)
    assert 25 < len(made) < 120


@pytest.mark.parametrize("draw", [0.05, 0.5, 1 - 2**-53])
def test_the_last_attempt_is_made_at_the_end(draw: float) -> None:
    """The waiting time is cut so that the final attempt falls on the end of the schedule."""
    made = attempts(DEFAULT, lambda: draw)
    assert made[-1] - made[0] == timedelta(seconds=DEFAULT.give_up_after)
    assert DEFAULT.give_up_after >= 76 * HOUR


@pytest.mark.parametrize("draw", [0.01, 0.3, 0.99])
def test_what_a_receiver_refuses_gets_five_attempts_and_a_quarter_of_an_hour(draw: float) -> None:
    """A receiver that refuses everything for ten minutes of its rollout loses nothing (fault 68)."""
    made = attempts(DEFAULT, lambda: draw, permanent=True)
    assert len(made) >= REFUSED_ATTEMPTS
    assert timedelta(minutes=15) <= made[-1] - made[0] < timedelta(hours=3)


def test_time_in_which_nothing_could_be_tried_does_not_count() -> None:
    """A program that was stopped for a month tries what it owes again, and for as long as ever (fault 61)."""
    month = 30 * 24 * HOUR
    for failures in range(1, 12):
        assert retry_delay(DEFAULT, failures=failures, since_first=month, draw=0.5) is not None
    assert retry_delay(DEFAULT, failures=60, since_first=month, draw=0.5) is None
    assert retry_delay(DEFAULT, failures=5, since_first=month, draw=0.5, permanent=True) is not None
    assert retry_delay(DEFAULT, failures=3, since_first=-month, draw=0.5) is not None


def test_nothing_is_tried_again_after_the_end() -> None:
    """At the end and past it the answer is to give up; a policy without patience gives up at once."""
    for late in (DEFAULT.give_up_after, DEFAULT.give_up_after + 1):
        assert retry_delay(DEFAULT, failures=60, since_first=late, draw=0.5) is None
        assert retry_delay(DEFAULT, failures=60, since_first=late, draw=0.5, retry_after=5) is None
    assert retry_delay(RetryPolicy(5, 60, 0), failures=1, since_first=0, draw=0.5) is None


@given(policies, st.integers(1, 100), draws, st.floats(0, 10**7))
def test_a_receiver_that_asks_to_be_left_alone_is(
    policy: RetryPolicy, failures: int, draw: float, retry_after: float
) -> None:
    """No attempt before the time it asked for, which counts up to the maximum and to the end."""
    wait = retry_delay(policy, failures=failures, since_first=0, draw=draw, retry_after=retry_after)
    plain = retry_delay(policy, failures=failures, since_first=0, draw=draw)
    if wait is None or plain is None:
        assert wait is plain is None
        return
    assert wait >= min(retry_after, policy.maximum, policy.give_up_after)
    assert wait >= plain
    assert wait <= max(policy.maximum, plain)


def test_a_huge_retry_after_is_capped() -> None:
    """A receiver cannot put its events off for a year."""
    assert retry_delay(DEFAULT, failures=1, since_first=0, draw=0, retry_after=1e9) == 4 * HOUR
    assert retry_delay(DEFAULT, failures=1, since_first=0, draw=0, retry_after=90) == 90


def test_thousands_of_failures_do_not_overflow() -> None:
    """The power of two is bounded before it leaves the numbers."""
    assert retry_delay(DEFAULT, failures=10**6, since_first=0, draw=0.5) == 2 * HOUR
