"""Jobs that vanish: believed only after several complete listings and a Get that does not know them."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from poller.plan import MISSES_BEFORE_GONE
from poller.simulator import faults
from tests.polling.conftest import ASYNC, BATCH, OPEN, Bench

if TYPE_CHECKING:
    from poller.model import Target

GETS = {ASYNC: "GetAsyncInvoke", BATCH: "GetModelInvocationJob"}
LISTS = {ASYNC: "ListAsyncInvokes", BATCH: "ListModelInvocationJobs"}


def one(bench: Bench, target: Target) -> str:
    """An open job that has been announced."""
    arn = (
        bench.simulator.submit_async(script=OPEN)
        if target is ASYNC
        else bench.simulator.submit_batch(script=OPEN)
    )
    assert bench.poll(target).told == [(None, "InProgress")]
    return arn


def hidden(arn: str, operation: str | None = None) -> faults.Change:
    """Hide a job, from one operation or from all."""
    return faults.Change(lambda _: None, arn=arn, operation=operation)


@pytest.mark.parametrize("target", [ASYNC, BATCH], ids=["async", "batch"])
def test_a_job_that_vanishes_is_its_own_event(baselined: Bench, target: Target) -> None:
    """After several complete listings without it a Get is asked, and its answer makes the event; once.

    Injects fault 19.
    """
    arn = one(baselined, target)
    with baselined.simulator.faults.active(hidden(arn)):
        polls = baselined.polls(6, target)
    assert [len(poll.events) for poll in polls] == [0, 0, 1, 0, 0, 0]
    assert [poll.calls.count(GETS[target]) for poll in polls] == [0, 0, 1, 0, 0, 0]
    assert MISSES_BEFORE_GONE == 3
    (event,) = polls[2].events
    data = event["data"]
    assert event["type"] == "bedrock-poller.job.disappeared"
    assert (data["job_arn"], data["status"], data["previous_status"]) == (arn, "InProgress", "InProgress")
    assert (data["job"], data["submitted_at"] is not None) == ({}, True)
    assert polls[5].report.open_jobs == 0
    assert baselined.count("events_total", type="bedrock-poller.job.disappeared") == 1


@pytest.mark.parametrize("target", [ASYNC, BATCH], ids=["async", "batch"])
def test_a_job_that_reappears_is_followed_again(baselined: Bench, target: Target) -> None:
    """Nothing old is sent again when it is back; its ending is announced, and so is a second vanishing.

    Injects fault 19.
    """
    arn = one(baselined, target)
    with baselined.simulator.faults.active(hidden(arn)):
        (gone,) = [event for poll in baselined.polls(4, target) for event in poll.events]
    back = baselined.polls(2, target)
    assert [poll.told for poll in back] == [[], []]
    assert back[1].report.open_jobs == 1
    with baselined.simulator.faults.active(hidden(arn)):
        (again,) = [event for poll in baselined.polls(4, target) for event in poll.events]
    assert (again["type"], again["id"] == gone["id"]) == (gone["type"], False)
    baselined.clock.tick(60)
    baselined.simulator.force(arn, "Completed")
    assert baselined.poll(target).told == [("InProgress", "Completed")]


def test_a_job_that_only_the_list_has_lost_is_not_gone(baselined: Bench) -> None:
    """If Get still knows the job, it is not gone; the count starts over, and its ending is found by Get."""
    arn = one(baselined, BATCH)
    with baselined.simulator.faults.active(hidden(arn, LISTS[BATCH])):
        polls = baselined.polls(7)
        assert [poll.calls.count(GETS[BATCH]) for poll in polls] == [0, 0, 1, 0, 0, 1, 0]
        baselined.simulator.force(arn, "Failed", message="why")
        ended = baselined.polls(2)
    assert [poll.told for poll in polls] == [[]] * 7
    assert [poll.told for poll in ended] == [[], [("InProgress", "Failed")]]
    assert ended[1].events[0]["data"]["message"] == "why"


def test_a_miss_is_forgiven_when_the_job_is_seen_again(baselined: Bench) -> None:
    """Misses count only in a row."""
    arn = one(baselined, BATCH)
    for _ in range(3):
        with baselined.simulator.faults.active(hidden(arn)):
            assert [poll.told for poll in baselined.polls(2)] == [[], []]
        assert baselined.polls(1)[0].calls == [LISTS[BATCH]]


def test_a_missed_job_that_comes_back_ended_is_announced(baselined: Bench) -> None:
    """A job that was missing while it ended gives its ending and nothing else."""
    arn = one(baselined, ASYNC)
    with baselined.simulator.faults.active(hidden(arn)):
        baselined.polls(2, ASYNC)
        baselined.simulator.force(arn, "Completed")
    assert [poll.told for poll in baselined.polls(2, ASYNC)] == [[("InProgress", "Completed")], []]


def test_an_unreachable_get_concludes_nothing(baselined: Bench) -> None:
    """While the confirming Get fails the job is not gone; it alone waits, and the polls are complete."""
    arn = one(baselined, BATCH)
    broken = faults.Fail(operation=GETS[BATCH])
    with baselined.simulator.faults.active(hidden(arn), broken):
        polls = baselined.polls(5)
    assert [poll.events for poll in polls] == [[]] * 5
    assert [poll.report.failure for poll in polls] == [None] * 5
    assert [poll.calls.count(GETS[BATCH]) for poll in polls] == [0, 0, 1, 1, 0]
    assert baselined.count("jobs_unconfirmed_total") == 2


def test_an_old_job_that_vanishes_is_noticed_by_its_gets(crowded: tuple[Bench, str]) -> None:
    """A job older than the window counts as missed when its Get does not know it, several times in a row."""
    bench, old = crowded
    with bench.simulator.faults.active(hidden(old)):
        polls = bench.polls(5)
    assert [len(poll.events) for poll in polls] == [0, 0, 1, 0, 0]
    assert polls[2].events[0]["type"] == "bedrock-poller.job.disappeared"


@pytest.mark.parametrize("full", [True, False], ids=["full", "window"])
def test_an_empty_list_is_not_believed(baselined: Bench, full: bool) -> None:
    """Where there were many jobs, an empty listing makes none of them look gone: Get knows them all.

    Injects fault 20.
    """
    options: dict[str, Any] = {"full_scan_interval": timedelta(0)} if full else {}
    arns = [baselined.simulator.submit_batch(script=OPEN) for _ in range(30)]
    baselined.poll()
    with baselined.simulator.faults.active(faults.EmptyListing()):
        for _ in range(5):
            baselined.clock.tick(60)
            poll = baselined.poll(**options)
            assert (poll.events, poll.report.open_jobs) == ([], 30)
    for arn in arns:
        baselined.simulator.force(arn, "Completed")
    baselined.clock.tick(60)
    assert baselined.poll(**options).told == [("InProgress", "Completed")] * 30
    assert baselined.poll(**options).told == []
