"""Listing and getting jobs through boto3, from a service that is whole and from one that is not."""

from __future__ import annotations

import json
from datetime import UTC, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from poller.aws import AccountAccess, JobsApi
from poller.aws import api as api_module
from poller.errors import AwsError, AwsReason, IncompleteScanError
from poller.kinds import ASYNC_INVOKE, DEFAULT_KINDS, KINDS, MODEL_INVOCATION_JOB, Kind
from poller.simulator import DEFAULT_REGION, Simulator, faults
from poller.simulator.simulator import Answer
from tests.aws.conftest import NOW

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from poller.aws import Page, Sessions
    from poller.simulator.wire import HttpRequest
    from tests.harness.service import Service

    Api = Callable[[Kind], JobsApi]

every_kind = pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
LIST = MODEL_INVOCATION_JOB.list_operation


def arns(kind: Kind, pages: list[Page]) -> list[str]:
    """The ARNs of what pages show."""
    return [item[kind.arn[0]] for page in pages for item in page.items]


def until_incomplete(pages: Iterator[Page]) -> tuple[list[Page], IncompleteScanError]:
    """The pages of a listing that ends early, and why it did."""
    seen: list[Page] = []
    with pytest.raises(IncompleteScanError) as caught:
        seen.extend(pages)  # keeps what came before the error
    return seen, caught.value


def batch_jobs(simulator: Simulator, count: int) -> list[str]:
    """Submit jobs one second apart, the last of them now."""
    return [
        simulator.submit_batch(
            submitted_at=NOW - timedelta(seconds=count - number), script=[("InProgress", 0)]
        )
        for number in range(count)
    ]


@every_kind
def test_a_listing_shows_every_job_once_oldest_first(kind: Kind, api: Api, simulator: Simulator) -> None:
    """Page by page to the end, each with the service's own clock."""
    simulator.populate(history=60, kinds=sorted({*DEFAULT_KINDS, kind.name}))
    simulator.faults.add(faults.ShortPages(size=11))
    pages = list(api(kind).pages(None))
    expected = [job.arn for job in simulator.jobs() if job.kind == kind.name]
    assert len(expected) > 20
    assert sorted(arns(kind, pages)) == sorted(expected)
    times = [item[kind.submitted_at[0]] for page in pages for item in page.items]
    assert times == sorted(times)
    assert pages[-1].token is None
    assert all(page.token for page in pages[:-1])
    assert {page.served_at for page in pages} == {NOW.replace(microsecond=0)}


@every_kind
def test_the_largest_pages_are_asked_for_in_order(kind: Kind, api: Api, simulator: Simulator) -> None:
    """The declared parameters are sent with each call, and a full scan has no window."""
    list(api(kind).pages(None))
    (request,) = simulator.requests
    assert request.operation == kind.list_operation
    assert request.parameters == dict(kind.list_parameters)


def test_a_window_shows_what_was_submitted_after_it(api: Api, simulator: Simulator) -> None:
    """The cutoff goes to the service, to the millisecond, on every page."""
    jobs = batch_jobs(simulator, 10)
    simulator.faults.add(faults.ShortPages(size=2))
    since = NOW - timedelta(seconds=5.5)
    pages = list(api(MODEL_INVOCATION_JOB).pages(since))
    assert arns(MODEL_INVOCATION_JOB, pages) == jobs[5:]
    assert {request.parameters["submitTimeAfter"] for request in simulator.requests} == {since}


@every_kind
def test_a_get_gives_the_job_s_own_json(kind: Kind, api: Api, simulator: Simulator) -> None:
    """Nothing of the SDK's is mixed in, and it can be observed like a list item."""
    simulator.populate(history=20, kinds=sorted({*DEFAULT_KINDS, kind.name}))
    for job in simulator.jobs():
        if job.kind == kind.name:
            item = api(kind).get(job.arn).item
            assert "ResponseMetadata" not in item
            seen = kind.observe(item)
            assert (seen.arn, seen.status, seen.name) == (job.arn, job.status, job.name)
            assert isinstance(item[kind.submitted_at[0]], str)


@every_kind
def test_an_unknown_job_is_not_found(kind: Kind, api: Api, simulator: Simulator) -> None:
    """Whichever error the service has for that; the code is kept."""
    arn = kind.make_arn("abcdefghwxyz", account="123456789012", region="us-east-1")
    with pytest.raises(AwsError) as caught:
        api(kind).get(arn)
    assert caught.value.reason is AwsReason.NOT_FOUND
    assert caught.value.code in kind.gone


