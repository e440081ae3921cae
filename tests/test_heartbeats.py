"""Who has made heartbeats, and who is overdue."""

from __future__ import annotations

from freezegun import freeze_time

from poller.heartbeats import Heartbeats
from tests.harness.clock import Clock


def test_a_loop_is_overdue_once_its_promise_has_passed() -> None:
    """It is late by the seconds since it should have been heard of, and not a moment earlier."""
    clock = Clock()
    heartbeats = Heartbeats(clock.monotonic)
    heartbeats.beat("scheduler", within=10)
    clock.tick(10)
    assert heartbeats.overdue() == {}
    clock.tick(2.5)
    assert heartbeats.overdue() == {"scheduler": 2.5}


def test_a_new_beat_takes_the_place_of_the_last() -> None:
    """The last promise counts, a shorter one too."""
    clock = Clock()
    heartbeats = Heartbeats(clock.monotonic)
    heartbeats.beat("sink ops", within=60)
    heartbeats.beat("sink ops", within=1)
    clock.tick(5)
    assert heartbeats.overdue() == {"sink ops": 4}
    heartbeats.beat("sink ops", within=1)
    assert heartbeats.overdue() == {}


def test_who_has_ended_is_not_expected_again() -> None:
    """Forgetting is for one loop, and for one that was never heard of as well."""
    clock = Clock()
    heartbeats = Heartbeats(clock.monotonic)
    heartbeats.beat("a", within=1)
    heartbeats.beat("b", within=1)
    heartbeats.forget("a")
    heartbeats.forget("never")
    clock.tick(3)
    assert heartbeats.overdue() == {"b": 2}


def test_the_wall_clock_does_not_matter() -> None:
    """A clock that is set forward by an hour makes nobody late."""
    with freeze_time("2026-11-20T10:00:00Z") as frozen:
        heartbeats = Heartbeats()
        heartbeats.beat("scheduler", within=60)
        frozen.tick(3600)
        assert heartbeats.overdue() == {}
    heartbeats.beat("scheduler", within=-1)
    assert heartbeats.overdue()["scheduler"] >= 1


def test_two_generations_do_not_take_each_other_s_promises_back() -> None:
    """What one has promised stands when the other, of the same name, has ended (fault 62)."""
    clock = Clock()
    heartbeats = Heartbeats(clock.monotonic)
    old, new = heartbeats.part(), heartbeats.part()
    for each in (old, new):
        each.beat("polls", within=10)
    old.forget("polls")
    clock.tick(12)
    assert heartbeats.overdue() == {"polls": 2}
    heartbeats.beat("polls", within=-5)
    assert heartbeats.overdue() == {"polls": 5}
    new.forget("polls")
    heartbeats.forget("polls")
    assert heartbeats.overdue() == {}
