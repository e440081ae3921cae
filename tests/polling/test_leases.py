"""One poller at a time: one that lost its lease writes nothing, one that was killed is made up for."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa

from poller.errors import LeaseLostError, StoreError
from poller.simulator import faults
from poller.store import Snapshot
from tests.polling.conftest import BATCH, LEASE, OPEN, Bench

if TYPE_CHECKING:
    from collections.abc import Callable

    from poller.store import Database


class Killed(BaseException):
    """The process is gone."""


def submit(bench: Bench, count: int) -> list[str]:
    """Submit open jobs."""
    return [bench.simulator.submit_batch(script=OPEN) for _ in range(count)]


def other(bench: Bench) -> Snapshot:
    """Another replica's snapshot, on the same store."""
    return Snapshot(bench.database, owner="other", lease=LEASE)


def test_a_target_that_another_holds_is_left_alone(baselined: Bench) -> None:
    """While another replica polls a target, this one makes no call and reports that it did not."""
    held = other(baselined).leases.claim(BATCH)
    assert held is not None
    submit(baselined, 1)
    poll = baselined.poll()
    assert (poll.report.claimed, poll.calls, poll.events) == (False, [], [])
    baselined.clock.tick(LEASE + 1)
    assert baselined.poll().told == [(None, "InProgress")]


def test_a_poll_that_was_asleep_past_its_lease_writes_nothing(baselined: Bench) -> None:
    """If another replica took the target meanwhile, the late poll changes nothing."""
    submit(baselined, 4)
    thief = other(baselined)
    before = baselined.statuses()

    def sleep(_: object) -> None:
        baselined.clock.tick(LEASE + 1)
        assert thief.leases.claim(BATCH) is not None

    with pytest.raises(LeaseLostError):
        baselined.poll(on_progress=sleep)
    assert (baselined.news(), baselined.statuses(), baselined.owed()) == ([], before, [])
    assert baselined.poll().report.claimed is False
    baselined.clock.tick(LEASE + 1)
    assert len(baselined.poll().events) == 4


def test_a_long_poll_keeps_its_lease(baselined: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """A poll of many pages that change nothing extends its lease as it goes."""
    submit(baselined, 6)
    baselined.poll()
    slow_time = SimpleNamespace(monotonic=baselined.clock.seconds)
    monkeypatch.setattr("poller.store.leases.time", slow_time)
    thief = other(baselined)
    stolen: list[object] = []

    def slow(_: object) -> None:
        baselined.clock.tick(LEASE * 0.6)
        stolen.append(thief.leases.claim(BATCH))

    with baselined.simulator.faults.active(faults.ShortPages(size=1)):
        poll = baselined.poll(on_progress=slow)
    assert poll.report.failure is None
    assert stolen == [None] * 6


def test_the_lease_is_given_back_after_a_failure(baselined: Bench) -> None:
    """However a poll ends, the next one need not wait for a lease to run out."""

    def explode(_: object) -> None:
        raise ZeroDivisionError

    submit(baselined, 1)
    with pytest.raises(ZeroDivisionError):
        baselined.poll(on_progress=explode)
    with baselined.simulator.faults.active(faults.Fail()):
        assert baselined.poll().report.failure is not None
    assert baselined.poll().told == [(None, "InProgress")]


def test_a_store_that_fails_in_the_middle_loses_nothing(
    baselined: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the store refused is not recorded in part, and the next poll records it."""
    submit(baselined, 3)
    armed = [True]

    def refuse(*args: object) -> None:
        if armed and "INSERT INTO deliveries" in str(args[2]):
            armed.clear()
            raise sa.exc.OperationalError("INSERT", {}, Exception("disk I/O error"))

    sa.event.listen(baselined.database.engine, "before_cursor_execute", refuse)
    with pytest.raises(StoreError, match="disk I/O error"):
        baselined.poll()
    assert (baselined.news(), baselined.owed(), len(baselined.statuses())) == ([], [], 2)
    assert len(baselined.poll().events) == 3


def doom(database: Database, step: int) -> Callable[[], bool]:
    """Kill the process at the given transaction, before its first statement (even) or its commit (odd).

    Returns:
        Whether it happened.
    """
    passed = [0]

    def strike(*_: object) -> None:
        # A dead process writes nothing any more either.
        passed[0] += 1
        if passed[0] > step:
            raise Killed

    sa.event.listen(database.engine, "begin", strike, insert=True)
    sa.event.listen(database.engine, "commit", strike, insert=True)
    return lambda: passed[0] > step


def polled(bench: Bench, step: int) -> bool:
    """Poll in a process that is killed at a step; whether it lived to the end."""
    victim = bench.open()
    killed = doom(victim, step)
    try:
        bench.poller(snapshot=Snapshot(victim, owner=f"victim {step}", lease=LEASE)).poll(BATCH)
    except Killed:
        pass
    finally:
        victim.close()
    return not killed()


def test_a_first_scan_killed_at_every_step(bench: Bench) -> None:
    """The kill point advances until a first scan ends clean; what each left behind is no news to the next.

    Injects fault 23.
    """
    arns = submit(bench, 6)
    bench.simulator.faults.add(faults.ShortPages(size=2))
    for step in range(100):
        bench.clock.tick(LEASE + 1)
        if polled(bench, step):
            break
    assert 5 < step < 50
    assert (bench.news(), bench.owed(), set(bench.statuses())) == ([], [], set(arns))


def test_a_poll_killed_at_every_step(baselined: Bench) -> None:
    """Killed before any transaction or commit, then started again: every job is announced exactly once.

    Injects fault 1.
    """
    baselined.simulator.faults.add(faults.ShortPages(size=2))
    submitted: list[str] = []
    for step in range(100):
        baselined.clock.tick(3600)
        ended = [("InProgress", 0.0), ("Completed", 1.0)]
        submitted += [baselined.simulator.submit_batch(script=ended) for _ in range(3)]
        baselined.clock.tick(60)
        clean = polled(baselined, step)
        baselined.clock.tick(LEASE + 1)
        assert baselined.poll().report.failure is None
        if clean:
            break
    assert 5 < step < 50
    baselined._last = 0  # from the first event on
    announced = [event["data"]["job_arn"] for event in baselined.news()]
    assert sorted(announced) == sorted(submitted)
    assert len(baselined.owed()) == len(announced)
