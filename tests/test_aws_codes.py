"""The one table of AWS error codes, held against the SDK's own lists and against what uses it."""

from __future__ import annotations

from itertools import combinations

import pytest
from botocore.exceptions import ClientError
from botocore.retries.standard import ThrottledRetryableChecker, TransientRetryableChecker

from poller import aws_codes
from poller.aws.failures import translated
from poller.errors import AwsError, AwsReason, DeliveryReason
from poller.sinks.aws_errors import from_batch_entry, from_botocore

SDK_THROTTLED = sorted(ThrottledRetryableChecker._THROTTLED_ERROR_CODES)
REFUSED = ["NotFound", "AuthorizationError", "AccessDenied", "KMSDisabled"]
SQS_REFUSED = [
    "AWS.SimpleQueueService.NonExistentQueue",
    "QueueDoesNotExist",
    "KmsAccessDenied",
    "KmsNotFound",
]
SDK_TRANSIENT = sorted(TransientRetryableChecker._TRANSIENT_ERROR_CODES)


def answered(code: str) -> ClientError:
    """What the SDK raises for a 400 with this code."""
    answer = {"Error": {"Code": code, "Message": "no"}, "ResponseMetadata": {"HTTPStatusCode": 400}}
    return ClientError(answer, "Publish")


def polled(code: str) -> AwsReason:
    """The reason that polling gives to a code."""
    with pytest.raises(AwsError) as raised, translated("asking"):
        raise answered(code)
    return raised.value.reason


@pytest.mark.parametrize("code", sorted({*SDK_THROTTLED, *aws_codes.THROTTLED}))
def test_what_the_sdk_takes_for_throttling_is_throttling_everywhere(code: str) -> None:
    """Polling and sinks agree with the SDK on every code (fault 85)."""
    assert polled(code) is AwsReason.THROTTLED
    failure = from_botocore(answered(code), "SNS")
    assert (failure.reason, failure.permanent) == (DeliveryReason.RATE_LIMITED, False)


@pytest.mark.parametrize("code", SDK_TRANSIENT)
def test_what_the_sdk_tries_again_is_not_refused_for_good(code: str) -> None:
    """A transient code that comes with a 400 follows the long schedule (fault 85)."""
    assert not from_botocore(answered(code), "SNS").permanent


@pytest.mark.parametrize("code", sorted(aws_codes.CREDENTIALS))
def test_a_code_about_credentials_is_one_everywhere(code: str) -> None:
    """Polling and sinks name the credentials as the reason (fault 85)."""
    assert polled(code) is AwsReason.CREDENTIALS
    assert from_botocore(answered(code), "SNS").reason is DeliveryReason.CREDENTIALS


@pytest.mark.parametrize("code", [*REFUSED, *SQS_REFUSED])
def test_a_refusal_that_is_not_about_the_event_is_tried_for_long(code: str) -> None:
    """A missing receiver, permission or key is tried for long, with the service's words (fault 68)."""
    entry = {"Code": code, "Message": "no", "SenderFault": True}
    for failure in (from_botocore(answered(code), "SNS"), from_batch_entry(entry, "SNS")):
        assert (failure.reason, failure.permanent) == (DeliveryReason.CLIENT_ERROR, False)
        assert str(failure) == f"SNS answered {code}: no"


def test_a_code_has_one_meaning() -> None:
    """No code stands in two sets of the table (fault 85)."""
    sets = [value for value in vars(aws_codes).values() if isinstance(value, frozenset)]
    assert len(sets) == 7
    assert not any(one & other for one, other in combinations(sets, 2))
