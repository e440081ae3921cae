"""What a poll costs, and that its window hides nothing: new jobs, late ones, old ones that are still open."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from poller.simulator import faults
from poller.store import Snapshot
from tests.polling.conftest import ASYNC, BATCH, LEASE, OPEN, Bench, Poll

LIST = "ListModelInvocationJobs"
GET = "GetModelInvocationJob"


def since(poll: Poll) -> timedelta | None:
    """How far back the listing reached from the time of the request; `None` if it had no window."""
    listing = poll.requests[0]
    after = listing.parameters.get("submitTimeAfter")
    return None if after is None else listing.at - after


def test_history_is_free(bench: Bench) -> None:
    """After the first scan of thousands of ended jobs a steady poll is one call."""
    bench.simulator.populate(history=5000)
    first = bench.poll()
    assert len(first.calls) == 3
    bench.clock.tick(60)
    steady = bench.poll()
    assert (steady.calls, steady.report.full, steady.report.failure) == ([LIST], False, None)
    assert bench.count("scans_total", scan="full") == bench.count("scans_total", scan="window") == 1


def test_the_window_begins_before_the_newest_job(baselined: Bench) -> None:
    """The window's edge is the newest submission the service reported, less the overlap."""
    baselined.simulator.submit_batch(script=[("InProgress", 0), ("Completed", 1)])
    baselined.clock.tick(60)
    baselined.poll()
    baselined.clock.tick(3600)
    assert since(baselined.poll(overlap=timedelta(minutes=5))) == timedelta(seconds=3660, minutes=5)


def test_an_open_job_older_than_the_window_is_got(crowded: tuple[Bench, str]) -> None:
    """What the window cannot show is asked for one by one, and its ending is announced."""
    bench, old = crowded
    assert bench.poll().calls == [LIST, GET]
    bench.clock.tick(60)
    bench.simulator.force(old, "Failed", message="why")
    poll = bench.poll()
    assert (poll.calls, poll.told) == ([LIST, GET], [("InProgress", "Failed")])
    assert poll.events[0]["data"]["message"] == "why"
    bench.clock.tick(60)
    assert bench.poll().calls == [LIST]


def test_many_old_open_jobs_are_listed_rather_than_got(baselined: Bench) -> None:
    """Where a wider window costs fewer calls, it is taken."""
    for _ in range(5):
        baselined.simulator.submit_batch(script=OPEN)
    baselined.poll()
    baselined.clock.tick(7200)
    baselined.simulator.submit_batch(script=OPEN)
    polls = baselined.polls(3)
    assert [poll.calls for poll in polls[1:]] == [[LIST], [LIST]]
    assert not polls[2].report.full


def test_old_jobs_are_followed_without_permission_to_get(crowded: tuple[Bench, str]) -> None:
    """If Get is denied, old open jobs are listed instead: their endings come, without details, and soon.

    Injects fault 25.
    """
    bench, old = crowded
    with bench.simulator.faults.active(faults.AccessDenied(operation=GET)):
        (steady,) = bench.polls(1)
        bench.simulator.force(old, "Failed", message="why")
        (ending,) = bench.polls(1)
    assert (steady.report.failure, steady.told) == (None, [])
    assert (ending.report.failure, ending.told) == (None, [("InProgress", "Failed")])


def test_old_jobs_without_a_time_are_followed_without_permission_to_get(baselined: Bench) -> None:
    """If Get is denied and the service does not say when an old job was submitted, everything is listed."""
    old = baselined.simulator.submit_batch(script=OPEN, fields={"submitTime": None})
    baselined.poll()
    baselined.clock.tick(7200)
    baselined.simulator.submit_batch(script=OPEN)
    baselined.poll()
    with baselined.simulator.faults.active(faults.AccessDenied(operation=GET)):
        baselined.simulator.force(old, "Completed")
        (ending,) = baselined.polls(1)
    assert (ending.report.failure, ending.told) == (None, [("InProgress", "Completed")])
    assert ending.calls == [LIST, GET, LIST, GET]


def test_a_job_that_becomes_visible_late_is_announced(baselined: Bench) -> None:
    """A job that lists show only minutes after its submission is inside the overlap and is found.

    Injects fault 18.
    """
    late = baselined.simulator.submit_async(script=OPEN, visible_in=400)
    baselined.clock.tick(60)
    baselined.simulator.submit_async(script=OPEN)
    polls = baselined.polls(8, ASYNC)
    assert [poll.told for poll in polls].count([(None, "InProgress")]) == 2
    assert [event["data"]["job_arn"] for poll in polls for event in poll.events][1] == late


@pytest.mark.parametrize("target", [ASYNC, BATCH])
def test_a_submission_in_the_future_does_not_move_the_window(baselined: Bench, target: object) -> None:
    """A job dated after the service's own clock is announced, and later jobs are still seen (fault 13)."""
    kind = "async" if target is ASYNC else "batch"
    poll_target = ASYNC if target is ASYNC else BATCH
    submit = getattr(baselined.simulator, f"submit_{kind}")
    future = "2027-05-01T00:00:00Z"
    submit(script=OPEN, fields={"submitTime": future})
    (event,) = baselined.poll(poll_target).events
    assert event["data"]["submitted_at"] is None
    assert event["data"]["job"]["submitTime"] == future
    baselined.clock.tick(60)
    submit(script=OPEN)
    assert baselined.poll(poll_target).told == [(None, "InProgress")]