FAILURES = [
    (faults.Throttle(), AwsReason.THROTTLED, "ThrottlingException"),
    (faults.AccessDenied(), AwsReason.ACCESS_DENIED, "AccessDeniedException"),
    (faults.Fail(), AwsReason.SERVICE, "InternalServerException"),
    (
        faults.Fail(code="ServiceUnavailableException", status=503),
        AwsReason.SERVICE,
        "ServiceUnavailableException",
    ),
    (faults.Fail(code="ValidationException", status=400), AwsReason.INVALID, "ValidationException"),
    (faults.Fail(code="ExpiredTokenException", status=403), AwsReason.CREDENTIALS, "ExpiredTokenException"),
    (
        faults.Fail(code="UnrecognizedClientException", status=403),
        AwsReason.CREDENTIALS,
        "UnrecognizedClientException",
    ),
    (faults.Garbage(), AwsReason.MALFORMED, ""),
    (faults.Garbage(body=b'["a"]', content_type="application/json"), AwsReason.MALFORMED, ""),
    (faults.Garbage(body=b"\xff\xfe\xfd", content_type="application/json"), AwsReason.MALFORMED, ""),
    (faults.Garbage(body=b"[" * 200_000, content_type="application/json"), AwsReason.MALFORMED, ""),
    (faults.CutBody(keep=5), AwsReason.MALFORMED, ""),
    (faults.CutBody(keep=5, reset=True), AwsReason.NETWORK, ""),
    (faults.Reset(), AwsReason.NETWORK, ""),
]


@pytest.mark.parametrize(("fault", "reason", "code"), FAILURES)
def test_every_failure_has_a_reason(
    fault: faults.Fault, reason: AwsReason, code: str, api: Api, simulator: Simulator
) -> None:
    """Whatever the SDK raises becomes an `AwsError` that names the operation, from Get and list alike."""
    arn = simulator.submit_batch(script=[("InProgress", 0)])
    jobs = api(MODEL_INVOCATION_JOB)
    with simulator.faults.active(fault):
        for operation, call in (
            (LIST, lambda: list(jobs.pages(None))),
            (MODEL_INVOCATION_JOB.get_operation, lambda: jobs.get(arn)),
        ):
            with pytest.raises(AwsError) as caught:
                call()
            assert (caught.value.reason, caught.value.code) == (reason, code)
            assert str(caught.value).startswith(operation)
            assert not isinstance(caught.value, IncompleteScanError)
            assert "\n" not in str(caught.value)
    assert len(list(jobs.pages(None))) == 1


@pytest.mark.parametrize(
    ("fault", "reason", "code"), FAILURES[:1] + FAILURES[2:3] + FAILURES[7:8] + FAILURES[11:]
)
def test_a_failure_on_a_later_page_leaves_the_listing_incomplete(
    fault: faults.Fault, reason: AwsReason, code: str, api: Api, simulator: Simulator
) -> None:
    """The pages before it count; the error says which page and keeps the reason."""
    jobs = batch_jobs(simulator, 6)
    simulator.faults.add(faults.ShortPages(size=2))
    armed = type(fault)(**{**{name: getattr(fault, name) for name in fault.__dataclass_fields__}, "page": 3})
    with simulator.faults.active(armed):
        seen, error = until_incomplete(api(MODEL_INVOCATION_JOB).pages(None))
    assert arns(MODEL_INVOCATION_JOB, seen) == jobs[:4]
    assert (error.reason, error.code) == (reason, code)
    assert "page 3" in str(error)


def test_an_expired_token_leaves_the_listing_incomplete(api: Api, simulator: Simulator) -> None:
    """The service refuses to go on; the first page stands (fault 16)."""
    jobs = batch_jobs(simulator, 4)
    simulator.faults.add(faults.ShortPages(size=2), faults.ExpiredToken())
    seen, error = until_incomplete(api(MODEL_INVOCATION_JOB).pages(None))
    assert arns(MODEL_INVOCATION_JOB, seen) == jobs[:2]
    assert error.code == "ValidationException"


@pytest.mark.parametrize("length", [1, 2, 3])
def test_a_listing_whose_tokens_go_round_is_ended(length: int, api: Api, simulator: Simulator) -> None:
    """A token that repeats, or comes back after others, is noticed within one round (fault 15)."""
    batch_jobs(simulator, 20)
    simulator.faults.add(faults.ShortPages(size=2), faults.CyclicTokens(length=length))
    seen, error = until_incomplete(api(MODEL_INVOCATION_JOB).pages(None))
    assert error.reason is AwsReason.INCOMPLETE
    assert "circles" in str(error)
    assert len(seen) <= 2 * length + 1


