"""The protocol: routes, credentials, what is refused and in which form."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest

from poller.simulator.faults import Fail
from tests.simulator.raw import authorization, call

if TYPE_CHECKING:
    from poller.simulator import Simulator
    from tests.simulator.conftest import Clock

START: dict[str, Any] = {
    "modelId": "amazon.nova-reel-v1:1",
    "modelInput": {"prompt": "x"},
    "outputDataConfig": {"s3OutputDataConfig": {"s3Uri": "s3://bucket/videos"}},
}
CREATE: dict[str, Any] = {
    "jobName": "nightly-1",
    "roleArn": "arn:aws:iam::123456789012:role/batch",
    "modelId": "amazon.nova-lite-v1:0",
    "inputDataConfig": {"s3InputDataConfig": {"s3Uri": "s3://bucket/in.jsonl"}},
    "outputDataConfig": {"s3OutputDataConfig": {"s3Uri": "s3://bucket/out/"}},
}
ASYNC_ARN = "arn:aws:bedrock:us-east-1:123456789012:async-invoke/abcdefghwxyz"


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/foundation-models"),
        ("DELETE", "/async-invoke"),
        ("GET", "/async-invoke/" + ASYNC_ARN),
        ("GET", "/async-invoke/"),
        ("POST", "/model-invocation-job/abcdefghwxyz/halt"),
    ],
)
def test_a_route_that_is_not_served_is_an_unknown_operation(
    simulator: Simulator, method: str, path: str
) -> None:
    """What is none of the seven operations, an unencoded ARN included, answers 404 as the service does."""
    status, headers, body = call(simulator, method, path)
    assert (status, headers["x-amzn-errortype"]) == (404, "UnknownOperationException")
    assert set(body) == {"message"}


@pytest.mark.parametrize("path", [ASYNC_ARN.replace("/", "%2F"), quote(ASYNC_ARN, safe="")])
def test_an_arn_in_the_path_may_be_encoded_fully_or_only_its_slash(simulator: Simulator, path: str) -> None:
    """Both encodings in use among SDKs reach GetAsyncInvoke with the same ARN."""
    call(simulator, "GET", f"/async-invoke/{path}")
    (received,) = simulator.requests
    assert received.parameters == {"invocationArn": ASYNC_ARN}


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({}, "MissingAuthenticationTokenException"),
        ({"authorization": "Bearer abc"}, "IncompleteSignatureException"),
        (authorization(service="bedrock-runtime"), "InvalidSignatureException"),
    ],
)
def test_credentials_must_be_scoped_to_bedrock(
    simulator: Simulator, headers: dict[str, str], code: str
) -> None:
    """A request that is unsigned, or signed for another service, answers 403 and changes nothing."""
    status, answered, _ = call(simulator, "POST", "/async-invoke", body=START, headers=headers)
    assert (status, answered["x-amzn-errortype"]) == (403, code)
    assert not simulator.jobs()


def test_every_answer_says_which_request_it_is_and_what_time_it_is(
    simulator: Simulator, clock: Clock
) -> None:
    """Each answer has its own request id, and the simulator's time as its date."""
    first = call(simulator, "GET", "/async-invoke")[1]
    clock.tick(61)
    second = call(simulator, "GET", "/async-invoke", "maxResults=0")[1]
    assert first["date"] == "Fri, 20 Nov 2026 10:00:00 GMT"
    assert second["date"] == "Fri, 20 Nov 2026 10:01:01 GMT"
    assert first["x-amzn-requestid"] != second["x-amzn-requestid"]


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("maxResults=1001", "Member must have value less than or equal to 1000"),
        ("maxResults=0", "Member must have value greater than or equal to 1"),
        ("statusEquals=Sleeping", "Member must satisfy enum value set: [InProgress, Completed, Failed]"),
        ("sortOrder=Sideways", "enum value set"),
        ("nextToken=", "length greater than or equal to 1"),
        ("nextToken=a%20b", r"regular expression pattern: \S*"),
        ("nextToken=" + "x" * 2049, "length less than or equal to 2048"),
    ],
)
def test_a_query_is_held_to_the_model(simulator: Simulator, query: str, said: str) -> None:
    """Bounds, enumerations and patterns that SDKs do not check are refused with a ValidationException."""
    status, headers, body = call(simulator, "GET", "/async-invoke", query)
    assert (status, headers["x-amzn-errortype"]) == (400, "ValidationException")
    assert body["message"].startswith("1 validation error detected: ")
    assert said in body["message"]


