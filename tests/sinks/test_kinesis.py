"""The Kinesis sink, against a local Kinesis read back."""

from __future__ import annotations

import time
import uuid
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import boto3
import pytest

from poller.errors import DeliveryError, DeliveryReason
from poller.sinks.conformance import Subject, sample_event
from poller.sinks.kinesis import KinesisSettings, KinesisSink
from tests.sinks.samples import EVENT, in_loop

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

REGION = "eu-west-1"

pytestmark = pytest.mark.usefixtures("credentials")


def create(client: Any) -> str:
    """Create a stream and return its ARN once it takes records."""
    name = f"stream-{uuid.uuid4().hex[:8]}"
    client.create_stream(StreamName=name, ShardCount=2)
    while True:
        found = client.describe_stream_summary(StreamName=name)["StreamDescriptionSummary"]
        if found["StreamStatus"] == "ACTIVE":
            arn: str = found["StreamARN"]
            return arn
        time.sleep(0.05)


@asynccontextmanager
async def subject(up: bool) -> AsyncIterator[Subject]:
    """The sink with its stream there or not, for the checks of conformance."""
    arn = create(boto3.client("kinesis", region_name=REGION))
    settings = KinesisSettings(stream_arn=arn if up else f"{arn}-missing")
    yield Subject(lambda: KinesisSink("stream", settings), ["AKIAC4NARY", "s3cret-canary", "t0ken-canary"])


@pytest.fixture
def kinesis(aws: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A client of the local Kinesis, which the sink finds by the SDK's own variable."""
    monkeypatch.setenv("AWS_ENDPOINT_URL_KINESIS", aws)
    return boto3.client("kinesis", region_name=REGION, endpoint_url=aws)


def records(client: Any, arn: str) -> list[dict[str, Any]]:
    """Everything in a stream, by shard."""
    found: list[dict[str, Any]] = []
    name = arn.rpartition("/")[2]
    for shard in client.list_shards(StreamName=name)["Shards"]:
        asked = {"StreamName": name, "ShardId": shard["ShardId"], "ShardIteratorType": "TRIM_HORIZON"}
        first = client.get_shard_iterator(**asked)["ShardIterator"]
        found += client.get_records(ShardIterator=first)["Records"]
    return found


@in_loop
async def test_the_record_is_the_events_bytes(kinesis: Any) -> None:
    """Under the job's ARN, or a digest of one that is too long; many jobs go out in one request."""
    arn = create(kinesis)
    long = sample_event("x" * 300)
    sink = KinesisSink("stream", KinesisSettings(stream_arn=arn))
    await sink.send([EVENT, long, *(sample_event(f"job{number}") for number in range(98))])
    await sink.close()
    found = {record["Data"]: record["PartitionKey"] for record in records(kinesis, arn)}
    assert len(found) == 100
    assert found[EVENT.body] == EVENT.job_arn
    assert len(found[long.body]) == 64


@in_loop
async def test_a_stream_that_is_not_there_is_tried_for_long(kinesis: Any) -> None:
    """It may come with the next deployment; the event is not to blame (fault 68)."""
    sink = KinesisSink("stream", KinesisSettings(stream_arn=f"{create(kinesis)}-missing"))
    with pytest.raises(DeliveryError, match="ResourceNotFoundException") as caught:
        await sink.send([EVENT])
    await sink.close()
    assert (caught.value.reason, caught.value.permanent) == (DeliveryReason.CLIENT_ERROR, False)
