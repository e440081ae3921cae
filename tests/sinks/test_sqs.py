"""The SQS sink, against a local SQS read back."""

from __future__ import annotations

import json
import uuid
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from pydantic import ValidationError

from poller.errors import DeliveryError, DeliveryReason
from poller.sinks.conformance import Subject, sample_event
from poller.sinks.sqs import SqsSettings, SqsSink
from tests.sinks.samples import EVENT, in_loop

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from poller.model import Event

REGION = "eu-west-1"

pytestmark = pytest.mark.usefixtures("credentials")


@asynccontextmanager
async def subject(up: bool) -> AsyncIterator[Subject]:
    """The sink with its queue there or not, for the checks of conformance."""
    url = boto3.client("sqs", region_name=REGION).create_queue(QueueName="conformance")["QueueUrl"]
    settings = SqsSettings(queue_url=url if up else f"{url}-missing")
    yield Subject(lambda: SqsSink("queue", settings), ["AKIAC4NARY", "s3cret-canary", "t0ken-canary"])


@pytest.fixture
def sqs(aws: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A client of the local SQS, which the sink finds by the SDK's own variable."""
    monkeypatch.setenv("AWS_ENDPOINT_URL_SQS", aws)
    monkeypatch.setenv("AWS_DEFAULT_REGION", REGION)
    return boto3.client("sqs", region_name=REGION, endpoint_url=aws)


def create(sqs: Any, *, fifo: bool = False) -> str:
    """Create a queue and return its URL."""
    name = f"queue-{uuid.uuid4().hex[:8]}" + (".fifo" if fifo else "")
    url: str = sqs.create_queue(QueueName=name, Attributes={"FifoQueue": "true"} if fifo else {})["QueueUrl"]
    return url


def messages(sqs: Any, url: str) -> list[dict[str, Any]]:
    """Take everything out of a queue."""
    found: list[dict[str, Any]] = []
    asked = {"MaxNumberOfMessages": 10, "MessageAttributeNames": ["All"], "AttributeNames": ["All"]}
    while some := sqs.receive_message(QueueUrl=url, **asked).get("Messages"):
        found += some
        for each in some:
            sqs.delete_message(QueueUrl=url, ReceiptHandle=each["ReceiptHandle"])
    return found


async def deliver(url: str, *events: Event) -> None:
    """Send one batch through a sink of its own."""
    sink = SqsSink("queue", SqsSettings(queue_url=url))
    try:
        await sink.send(events)
    finally:
        await sink.close()


@in_loop
async def test_the_message_is_the_events_bytes(sqs: Any) -> None:
    """A consumer reads exactly the envelope, with the attributes of the contract beside it."""
    url = create(sqs)
    await deliver(url, EVENT)
    (message,) = messages(sqs, url)
    assert message["Body"].encode() == EVENT.body
    attributes = {name: value["StringValue"] for name, value in message["MessageAttributes"].items()}
    assert attributes.keys() == {"type", "kind", "status", "outcome", "region", "target"}
    assert (attributes["type"], attributes["outcome"]) == (EVENT.type, "succeeded")


@in_loop
async def test_a_fifo_queue_groups_by_job_and_drops_copies(sqs: Any) -> None:
    """The group is the job, the deduplication id the event's, and a copy does not come out again."""
    url = create(sqs, fifo=True)
    other = sample_event("other")
    await deliver(url, EVENT, other)
    await deliver(url, EVENT)
    found = {each["Attributes"]["MessageGroupId"]: each["Attributes"] for each in messages(sqs, url)}
    assert found.keys() == {EVENT.job_arn, other.job_arn}
    assert found[EVENT.job_arn]["MessageDeduplicationId"] == EVENT.id


@in_loop
async def test_a_large_event_is_thinned_and_a_full_batch_split(sqs: Any) -> None:
    """Ten events that exceed one request go out in several, the one above the limit without its job."""
    url = create(sqs)
    events = [sample_event(f"job{number}", job={"blob": "x" * 100_000}) for number in range(9)]
    await deliver(url, *events, sample_event("large", job={"blob": "x" * 300_000}))
    found = [json.loads(each["Body"])["data"] for each in messages(sqs, url)]
    assert len(found) == 10
    assert [data["job_id"] for data in found if data.get("truncated")] == ["large"]


@in_loop
async def test_a_queue_that_is_not_there_is_tried_for_long(sqs: Any) -> None:
    """It may come with the next deployment; the event is not to blame (fault 68)."""
    with pytest.raises(DeliveryError, match=r"NonExistentQueue|QueueDoesNotExist") as caught:
        await deliver(f"{create(sqs)}-missing", EVENT)
    assert (caught.value.reason, caught.value.permanent) == (DeliveryReason.CLIENT_ERROR, False)


@pytest.mark.parametrize(
    ("host", "name", "region", "start"),
    [
        ("https://sqs.eu-west-1.amazonaws.com", "jobs", "eu-west-1", "arn:aws:sqs:eu-west-1"),
        ("https://sqs.cn-north-1.amazonaws.com.cn", "j.fifo", "cn-north-1", "arn:aws-cn:sqs:cn-north-1"),
        ("https://sqs.us-gov-west-1.amazonaws.com", "j", "us-gov-west-1", "arn:aws-us-gov:sqs:us-gov-west-1"),
        ("https://sqs-fips.us-east-1.amazonaws.com", "jobs", "us-east-1", "arn:aws:sqs:us-east-1"),
        ("https://vpce-0a1.sqs.eu-west-1.vpce.amazonaws.com", "j", "eu-west-1", "arn:aws:sqs:eu-west-1"),
        ("http://127.0.0.1:5000", "jobs", None, "arn:aws:sqs:*"),
    ],
)
def test_the_url_tells_region_and_arn(host: str, name: str, region: str | None, start: str) -> None:
    """Requests go to the queue's region, and the permission names the queue."""
    settings = SqsSettings(queue_url=f"{host}/111111111111/{name}")
    assert settings.region == region
    assert settings.permissions() == {"sqs:SendMessage": (f"{start}:111111111111:{name}",)}
    assert settings.fifo is name.endswith(".fifo")


@pytest.mark.parametrize(
    "url", ["jobs", "https://sqs.eu-west-1.amazonaws.com/jobs", "https://u:p@h/111111111111/j"]
)
def test_what_is_no_queue_is_refused(url: str) -> None:
    """Before anything is sent."""
    with pytest.raises(ValidationError, match="queue_url"):
        SqsSettings(queue_url=url)
