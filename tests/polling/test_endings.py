"""Endings whose events wait for details: each recorded once, as soon as its own are there, or without."""

from __future__ import annotations

import threading
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from poller.errors import StoppedError
from poller.simulator import faults
from tests.polling.conftest import ASYNC, BATCH, OPEN

if TYPE_CHECKING:
    from tests.polling.conftest import Bench, Poll

LIST, GET = "ListModelInvocationJobs", "GetModelInvocationJob"


def end(bench: Bench, *statuses: str, every: float = 1.0) -> list[str]:
    """Batch jobs that were seen open and have ended, one after the other."""
    arns = [
        bench.simulator.submit_batch(script=OPEN, token=f"token-{number}") for number in range(len(statuses))
    ]
    bench.poll()
    for arn, status in zip(arns, statuses, strict=True):
        bench.clock.tick(every)
        bench.simulator.force(arn, status)
    bench.clock.tick(60)
    return arns


def asked(poll: Poll) -> list[str]:
    """The jobs that were got, in the order of their first Gets."""
    got = (request.parameters["jobIdentifier"] for request in poll.requests if request.operation == GET)
    return list(dict.fromkeys(got))


def details(poll: Poll) -> dict[str, str]:
    """What each event says of its details, by the job."""
    return {event["data"]["job_arn"]: event["data"]["details"] for event in poll.events}


def test_failures_are_asked_for_first_and_then_what_ended_first(baselined: Bench) -> None:
    """By the service's word, not by the order of the listing; one at a time, events come in that order."""
    done, failed, stopped, first, partial = end(
        baselined, "Completed", "Failed", "Stopped", "Completed", "PartiallyCompleted"
    )
    earlier = faults.Change(lambda item: {**item, "endTime": "2026-11-20T09:00:00Z"}, arn=first)
    with baselined.simulator.faults.active(earlier):
        poll = baselined.poll(details_concurrency=1)
    assert asked(poll) == [failed, stopped, partial, first, done]
    assert list(details(poll)) == [failed, stopped, partial, first, done]


def test_failures_go_first_where_the_budget_does_not_suffice(baselined: Bench) -> None:
    """What is left to the next poll are successes."""
    one, two, failed = end(baselined, "Completed", "Completed", "Failed")
    poll = baselined.poll(gets=lambda _: 2)
    assert (set(details(poll)), poll.report.deferred) == ({failed, one}, 1)
    assert set(details(baselined.poll(gets=lambda _: 2))) == {two}


def test_a_failure_on_a_later_page_is_asked_for_before_waiting_successes(baselined: Bench) -> None:
    """The pages are not waited for, and what waits for its turn lets it pass."""
    *done, failed = end(baselined, "Completed", "Completed", "Completed", "Completed", "Failed")
    with baselined.simulator.faults.active(
        faults.ShortPages(size=1), faults.Latency(operation=GET, seconds=0.2)
    ):
        poll = baselined.poll(details_concurrency=1)
    assert asked(poll).index(failed) < 4
    assert details(poll) == dict.fromkeys([*done, failed], "complete")


@pytest.mark.parametrize(
    ("wanted", "complete"),
    [
        ("always", {"Completed", "Failed", "Stopped", "Evicted"}),
        ("failed", {"Failed", "Stopped", "Evicted"}),
        ("never", set()),
    ],
)
def test_it_can_be_set_which_endings_get_details(baselined: Bench, wanted: str, complete: set[str]) -> None:
    """Of all, of those that did not succeed, or of none; the others cost no call and are recorded first."""
    arns = end(baselined, "Completed", "Failed", "Stopped", "Completed")
    ended = {"status": "Evicted", "endTime": "2026-11-20T10:00:00Z"}
    with baselined.simulator.faults.active(faults.Change(lambda item: item | ended, arn=arns[-1])):
        poll = baselined.poll(details=wanted)
    said = {event["data"]["status"]: event["data"]["details"] for event in poll.events}
    assert {status for status, each in said.items() if each == "complete"} == complete
    assert set(said.values()) <= {"complete", "not_requested"}
    assert poll.calls.count(GET) == len(complete)
    order = [event["data"]["details"] for event in poll.events]
    assert order == sorted(order, reverse=True)


