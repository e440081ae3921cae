"""The rate limit, by a clock of its own."""

from __future__ import annotations

import math
import threading
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poller.aws.limits import LISTINGS_IN_A_ROW, Patience, RateLimit
from poller.errors import AwsError, AwsReason, StoppedError
from tests.harness.clock import Clock

if TYPE_CHECKING:
    from collections.abc import Iterable


def limit(per_second: float) -> tuple[RateLimit, Clock]:
    """A limit and its clock."""
    clock = Clock()
    return RateLimit(per_second, threading.Event(), clock.monotonic), clock


def turn(limited: RateLimit, clock: Clock, *, listing: bool = False) -> float:
    """Wait for a turn alone, and return the seconds that it took."""
    began = clock.monotonic()
    ticket = limited.join(listing=listing)
    while (seconds := limited.take(ticket)) > 0:
        clock.tick(seconds)
    return clock.monotonic() - began


def served(limited: RateLimit, clock: Clock, tickets: Iterable[object]) -> list[object]:
    """Let all who stand in line have their turns; returns the tickets in that order."""
    waiting, order = list(tickets), []
    while waiting:
        waits = {ticket: limited.take(ticket) for ticket in waiting}
        gone = [ticket for ticket, seconds in waits.items() if seconds == 0]
        order += gone
        waiting = [ticket for ticket in waiting if ticket not in gone]
        if not gone:
            clock.tick(min(waits.values()))
    return order


def test_a_second_s_worth_goes_at_once_and_the_rest_in_turn() -> None:
    """Five a second: five without waiting, then one every 200 ms."""
    limited, clock = limit(5)
    waits = [turn(limited, clock) for _ in range(8)]
    assert waits == pytest.approx([0, 0, 0, 0, 0, 0.2, 0.2, 0.2], abs=1e-5)


def test_a_slow_rate_lets_one_go_at_once() -> None:
    """One every ten seconds means one now, and the next in ten."""
    limited, clock = limit(0.1)
    assert [turn(limited, clock) for _ in range(2)] == pytest.approx([0, 10])
    clock.tick(30)
    assert [turn(limited, clock) for _ in range(2)] == pytest.approx([0, 10])


def test_a_pause_fills_the_bucket_and_no_more() -> None:
    """An hour without a call allows no more than the burst afterwards."""
    limited, clock = limit(2)
    for _ in range(4):
        turn(limited, clock)
    clock.tick(3600)
    assert [turn(limited, clock) for _ in range(3)] == pytest.approx([0, 0, 0.5])


@given(st.floats(0.05, 100), st.lists(st.tuples(st.floats(0, 3), st.booleans()), max_size=60))
def test_no_stretch_of_time_has_more_turns_than_the_rate_allows(
    rate: float, callers: list[tuple[float, bool]]
) -> None:
    """Whenever callers come, between any two turns lie as many intervals as turns beyond the burst."""
    limited, clock = limit(rate)
    turns = []
    for pause, listing in callers:
        clock.tick(pause)
        turn(limited, clock, listing=listing)
        turns.append(clock.monotonic())
    burst = max(1.0, rate)
    for first, begin in enumerate(turns):
        for last in range(first, len(turns)):
            allowed = burst + (turns[last] - begin) * rate
            assert last - first + 1 <= allowed + 1 + 1e-3


def test_a_listing_does_not_wait_for_the_gets_before_it() -> None:
    """Forty Gets stand in line; the listing that comes after them has the next turn."""
    limited, clock = limit(5)
    for _ in range(5):
        turn(limited, clock)
    for _ in range(40):
        limited.join(listing=False)
    listing = limited.join(listing=True)
    assert limited.take(listing) == pytest.approx(0.2)


@given(st.floats(0.1, 100), st.lists(st.booleans(), max_size=40), st.integers(0, 5))
def test_listings_go_first_but_not_for_ever(rate: float, lines: list[bool], before: int) -> None:
    """Each line keeps its order; at most three listings in a row go while a Get waits, and no Get between."""
    limited, clock = limit(rate)
    # Those for whom a full bucket has a turn each go in any order.
    for _ in range(math.ceil(max(1.0, rate))):
        turn(limited, clock)
    for _ in range(before):
        turn(limited, clock, listing=True)
    tickets = {limited.join(listing=listing): listing for listing in lines}
    order = served(limited, clock, tickets)
    for kind in (True, False):
        assert [each for each in order if tickets[each] is kind] == [
            each for each, listing in tickets.items() if listing is kind
        ]
    row = min(before, LISTINGS_IN_A_ROW)
    waiting = {kind: lines.count(kind) for kind in (True, False)}
    for ticket in order:
        if tickets[ticket]:
            assert row < LISTINGS_IN_A_ROW or not waiting[False]
            row = min(row + 1, LISTINGS_IN_A_ROW)
        else:
            assert row >= LISTINGS_IN_A_ROW or not waiting[True]
            row = 0
        waiting[tickets[ticket]] -= 1


def test_a_wait_ends_when_the_turn_comes() -> None:
    """Twenty a second: twenty calls do not wait, and each one after them waits for its turn."""
    clock = Clock()
    waits: list[float | None] = []

    class Stop(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            waits.append(timeout)
            clock.tick(timeout or 0)
            return super().wait(0)

    limited = RateLimit(20, Stop(), clock.monotonic)
    for _ in range(22):
        limited.wait()
    assert [wait for wait in waits if wait] == pytest.approx([0.05] * 2)


def test_a_stop_ends_every_wait() -> None:
    """Callers whose turn is an hour away are told of the stop, and so is every later caller."""
    stop = threading.Event()
    limited = RateLimit(1 / 3600, stop)
    limited.wait()
    threading.Timer(0.05, stop.set).start()
    for _ in range(2):
        with pytest.raises(StoppedError):
            limited.wait()


@pytest.mark.parametrize("throttled", [False, True])
def test_a_call_whose_patience_has_ended_gives_its_place_up(throttled: bool) -> None:
    """It spends no turn, and says whether AWS throttled it; the one behind it moves up."""
    limited = RateLimit(1 / 3600, threading.Event())
    limited.wait()
    behind = limited.join(listing=False)
    patience = Patience(0.01)
    patience.begin()
    patience.throttled = throttled
    with pytest.raises(AwsError, match=r"given up after 0.01 s") as caught:
        limited.wait(patience=patience)
    assert caught.value.reason is (AwsReason.THROTTLED if throttled else AwsReason.NETWORK)
    assert limited.take(behind) < 3601
    limited.leave(behind)
    assert 3500 < limited.take(limited.join(listing=False)) < 3601


def test_patience_counts_from_the_first_turn() -> None:
    """Waiting for the first turn costs none of it, and a retry does not begin it again."""
    clock = Clock()
    patience = Patience(10, clock.monotonic)
    clock.tick(60)
    assert (patience.left, patience.spent) == (math.inf, 0)
    patience.begin()
    clock.tick(4)
    patience.begin()
    assert (patience.left, patience.spent) == (6, 4)


def test_threads_share_the_turns() -> None:
    """Each turn is taken once, however many threads ask."""
    clock = Clock()
    limited = RateLimit(200, threading.Event(), clock.monotonic)
    taken: list[float] = []

    def take() -> None:
        for _ in range(100):
            ticket = limited.join(listing=False)
            taken.append(limited.take(ticket))
            limited.leave(ticket)

    threads = [threading.Thread(target=take) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert taken.count(0) == 200
