"""The rate limit, by a clock of its own."""

from __future__ import annotations

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poller.aws.limits import RateLimit
from poller.errors import StoppedError
from tests.harness.clock import Clock


def limit(per_second: float) -> tuple[RateLimit, Clock]:
    """A limit and its clock."""
    clock = Clock()
    return RateLimit(per_second, threading.Event(), clock.monotonic), clock


def test_a_second_s_worth_goes_at_once_and_the_rest_in_turn() -> None:
    """Five a second: five without waiting, then one every 200 ms."""
    limited, _ = limit(5)
    waits = [limited.reserve() for _ in range(8)]
    assert waits == pytest.approx([0, 0, 0, 0, 0, 0.2, 0.4, 0.6])


def test_a_slow_rate_lets_one_go_at_once() -> None:
    """One every ten seconds means one now, and the next in ten."""
    limited, clock = limit(0.1)
    assert [limited.reserve(), limited.reserve()] == pytest.approx([0, 10])
    clock.tick(30)
    assert [limited.reserve(), limited.reserve()] == pytest.approx([0, 10])


def test_a_pause_fills_the_bucket_and_no_more() -> None:
    """An hour without a call allows no more than the burst afterwards."""
    limited, clock = limit(2)
    for _ in range(4):
        limited.reserve()
    clock.tick(3600)
    assert [limited.reserve() for _ in range(3)] == pytest.approx([0, 0, 0.5])


@given(st.floats(0.05, 100), st.lists(st.floats(0, 3), max_size=60))
def test_no_stretch_of_time_has_more_turns_than_the_rate_allows(rate: float, pauses: list[float]) -> None:
    """Whenever callers come, between any two turns lie as many intervals as turns beyond the burst."""
    limited, clock = limit(rate)
    turns = []
    for pause in pauses:
        clock.tick(pause)
        turns.append(clock.monotonic() + limited.reserve())
    burst = max(1.0, rate)
    for first, begin in enumerate(turns):
        for last in range(first, len(turns)):
            allowed = burst + (turns[last] - begin) * rate
            assert last - first + 1 <= allowed + 1 + 1e-6


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
    assert waits == pytest.approx([0.0] * 20 + [0.05] * 2)


def test_a_stop_ends_every_wait() -> None:
    """Callers whose turn is an hour away are told of the stop, and so is every later caller."""
    stop = threading.Event()
    limited = RateLimit(1 / 3600, stop)
    limited.wait()
    threading.Timer(0.05, stop.set).start()
    for _ in range(2):
        with pytest.raises(StoppedError):
            limited.wait()


def test_threads_share_the_turns() -> None:
    """Each reservation is its own, however many threads ask."""
    limited, _ = limit(1)
    waits: list[float] = []
    threads = [
        threading.Thread(target=lambda: waits.extend(limited.reserve() for _ in range(100))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(waits) == pytest.approx([float(turn) for turn in range(400)])
