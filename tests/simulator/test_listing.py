"""Listings: complete, in order and coherent, whatever the page size and whatever happens meanwhile."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from poller.simulator import Simulator
from tests.simulator.conftest import Clock
from tests.simulator.raw import authorization, call, everything

OPEN = [("InProgress", 0.0)]


def arns(items: list[dict[str, Any]]) -> list[str]:
    """The ARNs of listed batch jobs."""
    return [item["jobArn"] for item in items]


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    ages=st.lists(st.integers(0, 20), min_size=1, max_size=25),
    size=st.integers(1, 30),
    order=st.sampled_from(["Ascending", "Descending"]),
    window=st.tuples(st.integers(0, 20), st.integers(0, 20)),
)
def test_any_page_size_gives_the_same_listing(
    ages: list[int], size: int, order: str, window: tuple[int, int]
) -> None:
    """However a listing is cut into pages, it shows the jobs of its window, each once and in order."""
    clock = Clock()
    simulator = Simulator(clock=clock)
    for age in ages:
        simulator.submit_batch(submitted_at=clock.now - timedelta(seconds=age), script=OPEN)
    oldest, newest = (clock.now - timedelta(seconds=age) for age in sorted(window, reverse=True))
    times = "&".join(
        f"submitTime{side}={time:%Y-%m-%dT%H:%M:%S}.250Z"
        for side, time in (("After", oldest), ("Before", newest))
    )
    query = f"sortOrder={order}&{times}"
    whole, _ = everything(simulator, "/model-invocation-jobs", f"{query}&maxResults=1000")
    paged, pages = everything(simulator, "/model-invocation-jobs", f"{query}&maxResults={size}")
    assert paged == whole
    assert pages == max(1, -(-len(whole) // size))
    expected = sorted(
        (job.submitted_at, job.arn) for job in simulator.jobs() if oldest < job.submitted_at < newest
    )
    assert arns(whole) == [arn for _, arn in (expected if order == "Ascending" else reversed(expected))]


@pytest.mark.parametrize("order", ["Ascending", "Descending"])
def test_a_listing_stays_coherent_while_jobs_are_submitted(
    simulator: Simulator, clock: Clock, order: str
) -> None:
    """Jobs submitted between two pages neither repeat nor displace those that were there."""
    before = []
    for _ in range(10):
        before.append(simulator.submit_batch(script=OPEN))
        clock.tick(1)
    seen: list[str] = []
    token = ""
    while True:
        _, _, page = call(
            simulator, "GET", "/model-invocation-jobs", f"sortOrder={order}&maxResults=3{token}"
        )
        seen += arns(page["invocationJobSummaries"])
        if "nextToken" not in page or len(seen) > 40:
            break
        token = f"&nextToken={page['nextToken']}"
        simulator.submit_batch(script=OPEN)
        clock.tick(1)
    assert [arn for arn in seen if arn in before] == (before if order == "Ascending" else before[::-1])
    assert len(seen) == len(set(seen))


def test_a_status_that_changes_meanwhile_moves_nothing(simulator: Simulator, clock: Clock) -> None:
    """A job that leaves the filtered status while the list is paginated takes only itself out."""
    made = []
    for _ in range(4):
        made.append(simulator.submit_batch(script=OPEN))
        clock.tick(1)
    query = "statusEquals=InProgress&maxResults=2"
    _, _, first = call(simulator, "GET", "/model-invocation-jobs", query)
    simulator.force(made[3], "Completed")
    simulator.force(made[1], "Completed")
    token = first["nextToken"]
    _, _, second = call(simulator, "GET", "/model-invocation-jobs", f"{query}&nextToken={token}")
    assert arns(first["invocationJobSummaries"]) == [made[3], made[2]]
    assert arns(second["invocationJobSummaries"]) == [made[0]]


def test_the_default_page_has_a_hundred_jobs_newest_first(simulator: Simulator) -> None:
    """Without maxResults a page has 100 jobs, and a token if there are more."""
    simulator.populate(history=250)
    items, pages = everything(simulator, "/async-invoke")
    assert pages == -(-len(items) // 100)
    times = [item["submitTime"] for item in items]
    assert times == sorted(times, reverse=True)


@pytest.mark.parametrize("other", ["sortOrder=Ascending", "statusEquals=Failed", "nameContains=a"])
def test_a_token_is_good_for_its_own_listing_only(simulator: Simulator, other: str) -> None:
    """A token with other filters, from another region or account, or of another operation is refused."""
    simulator.populate(history=10)
    path = "/model-invocation-jobs"
    _, _, page = call(simulator, "GET", path, "maxResults=1")
    token = f"nextToken={page['nextToken']}"
    assert call(simulator, "GET", path, f"maxResults=2&{token}")[0] == 200
    for where, query, headers in (
        (path, f"{other}&{token}", authorization()),
        (path, token, authorization(region="eu-west-1")),
        (path, token, authorization(key="AKIDOTHER")),
        ("/async-invoke", token, authorization()),
    ):
        status, answered, _ = call(simulator, "GET", where, query, headers=headers)
        assert (status, answered["x-amzn-errortype"]) == (400, "ValidationException")


@pytest.mark.parametrize("token", ["x", "AAAA", "100", "%C3%A9", "bnVsbA==" * 9, "W10=" * 20])
def test_garbage_is_no_token(simulator: Simulator, token: str) -> None:
    """A token that was never handed out is refused, not taken for a place."""
    status, headers, body = call(simulator, "GET", "/async-invoke", f"nextToken={token}")
    assert (status, headers["x-amzn-errortype"]) == (400, "ValidationException")
    assert body == {"message": "The provided nextToken is invalid."}


def test_a_job_can_become_visible_late(simulator: Simulator, clock: Clock) -> None:
    """A job with `visible_in` is known to Get at once and shown by the list only later, in its place."""
    late = simulator.submit_batch(visible_in=120, script=OPEN)
    clock.tick(60)
    early = simulator.submit_batch(script=OPEN)
    assert arns(everything(simulator, "/model-invocation-jobs")[0]) == [early]
    assert call(simulator, "GET", f"/model-invocation-job/{late[-12:]}")[0] == 200
    clock.tick(60)
    assert arns(everything(simulator, "/model-invocation-jobs")[0]) == [early, late]


def test_a_job_of_the_future_does_not_exist_yet(simulator: Simulator, clock: Clock) -> None:
    """A job submitted at a later time is in no answer before it."""
    arn = simulator.submit_batch(submitted_at=clock.now + timedelta(seconds=30))
    assert simulator.jobs() == []
    assert everything(simulator, "/model-invocation-jobs")[0] == []
    assert call(simulator, "GET", f"/model-invocation-job/{arn[-12:]}")[0] == 404
    clock.tick(30)
    assert arns(everything(simulator, "/model-invocation-jobs")[0]) == [arn]
