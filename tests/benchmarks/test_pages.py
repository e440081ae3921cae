"""The page server shows one consistent account, however it renders its pages."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.pages import PAGE, Account, PageServer, arn_of, identifier, number_of
from poller.kinds import MODEL_INVOCATION_JOB

IDENTIFIERS = 36**12


def answer(server: PageServer, target: str) -> Any:
    """What the server answers, parsed."""
    body = server(target, b"")
    assert body is not None
    return json.loads(body)


@given(st.integers(0, IDENTIFIERS - 1))
def test_a_number_comes_back_from_its_identifier(number: int) -> None:
    """Identifiers are a bijection, of the form that the service gives out."""
    made = identifier(number)
    assert len(made) == 12
    assert made.isalnum()
    assert made == made.lower()
    assert number_of(made) == number


def test_identifiers_are_scattered() -> None:
    """Jobs that follow each other do not follow each other in an index."""
    made = [identifier(number) for number in range(1000)]
    assert len(set(made)) == 1000
    steps = [later > earlier for earlier, later in pairwise(made)]
    assert 200 < sum(steps) < 800
    assert len({name[0] for name in made}) == 36


@pytest.mark.parametrize("start", [0, 3 * PAGE])
def test_the_template_renders_what_the_jobs_are(start: int) -> None:
    """A page of ended jobs made from the template is the same as one made job by job."""
    account = Account(5 * PAGE)
    page = json.loads(account.page(start))
    assert page["nextToken"] == str(start + PAGE)
    assert page["invocationJobSummaries"] == [
        json.loads(account.summary(number)) for number in range(start, start + PAGE)
    ]


def test_a_listing_shows_every_job_once() -> None:
    """Following the tokens leads through the whole account, oldest first."""
    server = PageServer(Account(2345, open_jobs=20, waiting=5))
    found: list[dict[str, Any]] = []
    target = "/model-invocation-jobs?maxResults=1000"
    token: str | None = ""
    while token is not None:
        page = answer(server, f"{target}&nextToken={token}" if token else target)
        found += page["invocationJobSummaries"]
        token = page.get("nextToken")
    assert [job["jobArn"] for job in found] == [arn_of(number) for number in range(2345)]
    assert [job["status"] for job in found[-25:]] == (
        ["Completed"] * 5 + ["InProgress"] * 15 + ["Submitted"] * 5
    )
    assert answer(server, "/control/count")["lists"] == 3
    times = [MODEL_INVOCATION_JOB.observe(job).submitted_at for job in found]
    assert times == sorted(times, key=str)


def test_a_window_begins_after_its_edge() -> None:
    """A list with a lower edge shows the jobs submitted after it."""
    server = PageServer(Account(100))
    edge = answer(server, "/model-invocation-jobs")["invocationJobSummaries"][89]["submitTime"]
    page = answer(server, f"/model-invocation-jobs?submitTimeAfter={edge}")
    assert [job["jobArn"] for job in page["invocationJobSummaries"]] == [arn_of(n) for n in range(90, 100)]


def test_a_tick_begins_one_job_and_ends_another() -> None:
    """Between two ticks the number of open jobs stays what it was."""
    server = PageServer(Account(10, open_jobs=3))
    answer(server, "/control/tick")
    jobs = answer(server, "/model-invocation-jobs")["invocationJobSummaries"]
    assert [job["status"] for job in jobs] == ["Completed"] * 8 + ["InProgress"] * 3
    got = answer(server, f"/model-invocation-job/{arn_of(7)}")
    assert got == jobs[7]
    assert answer(server, "/control/count") == {"lists": 1, "gets": 1, "armed": False}


def test_an_armed_server_shows_one_new_status_a_listing() -> None:
    """Each listing lets one job begin or end, and the moment it was shown is noted."""
    server = PageServer(Account(10, open_jobs=2, waiting=2))
    answer(server, "/control/arm")
    seen = [
        [job["status"] for job in answer(server, "/model-invocation-jobs")["invocationJobSummaries"][-2:]]
        for _ in range(5)
    ]
    assert seen == [
        ["InProgress", "Submitted"],
        ["Completed", "Submitted"],
        ["Completed", "InProgress"],
        ["Completed", "Completed"],
        ["Completed", "Completed"],
    ]
    assert [(arn, status) for arn, status, _ in answer(server, "/control/shown")] == [
        (arn_of(8), "InProgress"),
        (arn_of(8), "Completed"),
        (arn_of(9), "InProgress"),
        (arn_of(9), "Completed"),
    ]


def test_a_held_listing_gets_no_answer_until_it_is_released() -> None:
    """Listings can be made to stop half-way."""
    server = PageServer(Account(10))
    answer(server, "/control/hold?after=1")
    assert server("/model-invocation-jobs", b"") is not None
    assert server("/model-invocation-jobs", b"") is None
    answer(server, "/control/release")
    assert server("/model-invocation-jobs", b"") is not None