@pytest.mark.parametrize(("seconds", "pages"), [(0.0, 100), (3600.0, 150)])
def test_fresh_tokens_for_ever_with_empty_pages_are_ended(
    seconds: float, pages: int, api: Api, simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Everything was seen, but the listing is not taken as complete (fault 15).

    It ends after very many pages, or after fewer of them once that has taken long.
    """
    monkeypatch.setattr(api_module, "_IDLE_SECONDS", seconds)
    monkeypatch.setattr(api_module, "_MOST_IDLE_PAGES", 150)
    jobs = batch_jobs(simulator, 3)
    simulator.faults.add(faults.EndlessTokens())
    seen, error = until_incomplete(api(MODEL_INVOCATION_JOB).pages(None))
    assert arns(MODEL_INVOCATION_JOB, seen) == jobs
    assert error.reason is AwsReason.INCOMPLETE
    assert pages <= len(seen) <= pages + 3


def test_dozens_of_empty_pages_with_fresh_tokens_are_no_circle(api: Api, simulator: Simulator) -> None:
    """The listing goes on to the jobs behind them (fault 56)."""
    jobs = batch_jobs(simulator, 3)
    simulator.faults.add(faults.ShortPages(size=0, times=60))
    pages = list(api(MODEL_INVOCATION_JOB).pages(None))
    assert len(pages) == 61
    assert arns(MODEL_INVOCATION_JOB, pages) == jobs


def test_fresh_tokens_for_ever_with_the_same_items_are_ended(
    api: Api, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A listing that begins again under other tokens shows nothing new, which is bounded as well."""
    monkeypatch.setattr(api_module, "_IDLE_SECONDS", 0.0)
    numbers = iter(range(10_000))

    def answer(_request: HttpRequest) -> Answer:
        number = next(numbers)
        items = [{"jobArn": f"{number % 3}-{place}"} for place in range(4)]
        body = json.dumps({"invocationJobSummaries": items, "nextToken": f"token-{number}"})
        return Answer(200, {"content-type": "application/json"}, body.encode())

    service.answer = answer
    seen, error = until_incomplete(api(MODEL_INVOCATION_JOB).pages(None))
    assert len(seen) == 103
    assert error.reason is AwsReason.INCOMPLETE


def test_a_listing_without_end_is_ended(api: Api, service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fresh tokens and fresh items for ever come to an end after very many pages."""
    monkeypatch.setattr(api_module, "_MOST_PAGES", 30)
    numbers = iter(range(10_000))

    def answer(_request: HttpRequest) -> Answer:
        number = next(numbers)
        body = json.dumps({"invocationJobSummaries": [{"jobArn": str(number)}], "nextToken": f"t{number}"})
        return Answer(200, {"content-type": "application/json"}, body.encode())

    service.answer = answer
    seen, error = until_incomplete(api(MODEL_INVOCATION_JOB).pages(None))
    assert len(seen) == 30
    assert "has not ended after 30 pages" in str(error)


def test_an_empty_page_in_the_middle_is_no_end(api: Api, simulator: Simulator) -> None:
    """Only a missing token ends a listing."""
    jobs = batch_jobs(simulator, 3)
    simulator.faults.add(faults.ShortPages(size=0, times=2))
    pages = list(api(MODEL_INVOCATION_JOB).pages(None))
    assert [len(page.items) for page in pages] == [0, 0, 3]
    assert arns(MODEL_INVOCATION_JOB, pages) == jobs


def listing(service: Service, api: Api, body: str | bytes, **headers: str) -> Page:
    """The page that a body makes."""
    service.can(body.encode() if isinstance(body, str) else body, headers=headers)
    (page,) = api(MODEL_INVOCATION_JOB).pages(None)
    return page


def test_items_come_verbatim(api: Api, service: Service) -> None:
    """Unknown fields, unknown union members, unknown statuses and types nobody expects, all as they are."""
    item: dict[str, Any] = {
        "jobArn": "arn",
        "status": "Archiving",
        "outputDataConfig": {"gcsOutputDataConfig": {"uri": "gs://x", "deep": [1, 2.5, None, True]}},
        "fieldOfTomorrow": "\ud800\x00\r\n",
        "submitTime": "the day after tomorrow",
        "totalRecordCount": "many",
    }
    others: list[Any] = [None, 7, "text", [], {}]
    page = listing(service, api, json.dumps({"invocationJobSummaries": [item, *others], "more": 1}))
    assert page.items == [item, *others]


def test_an_unreadable_time_costs_its_own_attribute_only(api: Api, simulator: Simulator) -> None:
    """The SDK's parser would give up the page; here the job and its neighbours are there."""
    jobs = batch_jobs(simulator, 3)
    simulator.faults.add(faults.Change(lambda item: {**item, "submitTime": "yesterday"}, arn=jobs[1]))
    (page,) = api(MODEL_INVOCATION_JOB).pages(None)
    seen = [MODEL_INVOCATION_JOB.observe(item) for item in page.items]
    assert [job.arn for job in seen] == jobs
    assert [job.submitted_at is None for job in seen] == [False, True, False]
    assert page.items[1]["submitTime"] == "yesterday"


def test_numbers_that_are_no_json_become_texts(api: Api, service: Service) -> None:
    """NaN, infinities and numbers beyond all bounds could not be sent on; the page is not lost for them."""
    digits = "9" * 5000
    body = (
        f'{{"invocationJobSummaries": [{{"a": NaN, "b": -Infinity, "c": 1e999, "d": {digits}, "e": 1.5}}]}}'
    )
    (item,) = listing(service, api, body).items
    assert item == {"a": "NaN", "b": "-Infinity", "c": "1e999", "d": digits, "e": 1.5}
    assert json.loads(json.dumps(item, allow_nan=False)) == item


def test_an_empty_token_or_list_is_the_end(api: Api, service: Service) -> None:
    """An absent, null or empty token ends the listing, an absent or null list is empty."""
    for body in ("{}", '{"invocationJobSummaries": null, "nextToken": null}', '{"nextToken": ""}'):
        page = listing(service, api, body)
        assert (page.items, page.token) == ([], None)


@pytest.mark.parametrize(
    "body",
    [
        '{"message": "x"}',
        '{"invocationJobSummaries": {}}',
        '{"invocationJobSummaries": "x"}',
        '{"nextToken": 7}',
        '{"nextToken": {}}',
    ],
)
def test_what_is_no_listing_is_malformed(body: str, api: Api, service: Service) -> None:
    """A body of the wrong shape concludes nothing."""
    service.can(body.encode())
    _, error = until_incomplete(api(MODEL_INVOCATION_JOB).pages(None))
    assert error.reason is AwsReason.MALFORMED


@pytest.mark.parametrize(
    ("date", "read"),
    [
        ("Fri, 20 Nov 2026 10:00:00 GMT", True),
        ("Fri, 20 Nov 2026 10:00:00 -0000", True),
        ("soon", False),
        ("", False),
    ],
)
def test_the_service_s_clock_is_always_with_a_zone_or_absent(
    date: str, read: bool, api: Api, service: Service
) -> None:
    """An odd Date header can be compared with submission times, or is not there."""
    served_at = listing(service, api, "{}", date=date).served_at
    assert (served_at is not None) == read
    assert served_at is None or (served_at.tzinfo is UTC and served_at == NOW.replace(microsecond=0))


def test_fields_named_like_the_sdk_s_own_are_no_errors(api: Api, service: Service) -> None:
    """A successful response with a member called Error is a success."""
    service.can(b'{"jobArn": "x", "Error": "odd"}', b'{"jobArn": "x", "Error": {"Code": "Odd"}}')
    assert api(MODEL_INVOCATION_JOB).get("x").item["Error"] == "odd"
    assert api(MODEL_INVOCATION_JOB).get("x").item["Error"] == {"Code": "Odd"}


def test_a_server_that_is_not_there_is_a_network_failure(
    make_sessions: Callable[..., Sessions], environment: pytest.MonkeyPatch
) -> None:
    """Connection refused (fault 24)."""
    environment.setenv("AWS_ENDPOINT_URL_BEDROCK_RUNTIME", "http://127.0.0.1:1")
    client = make_sessions().client(AccountAccess(), DEFAULT_REGION, "bedrock-runtime")
    with pytest.raises(AwsError) as caught:
        next(JobsApi(client, ASYNC_INVOKE).pages(None))
    assert caught.value.reason is AwsReason.NETWORK


def test_missing_credentials_are_named_as_such(
    make_sessions: Callable[..., Sessions], environment: pytest.MonkeyPatch
) -> None:
    """The reason is not the network's."""
    environment.delenv("AWS_ACCESS_KEY_ID")
    environment.delenv("AWS_SECRET_ACCESS_KEY")
    client = make_sessions().client(AccountAccess(), DEFAULT_REGION, "bedrock")
    with pytest.raises(AwsError) as caught:
        next(JobsApi(client, MODEL_INVOCATION_JOB).pages(None))
    assert caught.value.reason is AwsReason.CREDENTIALS


def test_an_argument_that_the_sdk_refuses_is_invalid(api: Api) -> None:
    """Parameters are validated before anything is sent."""
    with pytest.raises(AwsError) as caught:
        api(MODEL_INVOCATION_JOB).get(None)  # type: ignore[arg-type]
    assert caught.value.reason is AwsReason.INVALID
