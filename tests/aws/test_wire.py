"""The parser that leaves the service's JSON alone, against botocore's models."""

from __future__ import annotations

from typing import Any

import botocore.session
import pytest
from botocore.parsers import ResponseParserError

from poller.aws.wire import VERBATIM_SHAPES, VerbatimParser, VerbatimParserFactory
from poller.kinds import KINDS, Kind

every_kind = pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)


def output_shape(kind: Kind, operation: str) -> Any:
    """The output shape of an operation."""
    return botocore.session.Session().get_service_model(kind.service).operation_model(operation).output_shape


@every_kind
def test_the_shapes_are_those_of_the_declared_operations(kind: Kind) -> None:
    """Each kind's list and Get responses are passed through, and are called what the model calls them."""
    for operation in (kind.list_operation, kind.get_operation):
        assert output_shape(kind, operation).name in VERBATIM_SHAPES


def test_no_other_operation_is_passed_through() -> None:
    """The shapes are exactly as many as the operations."""
    assert len(VERBATIM_SHAPES) == 2 * len(KINDS)


def test_errors_are_parsed_as_ever() -> None:
    """The code and the message are where the SDK looks for them."""
    response = {
        "body": b'{"message": "slow down"}',
        "headers": {"x-amzn-errortype": "ThrottlingException"},
        "status_code": 429,
    }
    shape = output_shape(KINDS["async_invoke"], "ListAsyncInvokes")
    parsed = VerbatimParser().parse(response, shape)
    assert parsed["Error"] == {"Code": "ThrottlingException", "Message": "slow down"}


def test_other_operations_are_parsed_as_ever() -> None:
    """Their times are times, and members that the model does not know are left out."""
    kind = KINDS["model_invocation_job"]
    shape = output_shape(kind, "GetCustomModel")
    body = b'{"modelArn": "x", "creationTime": "2026-11-20T10:00:00Z", "unknown": 1}'
    parsed = VerbatimParser().parse({"body": body, "headers": {}, "status_code": 200}, shape)
    assert parsed["creationTime"].year == 2026
    assert "unknown" not in parsed
    assert VerbatimParser().parse({"body": b"", "headers": {}, "status_code": 200}, None) is not None


def test_the_metadata_is_what_the_sdk_s_own_parser_makes() -> None:
    """Request id, status and headers in lower case."""
    response = {
        "body": b'{"asyncInvokeSummaries": []}',
        "headers": {"X-Amzn-RequestId": "r1", "Date": "today"},
        "status_code": 200,
    }
    parsed = VerbatimParser().parse(response, output_shape(KINDS["async_invoke"], "ListAsyncInvokes"))
    assert parsed == {
        "asyncInvokeSummaries": [],
        "ResponseMetadata": {
            "RequestId": "r1",
            "HTTPStatusCode": 200,
            "HTTPHeaders": {"x-amzn-requestid": "r1", "date": "today"},
        },
    }


@pytest.mark.parametrize("body", [b"", b"null", b"[]", b"7", b"{", b"<html>", b"\xff", b"[" * 10**6])
def test_what_is_no_json_object_is_an_error_of_the_parser(body: bytes) -> None:
    """However deep or broken it is."""
    shape = output_shape(KINDS["async_invoke"], "ListAsyncInvokes")
    with pytest.raises(ResponseParserError):
        VerbatimParser().parse({"body": body, "headers": {}, "status_code": 200}, shape)


def test_other_protocols_get_their_own_parsers() -> None:
    """STS speaks another one."""
    factory = VerbatimParserFactory()
    assert isinstance(factory.create_parser("rest-json"), VerbatimParser)
    assert not isinstance(factory.create_parser("query"), VerbatimParser)