def test_what_needs_no_get_is_recorded_before_any_is_made(baselined: Bench) -> None:
    """New jobs and endings whose items lack nothing are in the store when the first Get is sent."""
    (ended,) = end(baselined, "Completed")
    new = baselined.simulator.submit_batch(script=OPEN)
    calls: list[list[str]] = []
    baselined.snapshot.on_owed = lambda: calls.append(
        [each.operation for each in baselined.simulator.requests]
    )
    assert list(details(baselined.poll())) == [new, ended]
    assert calls == [[LIST], [LIST, GET]]


def test_one_that_hangs_costs_only_its_own_details(baselined: Bench) -> None:
    """The others are recorded at once, the poll does not wait for its answer, and a late one is dropped."""
    hanging, *others = end(baselined, "Failed", "Completed", "Completed")
    late = faults.Latency(operation=GET, arn=hanging, seconds=2)
    poller = baselined.poller(details_wait=1)
    with baselined.simulator.faults.active(late):
        poll = baselined.poll(poller=poller)
    assert details(poll) == dict.fromkeys(others, "complete") | {hanging: "unavailable"}
    assert list(details(poll))[-1] == hanging
    assert baselined.count("events_without_details_total") == 1
    assert baselined.count("job_get_failures_total", reason="network") == 1
    while poller._unanswered[BATCH.id]:
        time.sleep(0.01)
    assert baselined.poll(poller=poller).events == []


def test_one_that_hangs_holds_up_none_beyond_the_budget(baselined: Bench) -> None:
    """While the poll waits for it alone, the endings that would be left to the next poll are recorded."""
    hanging, *others = end(baselined, "Failed", *["Completed"] * 12)
    late = faults.Latency(operation=GET, arn=hanging, seconds=3)
    with baselined.simulator.faults.active(late):
        poll = baselined.poll(details_wait=2.5, gets=lambda _: 3)
    assert details(poll) == dict.fromkeys(others, "complete") | {hanging: "unavailable"}
    assert poll.report.deferred == 0


def test_where_every_get_hangs_all_endings_are_told_after_the_wait(baselined: Bench) -> None:
    """Those beyond the budget too, and without a Get of their own, which would hang as well."""
    arns = end(baselined, *["Completed"] * 8)
    with baselined.simulator.faults.active(faults.Latency(operation=GET, seconds=1.5)):
        poll = baselined.poll(details_wait=0.5, details_concurrency=2, gets=lambda _: 4)
    assert details(poll) == dict.fromkeys(arns, "unavailable")
    assert (len(asked(poll)), poll.report.deferred) == (2, 0)


def test_what_was_listed_is_recorded_though_the_listing_fails(baselined: Bench) -> None:
    """Its details are waited for, and the failure is reported after that."""
    arns = end(baselined, "Completed", "Failed")
    with baselined.simulator.faults.active(
        faults.ShortPages(size=2),
        faults.Fail(operation=LIST, page=2),
        faults.Latency(operation=GET, seconds=0.2),
    ):
        baselined.simulator.submit_batch(script=OPEN)
        baselined.simulator.submit_batch(script=OPEN)
        poll = baselined.poll()
    assert poll.report.failure is not None
    assert details(poll).items() >= dict.fromkeys(arns, "complete").items()


def test_an_ending_is_recorded_while_the_next_page_is_awaited(baselined: Bench) -> None:
    """Its event comes before those of the page."""
    (ended,) = end(baselined, "Completed")
    new = baselined.simulator.submit_batch(script=OPEN)
    with baselined.simulator.faults.active(
        faults.ShortPages(size=1), faults.Latency(operation=LIST, page=2, seconds=1)
    ):
        assert list(details(baselined.poll())) == [ended, new]


@pytest.mark.parametrize("again", ["Completed", "Failed", "InProgress"])
def test_an_ending_that_is_listed_again_while_it_waits_is_one_event(baselined: Bench, again: str) -> None:
    """On a later page, in the same state, a corrected one or an old one: one Get, and the latest is told."""
    (ended,) = end(baselined, "Completed")
    other = baselined.simulator.submit_batch(script=OPEN)
    shown: list[Any] = []

    def keep(item: dict[str, Any]) -> dict[str, Any]:
        shown.append(item)
        return item

    later = (
        {"status": again, "lastModifiedTime": "2026-11-20T10:01:30Z"}
        if again == "Failed"
        else {"status": again}
    )
    with baselined.simulator.faults.active(
        faults.ShortPages(size=1),
        faults.Change(keep, arn=ended, operation=LIST),
        faults.Change(lambda _: shown[-1] | later, arn=other, operation=LIST),
        faults.Latency(operation=GET, seconds=0.3),
        faults.Fail(operation=GET),
    ):
        poll = baselined.poll()
    assert poll.calls.count(GET) == 1
    assert poll.told == [("InProgress", "Completed" if again == "InProgress" else again)]
    assert details(poll) == {ended: "unavailable"}


