"""The intervals between polls, and the calls that one poll may make."""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from itertools import accumulate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poller.pacing import (
    LEAST_BUDGET,
    MAX_BACKOFF_FACTOR,
    call_budget,
    expected_calls,
    intervals_within_budget,
    is_busy,
    next_backoff_factor,
    stretch_factor,
)

intervals = partial(intervals_within_budget, spent=0, shortest=2, longest=120)
COSTS = st.lists(st.floats(min_value=1, max_value=500), min_size=1, max_size=20)
BUDGETS = st.floats(min_value=0.01, max_value=50)
SPENT = st.floats(min_value=0, max_value=5)
OVERLAPS = st.lists(st.floats(min_value=0, max_value=100), max_size=40)


@pytest.mark.parametrize(
    ("open_jobs", "seconds", "busy"), [(1, 0, True), (3, 9e6, True), (0, 119, True), (0, 120, False)]
)
def test_a_target_is_polled_often_while_something_goes_on(open_jobs: int, seconds: float, busy: bool) -> None:
    """Open jobs, or a change a moment ago, ask for the short interval."""
    idle, quiet = timedelta(seconds=120), timedelta(seconds=seconds)
    assert is_busy(open_jobs=open_jobs, quiet_for=quiet, idle_interval=idle) is busy


def shared(costs: list[float], per_second: float = 0.5) -> list[float]:
    """Intervals with the default bounds."""
    return [round(each, 3) for each in intervals(costs, calls_per_second=per_second)]


def test_the_budget_decides_how_often_busy_targets_are_polled() -> None:
    """With half a call a second: one target every 2 s, two every 4 s, expensive ones rarely."""
    assert shared([1]) == [2]
    assert shared([1, 1]) == [4, 4]
    assert shared([2]) == [4]
    # Half of the budget each: 30 pages take 120 s of it, and one page takes 4.
    assert shared([1, 30]) == [4, 120]
    # What the first cannot use at its shortest interval is the other's.
    assert shared([1, 30], per_second=5) == [2, pytest.approx(30 / 4.5, abs=0.001)]
    # What needs more than its part at the longest interval takes it from the others.
    assert shared([1, 42]) == [pytest.approx(1 / 0.15, abs=0.001), 120]
    assert shared([50, 60]) == [120, 120]
    assert shared([]) == []
    # What is spent anyway comes off first, be it all of the budget.
    assert intervals([1], calls_per_second=0.5, spent=0.25) == [pytest.approx(4)]
    assert intervals([1], calls_per_second=0.5, spent=0.8) == [120]


@given(COSTS, BUDGETS, SPENT, st.data())
def test_polls_stay_within_the_budget(
    costs: list[float], per_second: float, spent: float, data: st.DataObject
) -> None:
    """In any minute, one more poll of each aside, unless every target is polled as rarely as can be."""
    found = intervals(costs, calls_per_second=per_second, spent=spent)
    assert all(2 <= each <= 120 for each in found)
    if all(each == 120 for each in found):
        return
    made: list[tuple[float, float]] = []
    for cost, each in zip(costs, found, strict=True):
        first = data.draw(st.floats(min_value=0, max_value=each))
        spread = data.draw(st.floats(min_value=1, max_value=1.1))
        made += [(first + number * each * spread, cost) for number in range(int(180 / each) + 1)]
    for start, _ in made:
        calls = sum(cost for at, cost in made if start <= at < start + 60)
        assert calls <= (60 * (per_second - spent) + sum(costs)) * 1.0001


@given(COSTS, BUDGETS, SPENT)
def test_no_more_than_needed_is_left_of_the_budget(
    costs: list[float], per_second: float, spent: float
) -> None:
    """What is not used is not used because all are polled as often as can be."""
    found = intervals(costs, calls_per_second=per_second, spent=spent)
    used = sum(cost / each for cost, each in zip(costs, found, strict=True))
    assert used >= (per_second - spent) * 0.999 or all(each == 2 for each in found)


@given(COSTS, BUDGETS)
def test_who_costs_more_is_polled_less_often(costs: list[float], per_second: float) -> None:
    """No target is polled more often than one that costs less."""
    found = intervals(sorted(costs), calls_per_second=per_second)
    assert found == sorted(found)


@given(COSTS, BUDGETS, st.floats(min_value=1, max_value=100))
def test_intervals_grow_with_costs_and_shrink_with_the_budget(
    costs: list[float], per_second: float, more: float
) -> None:
    """A target that costs more is polled no more often, nor are its neighbors; with more budget all are."""
    before = intervals(costs, calls_per_second=per_second)
    dearer = intervals([costs[0] + more, *costs[1:]], calls_per_second=per_second)
    richer = intervals(costs, calls_per_second=per_second + more)
    assert all(after >= each * 0.9999 for each, after in zip(before, dearer, strict=True))
    assert all(after <= each * 1.0001 for each, after in zip(before, richer, strict=True))


def test_the_expected_cost_rises_at_once_and_falls_slowly() -> None:
    """A poll that cost less than the one before may have been the exception; every poll costs a call."""
    first = expected_calls(None, 0)
    assert list(accumulate((9, 1, 1, 7), expected_calls, initial=first)) == [1, 9, 5, 3, 7]


def test_intervals_stretch_where_threads_are_short() -> None:
    """By how much more polls would run at once than four fifths of the threads."""
    found = [stretch_factor([each] * 100, 10) for each in (0, 0.08, 0.16, 0.8)]
    assert found == pytest.approx([1, 1, 2, 10])
    # As many threads as targets are enough, however long polls take; so are four fifths, with less to do.
    assert stretch_factor([50] * 8, 8) == 1
    assert stretch_factor([50, 50, *[0.1] * 20], 8) == 1
    # The first two have a thread each, and 6.4 - 2 are left for 8.8.
    assert stretch_factor([50, 40, *[0.44] * 20], 8) == pytest.approx(2)


@given(OVERLAPS, st.floats(min_value=1, max_value=64))
def test_stretched_polls_find_a_thread(overlaps: list[float], threads: float) -> None:
    """Four fifths of the threads are busy then, and no less than that."""
    factor = stretch_factor(overlaps, threads)
    busy = sum(min(1.0, each / factor) for each in overlaps)
    assert factor >= 1
    if factor > 1:
        assert busy == pytest.approx(0.8 * threads)
    else:
        assert busy <= max(0.8 * threads, min(threads, len(overlaps))) * 1.0001


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
