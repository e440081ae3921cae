"""The SNS sink, against a local SNS read back through SQS, and against answers that none gives on demand."""

from __future__ import annotations

import asyncio
import json
import uuid
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

import boto3
import pytest
from aiohttp import web
from pydantic import ValidationError

from poller.errors import DeliveryError, DeliveryReason, PartialDeliveryError
from poller.sinks.aws_sink import without_job
from poller.sinks.conformance import Subject, sample_event
from poller.sinks.sns import SnsSettings, SnsSink
from tests.sinks.samples import EVENT, everything_shown, in_loop, raw_server, receiver

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from poller.model import Event
    from tests.sinks.samples import Received

REGION = "eu-west-1"
ARN = f"arn:aws:sns:{REGION}:123456789012:jobs"
LIMIT = 256 * 1024


pytestmark = pytest.mark.usefixtures("credentials")


@asynccontextmanager
async def subject(up: bool) -> AsyncIterator[Subject]:
    """The sink with its topic there or not, for the checks of conformance."""
    topic = boto3.client("sns", region_name=REGION).create_topic(Name="conformance")["TopicArn"]
    settings = SnsSettings(topic_arn=topic if up else f"{topic}-missing")
    yield Subject(lambda: SnsSink("topic", settings), ["AKIAC4NARY", "s3cret-canary", "t0ken-canary"])


class Cloud:
    """Topics with queues behind them."""

    def __init__(self, endpoint: str) -> None:
        session = boto3.Session(
            aws_access_key_id="AKIATEST", aws_secret_access_key="test", region_name=REGION
        )
        self.sns = session.client("sns", endpoint_url=endpoint)
        self.sqs = session.client("sqs", endpoint_url=endpoint)

    def topic(self, *, fifo: bool = False) -> str:
        """Create a topic and return its ARN."""
        name = f"jobs-{uuid.uuid4().hex[:8]}" + (".fifo" if fifo else "")
        attributes = {"FifoTopic": "true"} if fifo else {}
        arn: str = self.sns.create_topic(Name=name, Attributes=attributes)["TopicArn"]
        return arn

    def queue(self, topic: str, policy: dict[str, Any] | None = None, *, raw: bool = True) -> str:
        """Subscribe a new queue to a topic and return its URL."""
        fifo = topic.endswith(".fifo")
        name = f"queue-{uuid.uuid4().hex[:8]}" + (".fifo" if fifo else "")
        url: str = self.sqs.create_queue(QueueName=name, Attributes={"FifoQueue": "true"} if fifo else {})[
            "QueueUrl"
        ]
        arn = self.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"][
            "QueueArn"
        ]
        attributes = {"RawMessageDelivery": str(raw).lower()}
        if policy is not None:
            attributes["FilterPolicy"] = json.dumps(policy)
        self.sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn, Attributes=attributes)
        return url

    def messages(self, queue: str) -> list[dict[str, Any]]:
        """Take everything out of a queue."""
        found: list[dict[str, Any]] = []
        while True:
            answer = self.sqs.receive_message(
                QueueUrl=queue, MaxNumberOfMessages=10, MessageAttributeNames=["All"], AttributeNames=["All"]
            )
            if not answer.get("Messages"):
                return found
            found.extend(answer["Messages"])
            for message in answer["Messages"]:
                self.sqs.delete_message(QueueUrl=queue, ReceiptHandle=message["ReceiptHandle"])


@pytest.fixture
def cloud(aws: str, monkeypatch: pytest.MonkeyPatch) -> Cloud:
    """Point the sink at the local SNS, by the SDK's own variable."""
    monkeypatch.setenv("AWS_ENDPOINT_URL_SNS", aws)
    return Cloud(aws)


async def publish(topic: str, *events: Event, **settings: Any) -> None:
    """Send one batch through a sink of its own."""
    sink = SnsSink("topic", SnsSettings.model_validate({"type": "sns", "topic_arn": topic, **settings}))
    try:
        await sink.send(events)
    finally:
        await sink.close()