def test_full_scans_come_when_they_are_due(baselined: Bench) -> None:
    """A full scan runs once its interval has passed since the last, by the database's clock."""
    interval = timedelta(hours=1)
    full = []
    for _ in range(5):
        baselined.clock.tick(1200)
        full.append(baselined.poll(full_scan_interval=interval).report.full)
    assert full == [False, False, True, False, False]


def test_what_a_poll_costs_is_told_to_other_replicas(baselined: Bench) -> None:
    """Pages and Gets of one with a window; a full listing is rare, and says nothing of the next poll."""
    other = Snapshot(baselined.database, owner="other", lease=60)
    other.rows.register([BATCH])

    def told() -> list[int | None]:
        return [seen.calls for seen in other.leases.sightings(None)]

    assert told() == [None]
    baselined.polls(1)
    assert told() == [1]
    baselined.poll(full_scan_interval=timedelta(0))
    assert told() == [1]


def test_an_empty_account_is_listed_whole(bench: Bench) -> None:
    """As long as no job was ever seen there is no edge for a window; the first job is announced."""
    assert bench.poll().calls == [LIST, LIST]
    bench.clock.tick(60)
    again = bench.poll()
    assert (again.report.full, again.calls) == (True, [LIST])
    bench.simulator.submit_batch(script=OPEN)
    bench.clock.tick(60)
    assert bench.poll().told == [(None, "InProgress")]


def test_an_empty_first_list_is_asked_for_twice(bench: Bench) -> None:
    """One wrong answer does not make news of the history: what the second one shows is the baseline."""
    for _ in range(3):
        bench.simulator.submit_batch(script=[("Completed", 0.0)])
    with bench.simulator.faults.active(faults.EmptyListing(times=1)):
        assert bench.poll().events == []
    bench.clock.tick(60)
    assert bench.poll().events == []
    assert len(bench.statuses()) == 3


def test_jobs_submitted_while_the_list_is_paginated_are_seen(baselined: Bench) -> None:
    """A job that is submitted between two pages is announced, by this poll or the next, once (fault 18)."""
    for _ in range(4):
        baselined.simulator.submit_batch(script=OPEN)
    made: list[str] = []

    def submit(_: object) -> None:
        if len(made) < 3:
            baselined.clock.tick(1)
            made.append(baselined.simulator.submit_batch(script=OPEN))

    with baselined.simulator.faults.active(faults.ShortPages(size=2)):
        first = baselined.poll(on_progress=submit)
        baselined.clock.tick(60)
        second = baselined.poll()
    arns = [event["data"]["job_arn"] for poll in (first, second) for event in poll.events]
    assert len(arns) == len(set(arns)) == 7
    assert set(made) <= set(arns)


@pytest.mark.parametrize("minutes", [-45, -2, 0, 2, 45])
def test_a_wrong_local_clock_misses_nothing_and_is_told(baselined: Bench, minutes: float) -> None:
    """Windows go by the service's clock; the skew is a metric, and above a minute a warning (fault 13)."""
    wrong = timedelta(minutes=minutes)
    poller = baselined.poller(now=lambda: baselined.clock.now + wrong)
    with capture_logs() as lines:
        for _ in range(3):
            baselined.simulator.submit_batch(script=[("InProgress", 0), ("Completed", 30)])
            baselined.clock.tick(60)
            assert ("Completed", True) in [
                (event["data"]["status"], event["data"]["terminal"])
                for event in baselined.poll(poller=poller).events
            ]
    assert baselined.count("clock_skew_seconds") == pytest.approx(wrong.total_seconds(), abs=1)
    warned = [line for line in lines if line["event"] == "clock.skewed"]
    assert len(warned) == (1 if minutes else 0)


@pytest.mark.parametrize("empty", ["sqlite"], indirect=True)
def test_a_restored_backup_tells_the_same_again(baselined: Bench) -> None:
    """What happened since the backup is found once more, each under the id it had before (fault 8).

    A file; PostgreSQL has its own tools for backups, and what is in one is the same.
    """
    path = Path(str(baselined.database.path))
    arns = [baselined.simulator.submit_batch(script=OPEN) for _ in range(3)]
    baselined.poll()
    backup = path.with_suffix(".backup")
    with closing(sqlite3.connect(path)) as live, closing(sqlite3.connect(backup)) as kept:
        live.backup(kept)
    baselined.clock.tick(60)
    for arn in arns:
        baselined.simulator.force(arn, "Completed")
    before = baselined.poll().events
    assert len(before) == 3
    baselined.database.close()
    for old in path.parent.glob(path.name + "*"):
        old.unlink()
    backup.rename(path)
    baselined.database = baselined.open()
    baselined.snapshot = Snapshot(baselined.database, owner="restored", lease=LEASE)
    baselined._last = 0
    baselined.clock.tick(3600)
    after = [event for event in baselined.poll().events if event["data"]["terminal"]]
    assert {event["id"] for event in after} == {event["id"] for event in before}
