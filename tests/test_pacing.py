"""The intervals between polls, and the calls that one poll may make."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poller.pacing import LEAST_BUDGET, MAX_BACKOFF_FACTOR, call_budget, next_backoff_factor, poll_interval


@pytest.mark.parametrize(
    ("open_jobs", "quiet_for", "busy"),
    [
        (1, None, True),
        (3, timedelta(days=9), True),
        (0, None, False),
        (0, timedelta(seconds=119), True),
        (0, timedelta(seconds=120), False),
    ],
)
def test_a_target_is_polled_often_while_something_goes_on(
    open_jobs: int, quiet_for: timedelta | None, busy: bool
) -> None:
    """Open jobs, or a change a moment ago, ask for the short interval."""
    interval, idle = timedelta(seconds=30), timedelta(seconds=120)
    waits = poll_interval(interval=interval, idle_interval=idle, open_jobs=open_jobs, quiet_for=quiet_for)
    assert waits == (interval if busy else idle)


@given(st.lists(st.booleans(), max_size=30))
def test_a_strained_target_is_polled_less_and_recovers(polls: list[bool]) -> None:
    """The factor doubles up to its bound, and as many calm polls bring it back."""
    backoff_factor = 1
    for throttled in polls:
        after = next_backoff_factor(backoff_factor, throttled=throttled)
        assert after == (
            min(backoff_factor * 2, MAX_BACKOFF_FACTOR) if throttled else max(backoff_factor // 2, 1)
        )
        backoff_factor = after
    for _ in range(MAX_BACKOFF_FACTOR.bit_length()):
        backoff_factor = next_backoff_factor(backoff_factor, throttled=False)
    assert backoff_factor == 1


def test_strain_stretches_either_interval() -> None:
    """An idle target that is throttled waits longer still."""
    interval, idle = timedelta(seconds=30), timedelta(seconds=120)
    for open_jobs, usual in ((1, interval), (0, idle)):
        waits = poll_interval(
            interval=interval, idle_interval=idle, open_jobs=open_jobs, quiet_for=None, backoff_factor=4
        )
        assert waits == 4 * usual


@pytest.mark.parametrize(
    ("per_second", "seconds", "sharing", "calls"),
    [(5, 30, 1, 150), (5, 30, 2, 75), (5, 30, 4, 37), (0.1, 30, 1, LEAST_BUDGET), (5, 0.5, 2, LEAST_BUDGET)],
)
def test_a_poll_gets_its_share_of_the_rate(
    per_second: float, seconds: float, sharing: int, calls: int
) -> None:
    """As many calls as the limit allows in an interval, shared by the targets of the place; never none."""
    interval = timedelta(seconds=seconds)
    assert call_budget(requests_per_second=per_second, interval=interval, sharing=sharing) == calls
