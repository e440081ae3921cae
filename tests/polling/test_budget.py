"""A poll's budget of calls: what does not fit is carried to the next poll, and nothing is dropped."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from poller.simulator import faults
from tests.polling.conftest import BATCH, OPEN

if TYPE_CHECKING:
    from poller.polling import Poller
    from tests.polling.conftest import Bench, Poll


def bounded(bench: Bench, gets: int) -> Poller:
    """A poller that may make so many Gets a poll."""
    return bench.poller(gets=lambda _: gets)


def until_done(bench: Bench, poller: Poller, most: int = 20) -> list[Poll]:
    """Poll until nothing is carried any more."""
    polls: list[Poll] = []
    while len(polls) < most:
        bench.clock.tick(30)
        polls.append(bench.poll(poller=poller))
        if not polls[-1].report.deferred:
            return polls
    raise AssertionError(f"still carrying after {most} polls")


def test_open_jobs_that_do_not_fit_come_first_in_the_next_poll(bench: Bench) -> None:
    """Every one is got in turn before any is got again."""
    # Without a time of their own no listing is known to show them, so each costs a Get.
    long_ago = bench.clock.now - timedelta(days=40)
    arns = [
        bench.simulator.submit_batch(submitted_at=long_ago, script=OPEN, fields={"submitTime": None})
        for _ in range(7)
    ]
    bench.simulator.submit_batch(script=OPEN)
    bench.poll()
    poller = bounded(bench, 3)
    got: list[str] = []
    carried = []
    for _ in range(3):
        bench.clock.tick(30)
        poll = bench.poll(poller=poller)
        carried.append(poll.report.deferred)
        got += [
            request.parameters["jobIdentifier"]
            for request in poll.requests
            if request.operation == "GetModelInvocationJob"
        ]
    assert carried == [4, 4, 4]
    assert sorted(got[:7]) == sorted(arns)
    assert len(got) == 9
    assert bench.count("poll_jobs_carried_total") == 12


def test_ended_jobs_that_do_not_fit_are_reported_by_the_next_polls(bench: Bench) -> None:
    """All of them, each once, each with the details that only a Get tells."""
    bench.poll()
    arns = [bench.simulator.submit_batch(script=OPEN, token=f"token-{number}") for number in range(9)]
    bench.clock.tick(30)
    bench.poll()
    for arn in arns:
        bench.simulator.force(arn, "Completed")
    polls = until_done(bench, bounded(bench, 4))
    events = [event for poll in polls for event in poll.events]
    assert [len(poll.events) for poll in polls] == [4, 4, 1]
    assert sorted(event["data"]["job_arn"] for event in events) == sorted(arns)
    assert {event["data"]["client_request_token"] for event in events} == {f"token-{n}" for n in range(9)}


def test_jobs_that_began_and_ended_unseen_are_not_lost_behind_the_window(bench: Bench) -> None:
    """Carried jobs that have no row yet hold the window back, however long it takes."""
    bench.simulator.submit_batch(script=OPEN)
    bench.poll()
    arns = []
    for _ in range(6):
        bench.clock.tick(1200)
        arns.append(bench.simulator.submit_batch(script=[("Completed", 0.0)]))
    poller = bounded(bench, 1)
    polls = until_done(bench, poller)
    told = [event["data"]["job_arn"] for poll in polls for event in poll.events]
    assert sorted(told) == sorted(arns)


def test_without_a_budget_one_poll_does_it_all(bench: Bench) -> None:
    """As `once` does."""
    bench.poll()
    for _ in range(30):
        bench.simulator.submit_batch(script=[("Completed", 0.0)])
    bench.clock.tick(30)
    poll = bench.poll()
    assert (len(poll.events), poll.report.deferred) == (30, 0)


def test_a_throttled_poll_is_a_strained_one(bench: Bench) -> None:
    """The scheduler slows down by it; a calm poll says nothing."""
    with bench.simulator.faults.active(faults.Throttle()):
        assert bench.poll().report.throttled
    assert not bench.poll(BATCH).report.throttled
