"""Who has made progress, and who is overdue."""

from __future__ import annotations

from freezegun import freeze_time

from poller.progress import Progress
from tests.harness.clock import Clock


def test_a_loop_is_overdue_once_its_promise_has_passed() -> None:
    """It is late by the seconds since it should have been heard of, and not a moment earlier."""
    clock = Clock()
    progress = Progress(clock.monotonic)
    progress.beat("scheduler", within=10)
    clock.tick(10)
    assert progress.overdue() == {}
    clock.tick(2.5)
    assert progress.overdue() == {"scheduler": 2.5}


def test_a_new_beat_takes_the_place_of_the_last() -> None:
    """The last promise counts, a shorter one too."""
    clock = Clock()
    progress = Progress(clock.monotonic)
    progress.beat("sink ops", within=60)
    progress.beat("sink ops", within=1)
    clock.tick(5)
    assert progress.overdue() == {"sink ops": 4}
    progress.beat("sink ops", within=1)
    assert progress.overdue() == {}


def test_who_has_ended_is_not_expected_again() -> None:
    """Forgetting is for one loop, and for one that was never heard of as well."""
    clock = Clock()
    progress = Progress(clock.monotonic)
    progress.beat("a", within=1)
    progress.beat("b", within=1)
    progress.forget("a")
    progress.forget("never")
    clock.tick(3)
    assert progress.overdue() == {"b": 2}


def test_the_wall_clock_does_not_matter() -> None:
    """A clock that is set forward by an hour makes nobody late."""
    with freeze_time("2026-11-20T10:00:00Z") as frozen:
        progress = Progress()
        progress.beat("scheduler", within=60)
        frozen.tick(3600)
        assert progress.overdue() == {}
    progress.beat("scheduler", within=-1)
    assert progress.overdue()["scheduler"] >= 1


def test_two_generations_do_not_take_each_other_s_promises_back() -> None:
    """What one has promised stands when the other, of the same name, has ended (fault 62)."""
    clock = Clock()
    progress = Progress(clock.monotonic)
    old, new = progress.part(), progress.part()
    for each in (old, new):
        each.beat("polls", within=10)
    old.forget("polls")
    clock.tick(12)
    assert progress.overdue() == {"polls": 2}
    progress.beat("polls", within=-5)
    assert progress.overdue() == {"polls": 5}
    new.forget("polls")
    progress.forget("polls")
    assert progress.overdue() == {}
