"""The Firehose sink, against a local Firehose that writes to a bucket."""

from __future__ import annotations

import uuid
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import boto3
import pytest

from poller.errors import DeliveryError, DeliveryReason
from poller.sinks.conformance import Subject, sample_event
from poller.sinks.firehose import FirehoseSettings, FirehoseSink
from tests.sinks.samples import EVENT, in_loop

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

REGION = "eu-west-1"

pytestmark = pytest.mark.usefixtures("credentials")


def create(endpoint: str | None = None) -> tuple[str, str]:
    """Create a stream; its ARN, and the name of the bucket that it writes to."""
    name = f"stream-{uuid.uuid4().hex[:8]}"
    boto3.client("s3", region_name="us-east-1", endpoint_url=endpoint).create_bucket(Bucket=name)
    target = {"RoleARN": "arn:aws:iam::123456789012:role/firehose", "BucketARN": f"arn:aws:s3:::{name}"}
    client = boto3.client("firehose", region_name=REGION, endpoint_url=endpoint)
    answer = client.create_delivery_stream(DeliveryStreamName=name, S3DestinationConfiguration=target)
    return answer["DeliveryStreamARN"], name


@asynccontextmanager
async def subject(up: bool) -> AsyncIterator[Subject]:
    """The sink with its stream there or not, for the checks of conformance."""
    arn, _ = create()
    settings = FirehoseSettings(stream_arn=arn if up else f"{arn}-missing")
    yield Subject(lambda: FirehoseSink("stream", settings), ["AKIAC4NARY", "s3cret-canary", "t0ken-canary"])


@in_loop
async def test_every_record_is_a_line(aws: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What arrives in the bucket is one line for each event, with its bytes."""
    monkeypatch.setenv("AWS_ENDPOINT_URL_FIREHOSE", aws)
    arn, bucket = create(aws)
    events = [EVENT, sample_event("other")]
    sink = FirehoseSink("stream", FirehoseSettings(stream_arn=arn))
    await sink.send(events)
    await sink.close()
    s3: Any = boto3.client("s3", region_name="us-east-1", endpoint_url=aws)
    keys = [each["Key"] for each in s3.list_objects_v2(Bucket=bucket)["Contents"]]
    written = b"".join(s3.get_object(Bucket=bucket, Key=key)["Body"].read() for key in keys)
    assert sorted(written.splitlines()) == sorted(event.body for event in events)


@in_loop
async def test_a_stream_that_is_not_there_is_tried_for_long(
    aws: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may come with the next deployment; the event is not to blame (fault 68)."""
    monkeypatch.setenv("AWS_ENDPOINT_URL_FIREHOSE", aws)
    arn, _ = create(aws)
    sink = FirehoseSink("stream", FirehoseSettings(stream_arn=f"{arn}-missing"))
    with pytest.raises(DeliveryError, match="ResourceNotFoundException") as caught:
        await sink.send([EVENT])
    await sink.close()
    assert (caught.value.reason, caught.value.permanent) == (DeliveryReason.CLIENT_ERROR, False)
