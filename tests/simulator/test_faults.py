"""Every fault does what it says, to whom it says, as often as it says, and leaves nothing behind."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
import urllib3
from botocore.exceptions import ClientError, ConnectionClosedError, HTTPClientError, ReadTimeoutError

from poller.simulator import Simulator, faults
from tests.simulator.raw import authorization, call, everything
from tests.simulator.test_wire import START

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.simulator.conftest import Clock, Service

LIST = "/model-invocation-jobs"
OPEN = [("InProgress", 0.0)]


def codes(simulator: Simulator, calls: int, path: str = LIST, query: str = "") -> list[int]:
    """The HTTP statuses of some calls."""
    return [call(simulator, "GET", path, query)[0] for _ in range(calls)]


def tokens(simulator: Simulator, pages: int, query: str = "maxResults=1") -> list[str | None]:
    """The tokens of the first pages of a listing."""
    found: list[str | None] = []
    token = None
    for _ in range(pages):
        status, _, page = call(simulator, "GET", LIST, query + (f"&nextToken={token}" if token else ""))
        assert status == 200
        token = page.get("nextToken")
        found.append(token)
        if token is None:
            break
    return found


@pytest.fixture
def three(simulator: Simulator, clock: Clock) -> list[str]:
    """Three batch jobs, newest first."""
    made = []
    for _ in range(3):
        made.append(simulator.submit_batch(script=OPEN))
        clock.tick(1)
    return made[::-1]


def test_throttling_for_some_calls(runtime: Any, control: Any, simulator: Simulator) -> None:
    """A throttled operation answers ThrottlingException (429) so many times; others are spared."""
    throttle = faults.Throttle(operation="ListAsyncInvokes", times=2)
    simulator.faults.add(throttle)
    for _ in range(2):
        control.list_model_invocation_jobs()
        with pytest.raises(runtime.exceptions.ThrottlingException) as caught:
            runtime.list_async_invokes()
        assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 429
    runtime.list_async_invokes()
    assert simulator.faults.fired(throttle) == 2


def test_throttling_by_chance_is_seeded() -> None:
    """A fault with a probability strikes about that often, and the same calls for the same seed."""

    def struck(seed: int) -> list[int]:
        simulator = Simulator(seed=seed)
        simulator.faults.add(faults.Throttle(probability=0.3))
        return codes(simulator, 200)

    assert 40 < struck(1).count(429) < 80
    assert struck(1) == struck(1) != struck(2)


def test_a_rate_limit_follows_the_clock(simulator: Simulator, clock: Clock) -> None:
    """A token bucket lets the burst through, then what the rate allows."""
    simulator.faults.add(faults.RateLimit(per_second=2, burst=3))
    assert codes(simulator, 5) == [200, 200, 200, 429, 429]
    clock.tick(1)
    assert codes(simulator, 3) == [200, 200, 429]
    clock.tick(60)
    assert codes(simulator, 4) == [200, 200, 200, 429]


def test_a_failure_on_one_page(simulator: Simulator, control: Any, three: list[str]) -> None:
    """A 5xx on page k fails that page and no other."""
    simulator.faults.add(faults.Fail(page=2, times=1))
    pages = iter(
        control.get_paginator("list_model_invocation_jobs").paginate(PaginationConfig={"PageSize": 1})
    )
    next(pages)
    with pytest.raises(control.exceptions.InternalServerException):
        next(pages)
    assert len(everything(simulator, LIST, "maxResults=1")[0]) == 3


def test_access_denied_to_one_operation_in_one_region(
    simulator: Simulator, clients: Callable[..., Any]
) -> None:
    """AccessDenied can be limited to an operation and a region, and answers 403."""
    denied = faults.AccessDenied(operation="GetAsyncInvoke", region="eu-west-1", account="123456789012")
    simulator.faults.add(denied)
    for region in ("eu-west-1", "us-east-1"):
        client = clients("bedrock-runtime", region)
        arn = client.start_async_invoke(**START)["invocationArn"]
        if region == "us-east-1":
            client.get_async_invoke(invocationArn=arn)
            continue
        with pytest.raises(client.exceptions.AccessDeniedException):
            client.get_async_invoke(invocationArn=arn)


def test_a_connection_is_reset(runtime: Any, simulator: Simulator) -> None:
    """A reset reaches the SDK as a broken connection, the request has no effect, the next one works."""
    simulator.faults.add(faults.Reset(times=1))
    with pytest.raises((ConnectionClosedError, HTTPClientError)):
        runtime.start_async_invoke(**START)
    assert simulator.jobs() == []
    runtime.start_async_invoke(**START)


def test_a_body_is_cut_short(control: Any, simulator: Simulator, service: Service) -> None:
    """A body that ends early is an error to a careful client; boto3 parses it to a page without its list."""
    simulator.populate(history=30)
    simulator.faults.add(faults.CutBody(keep=500, times=2))
    with pytest.raises(urllib3.exceptions.ProtocolError, match="500 bytes read"):
        urllib3.request("GET", service.url + LIST, headers=authorization(), retries=False)
    assert control.list_model_invocation_jobs().keys() == {"ResponseMetadata"}
    assert control.list_model_invocation_jobs()["invocationJobSummaries"]


def test_a_connection_is_reset_within_the_body(control: Any, simulator: Simulator) -> None:
    """A reset in the middle of a page is an error even to boto3."""
    simulator.populate(history=30)
    simulator.faults.add(faults.CutBody(keep=500, reset=True, times=1))
    with pytest.raises(HTTPClientError):
        control.list_model_invocation_jobs()
    assert control.list_model_invocation_jobs()["invocationJobSummaries"]


def test_a_body_is_not_json(runtime: Any, control: Any, simulator: Simulator) -> None:
    """HTML with status 200 parses to a page without its list; with 502 it is an unknown error."""
    simulator.faults.add(faults.Garbage(operation="ListAsyncInvokes"))
    answer = runtime.list_async_invokes()
    assert answer.keys() == {"ResponseMetadata"}
    assert answer["ResponseMetadata"]["HTTPHeaders"]["content-type"] == "text/html"
    simulator.faults.add(faults.Garbage(operation="ListModelInvocationJobs", status=502))
    with pytest.raises(ClientError) as caught:
        control.list_model_invocation_jobs()
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 502


def test_latency_is_waited_out(simulator: Simulator, service: Service) -> None:
    """A late answer runs into the client's timeout and is given if the client waits."""
    from botocore.config import Config

    config = Config(read_timeout=0.1, retries={"total_max_attempts": 1})
    hasty = service.client("bedrock-runtime", config=config)
    simulator.faults.add(faults.Latency(seconds=0.3))
    with pytest.raises(ReadTimeoutError):
        hasty.list_async_invokes()
    began = time.monotonic()
    service.client("bedrock-runtime").list_async_invokes()
    assert time.monotonic() - began >= 0.3