@pytest.mark.parametrize(
    "query",
    [
        "maxResults=ten",
        "maxResults=",
        "submitTimeAfter=1763632800",
        "submitTimeAfter=2026-11-20",
        "submitTimeAfter=2026-13-45T00:00:00Z",
    ],
)
def test_a_query_of_the_wrong_type_cannot_be_read(simulator: Simulator, query: str) -> None:
    """What is no integer or no ISO 8601 time answers SerializationException."""
    status, headers, _ = call(simulator, "GET", "/async-invoke", query)
    assert (status, headers["x-amzn-errortype"]) == (400, "SerializationException")


@pytest.mark.parametrize(
    "body",
    [b"{", b"[]", b"[" * 200_000, {**START, "modelId": 7}, {**START, "tags": {}}, {**START, "modelId": True}],
)
def test_a_body_of_the_wrong_type_cannot_be_read(simulator: Simulator, body: Any) -> None:
    """What is not a JSON object of the right types answers SerializationException."""
    status, headers, _ = call(simulator, "POST", "/async-invoke", body=body)
    assert (status, headers["x-amzn-errortype"]) == (400, "SerializationException")


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"jobName": None}, "jobName"),
        ({"jobName": "under_score"}, "jobName"),
        ({"jobName": "a" + "-" * 60 + "!"}, "jobName"),
        ({"jobName": "a" * 64}, "jobName"),
        ({"modelId": "no model!"}, "modelId"),
        ({"timeoutDurationInHours": 23}, "timeoutDurationInHours"),
        ({"timeoutDurationInHours": 169}, "timeoutDurationInHours"),
        ({"outputDataConfig": {}}, "outputDataConfig"),
        ({"outputDataConfig": {"s3OutputDataConfig": {}}}, "outputDataConfig.s3OutputDataConfig.s3Uri"),
        ({"vpcConfig": {"subnetIds": ["s"], "securityGroupIds": []}}, "vpcConfig.securityGroupIds"),
        ({"vpcConfig": {"subnetIds": ["!"], "securityGroupIds": ["g"]}}, "vpcConfig.subnetIds.1.member"),
        ({"clientRequestToken": "under_score"}, "clientRequestToken"),
    ],
)
def test_a_body_is_held_to_the_model(simulator: Simulator, change: dict[str, Any], path: str) -> None:
    """Everything the model constrains, down to members of lists and unions, is refused by its path."""
    status, headers, body = call(simulator, "POST", "/model-invocation-job", body={**CREATE, **change})
    assert (status, headers["x-amzn-errortype"]) == (400, "ValidationException")
    assert f"at '{path}' failed to satisfy constraint" in body["message"]
    assert not simulator.jobs()


def test_everything_wrong_is_named_at_once(simulator: Simulator) -> None:
    """One answer lists every constraint that a request breaks."""
    for sent in ({"jobName": "!"}, b""):
        _, _, body = call(simulator, "POST", "/model-invocation-job", body=sent)
        assert body["message"].startswith("5 validation errors detected: ")


def test_what_the_model_does_not_know_is_ignored(simulator: Simulator) -> None:
    """Unknown members and query parameters are passed over, as the service does."""
    status, _, _ = call(simulator, "POST", "/async-invoke", "x=1", {**START, "surprise": 1, "tags": None})
    assert status == 200
    assert simulator.requests.count("StartAsyncInvoke") == 1


def test_a_bad_arn_is_refused_before_it_is_looked_up(simulator: Simulator) -> None:
    """An identifier that breaks the pattern answers ValidationException, not NotFound."""
    assert (
        call(simulator, "GET", "/model-invocation-job/NOPE")[1]["x-amzn-errortype"] == "ValidationException"
    )
    assert call(simulator, "GET", "/async-invoke/%FF%FE")[1]["x-amzn-errortype"] == "ValidationException"


def test_a_fault_comes_before_the_validation(simulator: Simulator) -> None:
    """A broken service fails whatever it is sent."""
    simulator.faults.add(Fail(code="ServiceUnavailableException", status=503))
    assert call(simulator, "GET", "/async-invoke", "maxResults=0")[0] == 503
