"""The EventBridge sink, against a local EventBridge whose rules lead to queues."""

from __future__ import annotations

import json
import uuid
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from pydantic import ValidationError

from poller.errors import DeliveryError, DeliveryReason, PartialDeliveryError
from poller.sinks.aws_sink import Entry, failed_in_order
from poller.sinks.conformance import Subject, sample_event
from poller.sinks.eventbridge import EventBridgeSettings, EventBridgeSink
from tests.sinks.samples import EVENT, in_loop

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from poller.model import Event

REGION = "eu-west-1"

pytestmark = pytest.mark.usefixtures("credentials")


@pytest.fixture(autouse=True)
def region(monkeypatch: pytest.MonkeyPatch) -> None:
    """The SDK's current region, where a bus without an ARN is."""
    monkeypatch.setenv("AWS_DEFAULT_REGION", REGION)


@asynccontextmanager
async def subject(up: bool) -> AsyncIterator[Subject]:
    """The sink with its bus there or not, for the checks of conformance."""
    bus = f"arn:aws:events:{REGION}:123456789012:event-bus/{'default' if up else 'missing'}"
    settings = EventBridgeSettings(bus=bus)
    yield Subject(lambda: EventBridgeSink("bus", settings), ["AKIAC4NARY", "s3cret-canary", "t0ken-canary"])


class Bus:
    """A bus with a rule that leads to a queue."""

    def __init__(self, endpoint: str, pattern: dict[str, Any]) -> None:
        events = boto3.client("events", region_name=REGION, endpoint_url=endpoint)
        self._sqs = boto3.client("sqs", region_name=REGION, endpoint_url=endpoint)
        self.name = f"bus-{uuid.uuid4().hex[:8]}"
        events.create_event_bus(Name=self.name)
        self._queue = self._sqs.create_queue(QueueName=self.name)["QueueUrl"]
        asked = {"QueueUrl": self._queue, "AttributeNames": ["QueueArn"]}
        arn = self._sqs.get_queue_attributes(**asked)["Attributes"]["QueueArn"]
        events.put_rule(Name="all", EventBusName=self.name, EventPattern=json.dumps(pattern))
        events.put_targets(Rule="all", EventBusName=self.name, Targets=[{"Id": "q", "Arn": arn}])

    def arrived(self) -> list[dict[str, Any]]:
        """The events that the rule has let through."""
        answer = self._sqs.receive_message(QueueUrl=self._queue, MaxNumberOfMessages=10)
        return [json.loads(message["Body"]) for message in answer.get("Messages", ())]


async def put(bus: str, *events: Event, **settings: Any) -> None:
    """Send one batch through a sink of its own."""
    sink = EventBridgeSink("bus", EventBridgeSettings.model_validate({"bus": bus, **settings}))
    try:
        await sink.send(events)
    finally:
        await sink.close()


@in_loop
async def test_the_detail_is_the_envelope(aws: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A rule by source and detail type gets the whole event, with the job among the resources."""
    monkeypatch.setenv("AWS_ENDPOINT_URL_EVENTBRIDGE", aws)
    bus = Bus(aws, {"source": ["bedrock-poller"], "detail-type": [EVENT.type]})
    await put(bus.name, EVENT)
    (arrived,) = bus.arrived()
    assert arrived["detail"] == json.loads(EVENT.body)
    assert arrived["resources"] == [EVENT.job_arn]
    assert (arrived["region"], arrived["time"]) == (REGION, "2026-11-20T10:00:00Z")


@in_loop
async def test_a_native_detail_matches_the_rules_there_are(aws: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pattern written for AWS's own event of batch jobs finds the same members, for invocations too."""
    monkeypatch.setenv("AWS_ENDPOINT_URL_EVENTBRIDGE", aws)
    bus = Bus(aws, {"detail": {"status": ["Completed"], "batchJobArn": [{"prefix": "arn:"}]}})
    other = sample_event("other", kind="async_invoke", submitted_at=None)
    await put(
        bus.name, EVENT, other, sample_event("open", status="InProgress"), shape="native", source="ours"
    )
    found = {event["detail-type"]: event for event in bus.arrived()}
    assert found.keys() == {"Batch Inference Job State Change", "Async Invocation State Change"}
    detail = found["Batch Inference Job State Change"]["detail"]
    data = json.loads(EVENT.body)["data"]
    assert detail == {
        "version": "0.0",
        "accountId": data["account_id"],
        "batchJobName": data["job_name"],
        "batchJobArn": data["job_arn"],
        "batchModelId": data["model_id"],
        "status": "Completed",
        "failureMessage": "",
        "creationTime": "Nov 20, 2026, 09:00:00 AM",
    }
    assert found["Async Invocation State Change"]["source"] == "ours"


def test_only_the_entries_that_failed_are_reported() -> None:
    """The answer names them by their place; one that the answer forgot is not taken either (fault 32)."""
    entries = [Entry(name, {}, 1) for name in ("taken", "throttled", "silent", "forgotten")]
    results = [{"EventId": "1"}, {"ErrorCode": "ThrottlingException", "ErrorMessage": "m"}, {}]
    assert failed_in_order(results, entries, taken="EventId") == {
        "throttled": {"Code": "ThrottlingException", "Message": "m"},
        "silent": None,
        "forgotten": None,
    }


@in_loop
async def test_an_event_too_large_even_when_thinned_is_refused_alone(
    aws: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rest of the batch is put (fault 33)."""
    monkeypatch.setenv("AWS_ENDPOINT_URL_EVENTBRIDGE", aws)
    bus = Bus(aws, {"source": ["bedrock-poller"]})
    hopeless = sample_event("hopeless", message="m" * 300_000)
    with pytest.raises(PartialDeliveryError) as caught:
        await put(bus.name, hopeless, EVENT)
    assert {one: error.reason for one, error in caught.value.failures.items()} == {
        hopeless.id: DeliveryReason.TOO_LARGE
    }
    assert [event["detail"]["id"] for event in bus.arrived()] == [EVENT.id]


@in_loop
async def test_without_a_region_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name alone does not tell where the bus is; the event waits."""
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    monkeypatch.delenv("AWS_REGION", raising=False)
    with pytest.raises(DeliveryError, match="NoRegionError") as caught:
        await put("default", EVENT)
    assert caught.value.permanent is False


@pytest.mark.parametrize(
    ("bus", "region", "arn"),
    [
        ("default", None, "arn:aws:events:*:*:event-bus/default"),
        ("arn:aws:events:eu-west-1:111111111111:event-bus/ops", "eu-west-1", None),
    ],
)
def test_the_bus_tells_region_and_arn(bus: str, region: str | None, arn: str | None) -> None:
    """The permission names the bus as narrowly as it is known."""
    settings = EventBridgeSettings(bus=bus)
    assert (settings.region, settings.permissions()) == (region, {"events:PutEvents": (arn or bus,)})


@pytest.mark.parametrize("wrong", [{"source": "aws.bedrock"}, {"source": ""}, {"bus": "a b"}, {"shape": "x"}])
def test_what_the_service_would_refuse_is_refused(wrong: dict[str, str]) -> None:
    """A source of AWS's own, among others."""
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        EventBridgeSettings.model_validate(wrong)