def test_latency_can_be_that_of_one_job(simulator: Simulator, service: Service) -> None:
    """Its Gets are answered late, those of another job and listings at once."""
    from botocore.config import Config

    config = Config(read_timeout=0.2, retries={"total_max_attempts": 1})
    hasty = service.client("bedrock", config=config)
    slow, other = (simulator.submit_batch(script=OPEN) for _ in range(2))
    simulator.faults.add(faults.Latency(arn=slow, seconds=0.5))
    assert hasty.get_model_invocation_job(jobIdentifier=other)["jobArn"] == other
    assert len(hasty.list_model_invocation_jobs()["invocationJobSummaries"]) == 2
    with pytest.raises(ReadTimeoutError):
        hasty.get_model_invocation_job(jobIdentifier=slow)


def test_a_token_expires(simulator: Simulator, control: Any, three: list[str]) -> None:
    """An expired token is refused with a ValidationException on the page it was for."""
    simulator.faults.add(faults.ExpiredToken(page=3))
    first = control.list_model_invocation_jobs(maxResults=1)
    second = control.list_model_invocation_jobs(maxResults=1, nextToken=first["nextToken"])
    with pytest.raises(control.exceptions.ValidationException, match="expired"):
        control.list_model_invocation_jobs(maxResults=1, nextToken=second["nextToken"])


