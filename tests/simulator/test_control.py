"""The controls: jobs by hand, the truth for an oracle, and regions that fill themselves."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from poller.simulator import Simulator, Workload
from tests.simulator.raw import authorization, call, everything

if TYPE_CHECKING:
    from poller.simulator import JobState
    from tests.simulator.conftest import Clock


def ended(states: list[JobState]) -> list[bool]:
    """Which of the jobs have ended."""
    return [state.terminal for state in states]


def test_a_script_is_followed_to_the_millisecond(simulator: Simulator, clock: Clock) -> None:
    """A scripted job enters each status at its second after submission, whatever the speed."""
    simulator.speed = 1000
    start = clock.now
    arn = simulator.submit_async(script=[("InProgress", 0), ("Completed", 2.5)])
    clock.tick(2.499)
    assert simulator.job(arn).status == "InProgress"
    clock.tick(0.001)
    assert simulator.job(arn).status == "Completed"
    assert simulator.history(arn) == [
        (start, "InProgress"),
        (start + timedelta(seconds=2.5), "Completed"),
    ]
    assert simulator.speed == 1000


def test_advance_moves_a_job_to_its_next_status_now(simulator: Simulator, clock: Clock) -> None:
    """Each advance enters the next planned status and brings the later ones forward by as much."""
    arn = simulator.submit_batch(script=[("Submitted", 0), ("InProgress", 100), ("Completed", 110)])
    assert simulator.advance(arn) == "InProgress"
    clock.tick(10)
    assert simulator.job(arn).status == "Completed"
    with pytest.raises(ValueError, match="nothing left"):
        simulator.advance(arn)


def test_force_moves_a_job_anywhere_even_back(simulator: Simulator, clock: Clock) -> None:
    """A forced job enters the status now and stays there; unknown statuses and steps back are allowed."""
    arn = simulator.submit_batch()
    for status in ("Completed", "InProgress", "Dreaming", "Failed"):
        clock.tick(1)
        simulator.force(arn, status)
        clock.tick(100_000)
        assert simulator.job(arn).status == status
    assert [status for _, status in simulator.history(arn)][-4:] == [
        "Completed",
        "InProgress",
        "Dreaming",
        "Failed",
    ]
    assert simulator.job(arn).message
    simulator.force(arn, "Failed", message="because")
    assert simulator.job(arn).message == "because"


def test_fields_of_a_job_can_be_overridden(simulator: Simulator) -> None:
    """Given fields appear in the list and in the Get, known to the model or not."""
    arn = simulator.submit_batch(name="a", fields={"jobName": "b", "mood": {"level": 3}})
    (listed,), _ = everything(simulator, "/model-invocation-jobs")
    _, _, got = call(simulator, "GET", f"/model-invocation-job/{arn[-12:]}")
    assert (listed["jobName"], listed["mood"]) == (got["jobName"], got["mood"]) == ("b", {"level": 3})


def test_an_unknown_job_has_no_controls(simulator: Simulator) -> None:
    """Controls name the ARN they do not know."""
    with pytest.raises(KeyError, match="abcdefghwxyz"):
        simulator.job("arn:aws:bedrock:us-east-1:123456789012:async-invoke/abcdefghwxyz")


def test_populate_makes_history_and_movement(simulator: Simulator, clock: Clock) -> None:
    """The past jobs have ended when it is called; the others are submitted over the next seconds."""
    simulator.speed = 10_000
    made = simulator.populate(jobs=20, history=30, spread=10)
    assert len(set(made)) == 50
    assert ended(simulator.jobs()) == [True] * 30
    clock.tick(5)
    assert 30 < len(simulator.jobs()) < 50
    clock.tick(5)
    states = simulator.jobs()
    assert len(states) == 50
    assert {state.kind for state in states} == {"async_invoke", "model_invocation_job"}
    clock.tick(20)
    assert all(ended(simulator.jobs()))


def test_populate_can_be_called_again(simulator: Simulator) -> None:
    """A second call adds other jobs."""
    first, second = simulator.populate(history=5), simulator.populate(history=5)
    assert not set(first) & set(second)
    assert len(simulator.jobs()) == 10


def test_a_workload_fills_each_region_from_its_first_request(clock: Clock) -> None:
    """A region is empty until it is asked for, then has a past, a present, and new jobs at the given rate."""
    workload = Workload(per_minute=30, jobs=4, history=6)
    simulator = Simulator(clock=clock, workload=workload)
    assert simulator.jobs() == []
    call(simulator, "GET", "/async-invoke")
    call(simulator, "GET", "/async-invoke", headers=authorization(region="eu-west-1"))
    assert len(simulator.jobs(region="us-east-1")) >= 6
    assert {state.region for state in simulator.jobs()} == {"us-east-1", "eu-west-1"}
    clock.tick(600)
    assert 280 < len(simulator.jobs(region="eu-west-1")) < 340
    call(simulator, "GET", "/async-invoke")
    assert 560 < len(simulator.jobs()) < 680


def test_a_workload_does_not_make_up_years(clock: Clock) -> None:
    """After a very long pause only the last arrivals are made up; a rate of zero makes none."""
    simulator = Simulator(clock=clock, workload=Workload(per_minute=600, jobs=0, history=0))
    quiet = Simulator(clock=clock, workload=Workload(per_minute=0, jobs=0, history=0))
    for one in (simulator, quiet):
        call(one, "GET", "/async-invoke")
    clock.tick(365 * 24 * 3600)
    assert 9_000 < len(simulator.jobs()) < 11_000
    assert quiet.jobs() == []


def test_a_workload_is_the_same_however_often_it_is_asked(clock: Clock) -> None:
    """Arrivals do not depend on when requests come in."""
    start = clock.now
    seen = []
    for steps in (1, 60):
        clock.now = start
        simulator = Simulator(clock=clock, workload=Workload())
        call(simulator, "GET", "/async-invoke")
        for _ in range(steps):
            clock.tick(300 / steps)
            call(simulator, "GET", "/async-invoke")
        seen.append([(state.arn, state.submitted_at) for state in simulator.jobs()])
    assert seen[0] == seen[1]


def test_the_request_log_counts_and_forgets(simulator: Simulator, clock: Clock) -> None:
    """Every routed and signed request is noted with its time and parameters, refused ones included."""
    call(simulator, "GET", "/async-invoke", "maxResults=5000")
    call(simulator, "GET", "/nowhere")
    call(simulator, "GET", "/model-invocation-jobs", headers=authorization(region="eu-west-1"))
    assert len(simulator.requests) == simulator.requests.count() == 2
    assert simulator.requests.count("ListAsyncInvokes") == 1
    assert simulator.requests.count(region="eu-west-1") == 1
    first = next(iter(simulator.requests))
    assert (first.parameters, first.at) == ({"maxResults": 5000}, clock.now)
    simulator.requests.clear()
    assert len(simulator.requests) == 0