@in_loop
async def test_the_message_is_the_events_bytes(cloud: Cloud) -> None:
    """A subscriber reads exactly the envelope, with the attributes of the contract beside it."""
    topic = cloud.topic()
    queue = cloud.queue(topic)
    await publish(topic, EVENT)
    (message,) = cloud.messages(queue)
    assert message["Body"].encode() == EVENT.body
    attributes = {name: value["StringValue"] for name, value in message["MessageAttributes"].items()}
    assert attributes == {
        "type": "bedrock-poller.job.status_changed",
        "kind": "model_invocation_job",
        "status": "Completed",
        "outcome": "succeeded",
        "region": "us-east-1",
        "target": "prod",
    }


@pytest.mark.parametrize(
    ("data", "subject"),
    [
        ({}, "nightly-summaries Completed (bedrock-poller)"),
        ({"job_name": None}, "sample000000 Completed (bedrock-poller)"),
        ({"job_name": "naïve\r\nBcc: x", "status": "Failed"}, "na?ve??Bcc: x Failed (bedrock-poller)"),
        ({"job_name": "x" * 500}, "x" * 72 + " Completed (bedrock-poller)"),
        ({"status": "é" * 9000, "job_name": " n"}, "n " + "?" * 40 + " (bedrock-poller)"),
    ],
)
@in_loop
async def test_an_e_mail_has_a_subject(cloud: Cloud, data: dict[str, Any], subject: str) -> None:
    """The job and what became of it, in at most 99 printable characters of ASCII (fault 89)."""
    topic = cloud.topic()
    queue = cloud.queue(topic, raw=False)
    await publish(topic, sample_event(**data), sample_event("another00000"))
    subjects = {json.loads(message["Body"])["Subject"] for message in cloud.messages(queue)}
    assert subject in subjects
    assert len(subject) < 100


@in_loop
async def test_filter_policies_choose_by_attribute(cloud: Cloud) -> None:
    """A subscription for failures gets them and nothing else; an open job has no outcome to match."""
    topic = cloud.topic()
    failures = cloud.queue(topic, {"outcome": ["failed"], "kind": ["model_invocation_job"]})
    still_open = cloud.queue(topic, {"outcome": [{"exists": False}]})
    await publish(
        topic,
        sample_event("one"),
        sample_event("two", status="Failed", outcome="failed"),
        sample_event("three", status="InProgress", outcome=None, terminal=False),
    )
    assert [json.loads(one["Body"])["data"]["job_id"] for one in cloud.messages(failures)] == ["two"]
    assert [json.loads(one["Body"])["data"]["job_id"] for one in cloud.messages(still_open)] == ["three"]


@in_loop
async def test_a_fifo_topic_groups_by_job_and_drops_copies(cloud: Cloud) -> None:
    """The group is the job, the deduplication id the event's, and a copy does not come out again."""
    topic = cloud.topic(fifo=True)
    queue = cloud.queue(topic)
    await publish(topic, EVENT, sample_event("other"))
    await publish(topic, EVENT)
    found = {message["Attributes"]["MessageGroupId"]: message for message in cloud.messages(queue)}
    assert found.keys() == {EVENT.job_arn, sample_event("other").job_arn}
    assert found[EVENT.job_arn]["Attributes"]["MessageDeduplicationId"] == EVENT.id


@in_loop
async def test_a_full_batch_of_large_events_is_split(cloud: Cloud) -> None:
    """Ten events that exceed one request together go out in several."""
    topic = cloud.topic()
    queue = cloud.queue(topic)
    events = [sample_event(f"job{i}", job={"blob": "x" * 100_000}) for i in range(10)]
    await publish(topic, *events)
    assert {message["Body"].encode() for message in cloud.messages(queue)} == {event.body for event in events}


@in_loop
async def test_an_event_above_the_limit_is_thinned(cloud: Cloud) -> None:
    """The job's own fields go, a marker comes, everything else stays; the others of the batch are whole.

    Injects fault 33.
    """
    topic = cloud.topic()
    queue = cloud.queue(topic)
    large = sample_event("large", job={"blob": "x" * 300_000})
    await publish(topic, large, EVENT)
    found = {json.loads(one["Body"])["id"]: json.loads(one["Body"]) for one in cloud.messages(queue)}
    assert found[EVENT.id] == json.loads(EVENT.body)
    whole = json.loads(large.body)
    assert found[large.id] == {**whole, "data": {**whole["data"], "job": None, "truncated": True}}
    assert without_job(large.body) == without_job(large.body)


