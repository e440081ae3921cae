"""A queue of moto's: what becomes of its messages, of a long poll at a stop, and of a queue that fails."""

from __future__ import annotations

import asyncio
import json
import re
import threading
import time
from typing import TYPE_CHECKING, Any

import boto3
import pytest

from poller.aws import AccountAccess, Sessions
from poller.simulator import faults
from poller.wake_ups import QueueListener, SqsQueue
from tests.polling.conftest import OPEN
from tests.sinks.conftest import aws
from tests.wake_ups.samples import GARBAGE, REGION, native

if TYPE_CHECKING:
    from collections.abc import Iterator

    from structlog.typing import EventDict

    from poller.wake_ups.sqs import Message
    from tests.wake_ups.conftest import Stage

__all__ = ["aws"]


class Queue:
    """A queue of moto's, as others see it."""

    def __init__(self, endpoint: str) -> None:
        self.client = boto3.client("sqs", region_name=REGION, endpoint_url=endpoint)
        self.url = ""

    def create(self, name: str) -> None:
        """Make it."""
        self.url = self.client.create_queue(QueueName=name)["QueueUrl"]

    def send(self, *messages: Any) -> None:
        """Send messages, ten at a time."""
        bodies = [each if isinstance(each, str) else json.dumps(each) for each in messages]
        for start in range(0, len(bodies), 10):
            entries = [
                {"Id": str(number), "MessageBody": body}
                for number, body in enumerate(bodies[start : start + 10])
            ]
            sent = self.client.send_message_batch(QueueUrl=self.url, Entries=entries)
            assert not sent.get("Failed")

    def left(self) -> tuple[int, int]:
        """Messages that can be received, and messages that somebody has received."""
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        found = self.client.get_queue_attributes(QueueUrl=self.url, AttributeNames=names)["Attributes"]
        visible, received = (int(found[name]) for name in names)
        return visible, received


@pytest.fixture
def queue(aws: str, request: pytest.FixtureRequest) -> Iterator[Queue]:
    """An empty queue."""
    found = Queue(aws)
    found.create(re.sub("[^a-z]", "-", request.node.name))
    yield found
    found.client.close()


@pytest.fixture
def sessions(aws: str, stage: Stage, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sessions]:
    """The SDK's clients, as the daemon makes them; one call a second is allowed to Bedrock."""
    monkeypatch.setenv("AWS_ENDPOINT_URL_SQS", aws)
    found = Sessions(
        stage.metrics, requests_per_second=0.1, max_attempts=5, pool_size=4, stop=threading.Event()
    )
    yield found
    found.close()


def sqs(sessions: Sessions, url: str) -> SqsQueue:
    """The queue as the listener has it."""
    return SqsQueue(url, lambda: sessions.client(AccountAccess(), REGION, "sqs"))


class Listening:
    """A listener that runs as long as the block."""

    def __init__(self, stage: Stage, queue: SqsQueue) -> None:
        self.listener = QueueListener(queue, stage.dispatcher, stage.metrics)

    async def __aenter__(self) -> QueueListener:
        self.task = asyncio.create_task(self.listener.run())
        return self.listener

    async def __aexit__(self, *_: object) -> None:
        self.listener.stop()
        await self.task


def test_messages_are_deleted_after_their_poll(stage: Stage, sessions: Sessions, queue: Queue) -> None:
    """In batches, beside garbage and copies; calls to the queue take nothing of the budget for Bedrock."""

    async def during() -> None:
        arns = [stage.bench.simulator.submit_batch(script=OPEN) for _ in range(30)]
        await asyncio.to_thread(queue.send, *(native(arn, "InProgress") for arn in arns * 2), "garbage", "{}")
        async with Listening(stage, sqs(sessions, queue.url)):
            await stage.until(lambda: queue.left() == (0, 0))
        assert {each["data"]["job_arn"] for each in stage.bench.news()} == set(arns)

    stage.run(during)
    results = stage.results()
    assert results["unknown", "garbage"] == 2
    assert sum(results.values()) == 62
    assert stage.bench.count("wake_up_queue_reachable", queue=queue.url) == 1
    assert stage.bench.count("aws_api_requests_total", service="sqs", operation="ReceiveMessage") >= 7