@pytest.mark.parametrize(("length", "cycle"), [(1, "aaaaaa"), (2, "ababab"), (3, "abcabc")])
def test_tokens_go_round(simulator: Simulator, three: list[str], length: int, cycle: str) -> None:
    """One token again and again, or a cycle, even beyond the end of the listing and for every new scan."""
    simulator.faults.add(faults.CyclicTokens(length=length))
    for _ in range(2):
        given = tokens(simulator, 6)
        names = {token: name for name, token in zip("abc", dict.fromkeys(given), strict=False)}
        assert "".join(names[token] for token in given) == cycle


def test_fresh_tokens_for_ever(simulator: Simulator, three: list[str]) -> None:
    """A listing that never ends shows every job once, then empty pages, and no token twice."""
    simulator.faults.add(faults.EndlessTokens())
    given = tokens(simulator, 20)
    assert len(set(given)) == 20
    assert None not in given
    items, pages = everything(simulator, LIST, "maxResults=2", most=10)
    assert ([item["jobArn"] for item in items], pages) == (three, 10)


def test_empty_and_short_pages_go_on(simulator: Simulator, three: list[str]) -> None:
    """A page may show fewer jobs than asked for, even none, and the listing still is complete."""
    simulator.faults.add(faults.ShortPages(size=0, page=1), faults.ShortPages(size=1, page=2))
    sizes, token = [], ""
    for _ in range(3):
        _, _, page = call(simulator, "GET", LIST, f"maxResults=2{token}")
        sizes.append(len(page["invocationJobSummaries"]))
        token = f"&nextToken={page.get('nextToken')}"
    assert sizes == [0, 1, 2]


def test_an_empty_listing(simulator: Simulator, three: list[str]) -> None:
    """A listing can come back empty, without a token, though there are jobs."""
    with simulator.faults.active(faults.EmptyListing(times=1)):
        assert everything(simulator, LIST) == ([], 1)
        assert len(everything(simulator, LIST)[0]) == 3


def test_a_job_is_changed(simulator: Simulator, control: Any, three: list[str]) -> None:
    """Any member can be changed in list and Get, unknown statuses, fields and union members included."""

    def change(item: dict[str, Any]) -> dict[str, Any]:
        item["status"] = "Dreaming"
        item["outputDataConfig"] = {"tapeOutputDataConfig": {"reel": 7}}
        return item

    simulator.faults.add(faults.Change(change, arn=three[1]))
    jobs = control.list_model_invocation_jobs()["invocationJobSummaries"]
    assert [job["status"] for job in jobs] == ["InProgress", "Dreaming", "InProgress"]
    assert jobs[1]["outputDataConfig"] == {"SDK_UNKNOWN_MEMBER": {"name": "tapeOutputDataConfig"}}
    assert control.get_model_invocation_job(jobIdentifier=three[1])["status"] == "Dreaming"
    assert control.get_model_invocation_job(jobIdentifier=three[0])["status"] == "InProgress"


def test_changes_are_counted_by_the_jobs_they_changed(simulator: Simulator, three: list[str]) -> None:
    """A change that leaves a job as it is does not count; one that is spent acts no more."""
    fault = faults.Change(
        lambda item: {**item, "status": "X"} if item["jobArn"] == three[2] else item, times=1
    )
    simulator.faults.add(fault)
    for expected in ("X", "InProgress"):
        assert everything(simulator, LIST)[0][2]["status"] == expected
    assert simulator.faults.fired(fault) == 1


def test_a_job_is_hidden(simulator: Simulator, runtime: Any, three: list[str]) -> None:
    """A job can vanish from the list only, or from the Get too, which then does not know it."""
    gone = faults.Change(lambda _: None, arn=three[0], operation="ListModelInvocationJobs")
    simulator.faults.add(gone)
    assert [item["jobArn"] for item in everything(simulator, LIST)[0]] == three[1:]
    assert call(simulator, "GET", f"/model-invocation-job/{three[0][-12:]}")[0] == 200
    invocation = simulator.submit_async()
    simulator.faults.add(faults.Change(lambda _: None))
    assert call(simulator, "GET", f"/model-invocation-job/{three[0][-12:]}")[0] == 404
    with pytest.raises(runtime.exceptions.ValidationException):
        runtime.get_async_invoke(invocationArn=invocation)
    assert len(simulator.jobs()) == 4