@in_loop
async def test_an_event_too_large_even_when_thinned_is_refused_alone(cloud: Cloud) -> None:
    """It becomes a permanent failure of its own; the rest of the batch is published (fault 33)."""
    topic = cloud.topic()
    queue = cloud.queue(topic)
    hopeless = sample_event("hopeless", message="m" * 300_000)
    with pytest.raises(PartialDeliveryError) as caught:
        await publish(topic, hopeless, EVENT)
    (failure,) = caught.value.failures.values()
    assert caught.value.failures.keys() == {hopeless.id}
    assert (failure.reason, failure.permanent) == (DeliveryReason.TOO_LARGE, True)
    assert [message["Body"].encode() for message in cloud.messages(queue)] == [EVENT.body]


@in_loop
async def test_only_the_entries_that_failed_are_reported(cloud: Cloud) -> None:
    """What the topic refused as such is permanent; its neighbours are out and are not sent again.

    Injects fault 32.
    """
    topic = cloud.topic()
    queue = cloud.queue(topic)
    # This server takes 256 KiB; the sink is told that the topic takes more.
    large = sample_event("large", job={"blob": "x" * 300_000})
    with pytest.raises(PartialDeliveryError) as caught:
        await publish(
            topic, sample_event("before"), large, sample_event("after"), max_message_size=1024 * 1024
        )
    assert caught.value.failures.keys() == {large.id}
    failure = caught.value.failures[large.id]
    assert (failure.reason, failure.permanent) == (DeliveryReason.CLIENT_ERROR, True)
    assert len(cloud.messages(queue)) == 2


@in_loop
async def test_a_topic_that_is_not_there_is_tried_for_long(cloud: Cloud) -> None:
    """NotFound is not about the event, and one event's failure comes as itself (fault 68)."""
    with pytest.raises(DeliveryError, match="NotFound") as caught:
        await publish(f"{cloud.topic()}-missing", EVENT)
    assert (caught.value.reason, caught.value.permanent) == (DeliveryReason.CLIENT_ERROR, False)


@in_loop
async def test_text_that_sns_cannot_carry_is_replaced_in_attributes(cloud: Cloud) -> None:
    """A status with control characters or half a surrogate pair still goes out, verbatim in the message.

    Injects fault 45.
    """
    topic = cloud.topic()
    queue = cloud.queue(topic)
    hostile = sample_event(status="a\x00b\ud800c\ufffe" + "d" * 1000, outcome="")
    await publish(topic, hostile)
    (message,) = cloud.messages(queue)
    assert message["Body"].encode() == hostile.body
    status = message["MessageAttributes"]["status"]["StringValue"]
    assert status == "a\ufffdb\ufffdc\ufffd" + "d" * 250
    assert "outcome" not in message["MessageAttributes"]


@in_loop
async def test_a_job_that_makes_no_group_name_gets_a_digest(cloud: Cloud) -> None:
    """A strange or long job name still makes a valid message group, always the same."""
    topic = cloud.topic(fifo=True)
    queue = cloud.queue(topic)
    await publish(topic, sample_event("ü" * 10), sample_event("x" * 200), sample_event("\ud800"))
    groups = {message["Attributes"]["MessageGroupId"] for message in cloud.messages(queue)}
    assert len(groups) == 3
    assert all(len(group) == 64 and group.isalnum() for group in groups)


def refusal(status: int, code: str, message: str = "because") -> Callable[[Received], web.Response]:
    """Answer like SNS that refuses."""
    text = (
        f"<ErrorResponse><Error><Type>Sender</Type><Code>{code}</Code><Message>{message}</Message></Error>"
        "<RequestId>1</RequestId></ErrorResponse>"
    )
    return lambda _: web.Response(status=status, text=text, content_type="text/xml")


