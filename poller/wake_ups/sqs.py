"""Listens to a queue of SQS: long polls, deletes in batches, and waits when the queue cannot be reached.

Calls block, so they run in daemon threads of their own: a long poll lasts twenty seconds, and a stop does not
wait for it. What it still brings is given back to the queue at once. A message that is not deleted comes
again after its visibility timeout, so nothing is lost by a kill.
"""

from __future__ import annotations

import asyncio
import random
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from poller import logs
from poller.aws.failures import translated
from poller.errors import AwsError
from poller.threads import DaemonThreads

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from poller.aws.sessions import Client
    from poller.metrics import Metrics
    from poller.wake_ups.dispatcher import Dispatcher

_log = logs.get(__name__)

VISIBILITY_SECONDS = 60
"""How long a message stays with the replica that received it."""
_WAIT_SECONDS = 20
_BATCH = 10
_MOST_IN_FLIGHT = 5000
"""Messages that wait for their polls; the rest stays in the queue."""
_FIRST_PAUSE_SECONDS = 1.0
_LONGEST_PAUSE_SECONDS = 60.0
_FLUSH_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Message:
    """A message, and what it is deleted by."""

    body: str
    receipt: str


class SqsQueue:
    """One queue; every method blocks, and raises `AwsError` for whatever fails.

    Args:
        url: The queue.
        client: Makes the client, again and again.
    """

    def __init__(self, url: str, client: Callable[[], Client]) -> None:
        self.url = url
        self._client = client
        self._closed = False

    def receive(self, *, wait: bool) -> list[Message]:
        """Up to ten messages; with `wait`, the call lasts until there is one, for twenty seconds at most."""
        with translated(f"receiving from {self.url}"):
            answer = self._client().call(
                "ReceiveMessage",
                QueueUrl=self.url,
                MaxNumberOfMessages=_BATCH,
                WaitTimeSeconds=_WAIT_SECONDS if wait else 0,
                VisibilityTimeout=VISIBILITY_SECONDS,
            )
        found = [Message(each.get("Body", ""), each["ReceiptHandle"]) for each in answer.get("Messages", ())]
        if self._closed and found:
            self._give_back(found)
            return []
        return found

    def delete(self, messages: Sequence[Message]) -> None:
        """Delete up to ten messages; one that the queue does not delete comes again, which does no harm."""
        with translated(f"deleting from {self.url}"):
            self._client().call("DeleteMessageBatch", QueueUrl=self.url, Entries=_entries(messages))

    def close(self) -> None:
        """Let messages that are still received go back to the queue."""
        self._closed = True

    def _give_back(self, messages: Sequence[Message]) -> None:
        with translated(f"giving messages back to {self.url}"):
            entries = _entries(messages, VisibilityTimeout=0)
            self._client().call("ChangeMessageVisibilityBatch", QueueUrl=self.url, Entries=entries)


def _entries(messages: Sequence[Message], **fields: Any) -> list[dict[str, Any]]:
    return [
        {"Id": str(number), "ReceiptHandle": each.receipt, **fields} for number, each in enumerate(messages)
    ]


class QueueListener:
    """Receives messages, hands them to the dispatcher, and deletes those that it is done with.

    Args:
        queue: Where from.
        dispatcher: Finds out what they are about, and has it polled.
        metrics: Where it stands whether the queue can be reached.
    """

    def __init__(self, queue: SqsQueue, dispatcher: Dispatcher, metrics: Metrics) -> None:
        self._queue = queue
        self._dispatcher = dispatcher
        self._gauge = metrics.wake_up_queue_reachable.labels(queue.url)
        self._threads = DaemonThreads("wake-ups", 2)
        self._stopping = asyncio.Event()
        self._reachable: bool | None = None
        self._in_flight = 0
        self._room = asyncio.Event()
        self._room.set()
        self._done: list[Message] = []
        self._any_done = asyncio.Event()

    def stop(self) -> None:
        """Make `run` return soon, also in the middle of a long poll."""
        self._queue.close()
        self._stopping.set()

    async def run(self) -> None:
        """Listen until `stop`."""
        receiving = asyncio.create_task(self._receive())
        deleting = asyncio.create_task(self._delete())
        try:
            await self._stopping.wait()
        finally:
            self._queue.close()
            for task in (receiving, deleting):
                task.cancel()
            with suppress(AwsError, TimeoutError):
                async with asyncio.timeout(_FLUSH_SECONDS):
                    while self._done:
                        await self._delete_some()
            self._threads.close()

    async def _receive(self) -> None:
        failures = 0
        while True:
            await self._room.wait()
            try:
                await self._receive_some()
            except AwsError as error:
                self._note(error)
            except Exception:  # noqa: BLE001 - whatever it is must not end polls and deliveries
                _log.exception("wake_ups.failed", queue=self._queue.url)
            else:
                failures = 0
                continue
            pause = min(_LONGEST_PAUSE_SECONDS, _FIRST_PAUSE_SECONDS * 2.0 ** min(failures, 30))
            failures += 1
            await asyncio.sleep(pause * random.uniform(0.5, 1))  # noqa: S311 - spreads calls, guards nothing

    async def _receive_some(self) -> None:
        messages = await self._threads.run(self._queue.receive, wait=bool(self._reachable))
        self._note(None)
        self._count(len(messages))
        await self._dispatcher.take(messages, self._settle)

    def _note(self, error: AwsError | None) -> None:
        """Show whether the queue can be reached, and log it when that changes."""
        reachable = error is None
        if error is not None and self._reachable is not False:
            _log.warning(
                "wake_ups.queue_unreachable",
                queue=self._queue.url,
                reason=str(error.reason),
                error=str(error),
                why="targets are polled at their intervals",
            )
        elif error is None and not self._reachable:
            _log.info("wake_ups.queue_reachable", queue=self._queue.url)
        self._reachable = reachable
        self._gauge.set(reachable)

    def _settle(self, message: Message, *, delete: bool) -> None:
        """Take note that the dispatcher is done with a message."""
        self._count(-1)
        if delete:
            self._done.append(message)
            self._any_done.set()

    def _count(self, change: int) -> None:
        self._in_flight += change
        if self._in_flight < _MOST_IN_FLIGHT:
            self._room.set()
        else:
            self._room.clear()

    async def _delete(self) -> None:
        while True:
            await self._any_done.wait()
            try:
                await self._delete_some()
            except AwsError as error:
                self._note(error)
            except Exception:  # noqa: BLE001 - as above; these messages come again
                _log.exception("wake_ups.failed", queue=self._queue.url)

    async def _delete_some(self) -> None:
        some, self._done = self._done[:_BATCH], self._done[_BATCH:]
        if not self._done:
            self._any_done.clear()
        await self._threads.run(self._queue.delete, some)