def test_a_message_whose_poll_failed_stays(stage: Stage, sessions: Sessions, queue: Queue) -> None:
    """It comes again when its visibility timeout is over."""

    async def during() -> None:
        arn = stage.bench.simulator.submit_batch(script=OPEN)
        stage.bench.simulator.faults.add(faults.AccessDenied(operation="ListModelInvocationJobs"))
        await asyncio.to_thread(queue.send, native(arn, "InProgress"))
        async with Listening(stage, sqs(sessions, queue.url)):
            await stage.until(lambda: ("job", "failed") in stage.results())
        assert queue.left() == (0, 1)

    stage.run(during)


def test_a_stop_does_not_wait_for_a_long_poll(stage: Stage, sessions: Sessions, queue: Queue) -> None:
    """It lasts twenty seconds; what it still brings goes back to the queue at once."""

    async def during() -> None:
        async with Listening(stage, sqs(sessions, queue.url)) as listener:
            await stage.until(lambda: bool(listener._reachable))
            # Now it waits for messages.
            await asyncio.sleep(0.2)
            began = time.monotonic()
        assert time.monotonic() - began < 5
        await asyncio.to_thread(queue.send, native())
        await stage.until(lambda: queue.left() == (1, 0))
        again = sqs(sessions, queue.url)
        (message,) = await asyncio.to_thread(again.receive, wait=True)
        assert json.loads(message.body) == native()

    stage.run(during)
    assert stage.results() == {}


def test_a_queue_that_fails_is_told_once_and_heard_again(
    stage: Stage, sessions: Sessions, queue: Queue, monkeypatch: pytest.MonkeyPatch, log: list[EventDict]
) -> None:
    """A metric and one line for each change; no poll fails for it (fault 70)."""
    monkeypatch.setattr("poller.wake_ups.sqs._FIRST_PAUSE_SECONDS", 0.01)
    url = queue.url + "-of-later"

    async def during() -> None:
        async with Listening(stage, sqs(sessions, url)) as listener:
            asked = {"service": "sqs", "operation": "ReceiveMessage"}
            await stage.until(lambda: stage.bench.count("aws_api_requests_total", **asked) > 3)
            assert listener._reachable is False
            assert stage.bench.count("wake_up_queue_reachable", queue=url) == 0
            await asyncio.to_thread(queue.create, url.rpartition("/")[2])
            await asyncio.to_thread(queue.send, "garbage")
            await stage.until(lambda: queue.left() == (0, 0))
        assert stage.bench.count("wake_up_queue_reachable", queue=url) == 1

    stage.run(during)
    told = [each["event"] for each in log if each["event"].startswith("wake_ups.")]
    assert told == ["wake_ups.queue_unreachable", "wake_ups.queue_reachable"]
    assert stage.results() == {("unknown", "garbage"): 1}


def test_a_fault_of_ours_ends_no_listener(
    stage: Stage, sessions: Sessions, queue: Queue, monkeypatch: pytest.MonkeyPatch, log: list[EventDict]
) -> None:
    """Whatever it is, it is logged, and the next messages are received."""
    monkeypatch.setattr("poller.wake_ups.sqs._FIRST_PAUSE_SECONDS", 0.01)

    async def during() -> None:
        found = sqs(sessions, queue.url)
        receive, broken = found.receive, iter([True])

        def stumble(*, wait: bool) -> list[Message]:
            if next(broken, False):
                raise ZeroDivisionError
            return receive(wait=wait)

        monkeypatch.setattr(found, "receive", stumble)
        await asyncio.to_thread(queue.send, *GARBAGE[1:3])
        async with Listening(stage, found):
            await stage.until(lambda: queue.left() == (0, 0))

    stage.run(during)
    assert [each["event"] for each in log if each["log_level"] == "error"] == ["wake_ups.failed"]


def test_a_flood_waits_in_the_queue(
    stage: Stage, sessions: Sessions, queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only so many messages are held at once; the others follow as these are done with (fault 70)."""
    monkeypatch.setattr("poller.wake_ups.sqs._MOST_IN_FLIGHT", 20)

    async def during() -> None:
        arn = stage.bench.simulator.submit_batch(script=OPEN)
        await asyncio.to_thread(queue.send, *[native(arn, "InProgress")] * 100)
        async with Listening(stage, sqs(sessions, queue.url)) as listener:
            most = 0
            while queue.left() != (0, 0):
                most = max(most, listener._in_flight)
                await asyncio.sleep(0.001)
            assert 0 < most <= 29

    stage.run(during)
    assert sum(stage.results().values()) == 100