@pytest.mark.parametrize("malformed", ["no object", 7, [], {"status": "InProgress"}])
def test_an_item_is_malformed(simulator: Simulator, three: list[str], malformed: Any) -> None:
    """An item can be any JSON at all, while its neighbours stay as they are."""
    simulator.faults.add(faults.Change(lambda _: malformed, arn=three[1]), faults.Change(lambda item: item))
    items = everything(simulator, LIST)[0]
    assert items[1] == malformed
    assert [items[0]["jobArn"], items[2]["jobArn"]] == [three[0], three[2]]


def test_an_item_is_huge_or_full_of_odd_characters(
    simulator: Simulator, control: Any, three: list[str]
) -> None:
    """Two megabytes, control characters and lone surrogates travel as they are."""
    odd = "\x00\x1b\ud800"
    simulator.faults.add(
        faults.Change(lambda item: {**item, "jobName": odd}, arn=three[0]),
        faults.Change(lambda item: {**item, "jobName": "x" * 2_000_000}, arn=three[1]),
    )
    jobs = control.list_model_invocation_jobs()["invocationJobSummaries"]
    assert [jobs[0]["jobName"], len(jobs[1]["jobName"])] == [odd, 2_000_000]


def test_a_job_is_shown_twice(simulator: Simulator, three: list[str]) -> None:
    """A listing can show one job twice, with two statuses; a Get never does."""
    simulator.faults.add(faults.Twice(lambda item: {**item, "status": "Completed"}, arn=three[1], times=1))
    assert call(simulator, "GET", f"/model-invocation-job/{three[1][-12:]}")[2]["status"] == "InProgress"
    shown = [(item["jobArn"], item["status"]) for item in everything(simulator, LIST)[0]]
    assert shown == [
        (three[0], "InProgress"),
        (three[1], "InProgress"),
        (three[1], "Completed"),
        (three[2], "InProgress"),
    ]
    assert len(everything(simulator, LIST)[0]) == 3


def test_a_hidden_job_is_not_shown_twice(simulator: Simulator, three: list[str]) -> None:
    """Faults act in the order they were added; what one has hidden the next cannot repeat."""
    simulator.faults.add(faults.Change(lambda _: None, arn=three[0]), faults.Twice())
    assert len(everything(simulator, LIST)[0]) == 4


def test_faults_are_removed(simulator: Simulator, three: list[str]) -> None:
    """A fault can be disarmed alone, with its block, or with all others; each is only equal to itself."""
    first, second = faults.Throttle(), faults.Throttle()
    simulator.faults.add(first, second)
    simulator.faults.remove(first)
    assert codes(simulator, 1) == [429]
    assert (simulator.faults.fired(first), simulator.faults.fired(second)) == (0, 1)
    simulator.faults.clear()
    assert codes(simulator, 1) == [200]
    with simulator.faults.active(faults.Fail()):
        assert codes(simulator, 1) == [500]
    assert codes(simulator, 1) == [200]


def test_a_fault_of_another_account_or_page_does_not_strike(simulator: Simulator, three: list[str]) -> None:
    """Limits by account, region and page hold together."""
    simulator.faults.add(faults.Fail(account="999999999999"), faults.Fail(region="eu-west-1", page=1))
    assert codes(simulator, 1) == [200]
    assert call(simulator, "GET", LIST, headers=authorization(key="AKIDOTHER"))[0] == 500
    assert call(simulator, "GET", LIST, headers=authorization(region="eu-west-1"))[0] == 500
    assert codes(simulator, 1, query="nextToken=bnVsbA==") == [400]


def test_faults_may_come_and_go_while_requests_run(simulator: Simulator) -> None:
    """Arming and disarming from other threads never breaks a request."""
    done = threading.Event()

    def meddle() -> None:
        while not done.is_set():
            fault = faults.Throttle(times=1)
            simulator.faults.add(fault)
            simulator.faults.remove(fault)

    meddlers = [threading.Thread(target=meddle) for _ in range(2)]
    for meddler in meddlers:
        meddler.start()
    try:
        assert set(codes(simulator, 300)) <= {200, 429}
    finally:
        done.set()
        for meddler in meddlers:
            meddler.join()