def result(inner: str) -> Callable[[Received], web.Response]:
    """Answer like SNS that published some."""
    text = f"<PublishBatchResponse><PublishBatchResult>{inner}</PublishBatchResult></PublishBatchResponse>"
    return lambda _: web.Response(text=text, content_type="text/xml")


FAILED = (
    "<Failed><member><Id>0</Id><Code>{code}</Code><Message>m</Message><SenderFault>{fault}</SenderFault>"
    "</member></Failed>"
)


@pytest.mark.parametrize(
    ("answer", "reason", "permanent"),
    [
        (refusal(400, "Throttling"), DeliveryReason.RATE_LIMITED, False),
        (refusal(429, "TooManyRequestsException"), DeliveryReason.RATE_LIMITED, False),
        (refusal(400, "Throttled"), DeliveryReason.RATE_LIMITED, False),
        (refusal(403, "ExpiredToken"), DeliveryReason.CREDENTIALS, False),
        (refusal(403, "InvalidClientTokenId"), DeliveryReason.CREDENTIALS, False),
        (
            refusal(403, "SignatureDoesNotMatch", "x-amz-security-token:t0ken-canary"),
            DeliveryReason.CREDENTIALS,
            False,
        ),
        (refusal(403, "AuthorizationError"), DeliveryReason.CLIENT_ERROR, False),
        (refusal(404, "NotFound"), DeliveryReason.CLIENT_ERROR, False),
        (refusal(400, "ThrottledException"), DeliveryReason.RATE_LIMITED, False),
        (refusal(400, "InvalidParameter"), DeliveryReason.CLIENT_ERROR, True),
        (refusal(400, "BatchRequestTooLong"), DeliveryReason.TOO_LARGE, True),
        (refusal(500, "InternalError"), DeliveryReason.SERVER_ERROR, False),
        (refusal(500, "InternalError", "token t0ken-canary"), DeliveryReason.SERVER_ERROR, False),
        (refusal(503, "ServiceUnavailable"), DeliveryReason.SERVER_ERROR, False),
        (
            lambda _: web.Response(status=502, text="<html>bad gateway</html>"),
            DeliveryReason.SERVER_ERROR,
            False,
        ),
        (lambda _: web.Response(text="not <xml"), DeliveryReason.RESPONSE, False),
        (lambda _: web.Response(text="<Other/>"), DeliveryReason.RESPONSE, False),
        (result(""), DeliveryReason.RESPONSE, False),
        (result(FAILED.format(code="InternalError", fault="false")), DeliveryReason.SERVER_ERROR, False),
        (result(FAILED.format(code="InvalidParameter", fault="true")), DeliveryReason.CLIENT_ERROR, True),
        (result(FAILED.format(code="Throttled", fault="true")), DeliveryReason.RATE_LIMITED, False),
    ],
)
@in_loop
async def test_what_the_service_says_becomes_a_reason(
    answer: Callable[[Received], web.Response],
    reason: DeliveryReason,
    permanent: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each answer maps to one reason, is asked for once, and shows no credentials."""
    async with receiver(answer) as found:
        monkeypatch.setenv("AWS_ENDPOINT_URL_SNS", f"http://127.0.0.1:{found.port}")
        with pytest.raises(DeliveryError) as caught:
            await publish(ARN, EVENT)
    assert (caught.value.reason, caught.value.permanent) == (reason, permanent)
    assert "canary" not in everything_shown(caught.value).lower()
    (request,) = found.requests
    assert "app/bedrock-poller" in request.headers["user-agent"]
    assert parse_qs(request.body.decode())["TopicArn"] == [ARN]


@in_loop
async def test_a_later_request_that_fails_does_not_undo_the_earlier(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a batch split in two, what the first request published is not reported."""
    good = result("<Successful><member><Id>0</Id><MessageId>m</MessageId></member></Successful>")
    answers = {1: good, 2: refusal(400, "Throttling")}

    def answer(got: Received) -> web.Response:
        return answers[len(found.requests)](got)

    async with receiver(answer) as found:
        monkeypatch.setenv("AWS_ENDPOINT_URL_SNS", f"http://127.0.0.1:{found.port}")
        events = [sample_event(f"job{i}", job={"blob": "x" * 200_000}) for i in range(2)]
        with pytest.raises(PartialDeliveryError) as caught:
            await publish(ARN, *events)
    assert caught.value.failures.keys() == {events[1].id}
    assert caught.value.failures[events[1].id].reason is DeliveryReason.RATE_LIMITED


@in_loop
async def test_a_connection_that_fails_becomes_a_reason(
    monkeypatch: pytest.MonkeyPatch, names: dict[str, list[str]]
) -> None:
    """Nobody listening, an unknown name, a reset, silence and a wrong TLS are told apart."""
    names["nowhere.example"] = []

    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(60)

    async with raw_server(hang_up) as reset, raw_server(silent) as slow, receiver() as plain:
        cases = {
            "http://127.0.0.1:9": DeliveryReason.CONNECT,
            "http://nowhere.example": DeliveryReason.DNS,
            f"http://127.0.0.1:{reset}": DeliveryReason.RESPONSE,
            f"http://127.0.0.1:{slow}": DeliveryReason.TIMEOUT,
            f"https://127.0.0.1:{plain.port}": DeliveryReason.TLS,
        }
        for endpoint, reason in cases.items():
            monkeypatch.setenv("AWS_ENDPOINT_URL_SNS", endpoint)
            with pytest.raises(DeliveryError) as caught:
                await publish(ARN, EVENT, timeout="300ms")
            assert (caught.value.reason, caught.value.permanent) == (reason, False), endpoint
            assert "canary" not in everything_shown(caught.value)


@in_loop
async def test_missing_credentials_are_a_failure_to_be_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """They may come back; the delivery waits."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name)
    with pytest.raises(DeliveryError) as caught:
        await publish(ARN, EVENT)
    assert (caught.value.reason, caught.value.permanent) == (DeliveryReason.CREDENTIALS, False)


@in_loop
async def test_an_sdk_that_cannot_be_set_up_is_a_failure_of_the_sink(monkeypatch: pytest.MonkeyPatch) -> None:
    """A wrong setting of the SDK's own is reported with the name of its complaint."""
    monkeypatch.setenv("AWS_RETRY_MODE", "never")
    monkeypatch.setenv("AWS_STS_REGIONAL_ENDPOINTS", "nonsense")
    with pytest.raises(DeliveryError) as caught:
        await publish(ARN, EVENT)
    assert caught.value.reason is DeliveryReason.SINK


@in_loop
async def test_sends_at_once_share_one_client(cloud: Cloud) -> None:
    """Many first sends at once make one client, and each event arrives."""
    topic = cloud.topic()
    queue = cloud.queue(topic)
    sink = SnsSink("topic", SnsSettings(topic_arn=topic))
    await asyncio.gather(*(sink.send([sample_event(f"job{i}")]) for i in range(16)))
    await sink.close()
    assert len(cloud.messages(queue)) == 16


@pytest.mark.parametrize(
    "arn",
    [
        ARN,
        f"{ARN}.fifo",
        "arn:aws-cn:sns:cn-north-1:123456789012:jobs",
        "arn:aws-us-gov:sns:us-gov-west-1:123456789012:A_b-9",
    ],
)
def test_topics_of_every_partition_are_taken(arn: str) -> None:
    """Region and kind of topic are read from the ARN."""
    settings = SnsSettings(topic_arn=arn)
    assert settings.region == arn.split(":")[3]
    assert settings.fifo == arn.endswith(".fifo")


@pytest.mark.parametrize(
    "arn",
    ["", "jobs", "arn:aws:sqs:eu-west-1:123456789012:jobs", ARN + "\n", ARN + ":sub", "arn:aws:sns::1:jobs"],
)
def test_what_is_no_topic_is_refused(arn: str) -> None:
    """A queue, a subscription or a half ARN is found when the configuration is read."""
    with pytest.raises(ValidationError, match="topic_arn"):
        SnsSettings(topic_arn=arn)