def test_a_stop_does_not_wait_for_a_get_that_hangs(baselined: Bench) -> None:
    """The poll ends; the ending, of which nothing was recorded, is told by the next one."""
    (ended,) = end(baselined, "Completed")
    with baselined.simulator.faults.active(faults.Latency(operation=GET, seconds=2)):
        threading.Timer(0.3, baselined.calls.stop.set).start()
        with pytest.raises(StoppedError):
            baselined.poll(details_wait=60)
    baselined.calls.stop.clear()
    assert details(baselined.poll()) == {ended: "complete"}


TROUBLES: dict[str, Any] = {
    "none": lambda _: (),
    "slow": lambda arn: (faults.Latency(operation=GET, arn=arn, seconds=0.1),),
    "late": lambda arn: (faults.Latency(operation=GET, arn=arn, seconds=1.0),),
    "failing": lambda arn: (faults.Fail(operation=GET, arn=arn),),
    "throttled": lambda arn: (faults.Throttle(operation=GET, arn=arn),),
    "throttled once": lambda arn: (faults.Throttle(operation=GET, arn=arn, times=1),),
    "malformed": lambda arn: (faults.Change(lambda _: ["odd"], operation=GET, arn=arn),),
    "stale": lambda arn: (
        faults.Change(lambda item: item | {"status": "InProgress"}, operation=GET, arn=arn),
    ),
}
HOLDING = {"late", "throttled", "throttled once"}


@settings(
    deadline=None,
    max_examples=12,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    st.lists(
        st.tuples(st.sampled_from(["Completed", "Failed", "Stopped"]), st.sampled_from(sorted(TROUBLES))),
        max_size=12,
    ),
    st.sampled_from(["always", "failed", "never"]),
    st.integers(1, 8),
    st.sampled_from([2, 1000]),
)
def test_every_ending_is_told_once_whatever_becomes_of_its_get(
    baselined: Bench, ended: list[tuple[str, str]], wanted: str, most: int, page: int
) -> None:
    """With any endings, latencies, failures and throttles; failures first, and at once what needs no Get."""
    arns = end(baselined, *(status for status, _ in ended))
    baselined.news()
    troubles = [
        fault for arn, (_, trouble) in zip(arns, ended, strict=True) for fault in TROUBLES[trouble](arn)
    ]
    held_up = bool(HOLDING & {trouble for _, trouble in ended})
    poller = baselined.poller(details=wanted, details_wait=0.3 if held_up else 10, details_concurrency=most)
    with baselined.simulator.faults.active(faults.ShortPages(size=page), *troubles):
        poll = baselined.poll(poller=poller)
        again = baselined.poll(poller=poller)
    assert (poll.report.failure, again.events) == (None, [])
    told = Counter(event["data"]["job_arn"] for event in poll.events)
    assert told == Counter(arns)
    said = details(poll)
    needed = []
    for arn, (status, trouble) in zip(arns, ended, strict=True):
        if wanted == "always" or (wanted == "failed" and status != "Completed"):
            needed.append(arn)
            whole = trouble in {"none", "slow"} and not held_up
            assert said[arn] in ({"complete"} if whole else {"complete", "unavailable"})
        else:
            assert said[arn] == "not_requested"
    got = asked(poll)
    assert set(got) <= set(needed)
    if page == 1000:
        first = [arn for arn in said if said[arn] == "not_requested"]
        assert list(said)[: len(first)] == first
        failed = [dict(zip(arns, ended, strict=True))[arn][0] != "Completed" for arn in got]
        assert all(sum(failed[place:]) < most for place, is_failed in enumerate(failed) if not is_failed)


def test_async_endings_need_no_get_at_all(baselined: Bench) -> None:
    """Forty end at once: one call, one transaction."""
    arns = [baselined.simulator.submit_async(script=OPEN) for _ in range(40)]
    baselined.poll(ASYNC)
    for arn in arns:
        baselined.simulator.force(arn, "Failed", message="why")
    baselined.clock.tick(60)
    commits: list[None] = []
    baselined.snapshot.on_owed = lambda: commits.append(None)
    poll = baselined.poll(ASYNC)
    assert poll.calls == ["ListAsyncInvokes"]
    assert details(poll) == dict.fromkeys(arns, "complete")
    assert commits == [None]
