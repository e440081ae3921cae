"""Sends events to an SQS queue, up to ten in a request, with attributes beside the CloudEvents envelope.

On a FIFO queue the job is the message group and the event's id the deduplication id, so that the queue keeps
the order per job and drops the copies.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from poller.settings.wake_ups import region_of_queue
from poller.sinks.aws_messages import MessageSettings, message
from poller.sinks.aws_sink import AwsSink, Entry, Failed, arn_of, failed_by_number, numbered

if TYPE_CHECKING:
    from collections.abc import Sequence

    from poller.model import Event

_URL = r"^https?://[^/\s?#@]+/(?:[^\s?#]+/)?[0-9]{12}/[A-Za-z0-9_-]{1,80}(\.fifo)?$"


class SqsSettings(MessageSettings):
    """Events as messages of an Amazon SQS queue."""

    type: Literal["sqs"] = "sqs"
    """Which sink this is."""
    queue_url: str = Field(
        pattern=_URL, examples=["https://sqs.eu-west-1.amazonaws.com/111111111111/bedrock-jobs"]
    )
    """The queue; the region is in its URL. A FIFO queue's name ends in `.fifo`."""
    action: ClassVar[str] = "sqs:SendMessage"

    @property
    def region(self) -> str | None:
        """The region in the URL; an endpoint of another kind has none."""
        return region_of_queue(self.queue_url)

    @property
    def arn(self) -> str:
        """The queue."""
        account, name = self.queue_url.split("/")[-2:]
        return arn_of("sqs", self.region, name, account)


class SqsSink(AwsSink[SqsSettings]):
    """One message per event, up to ten in a request."""

    settings_type = SqsSettings
    service = "sqs"

    def entry(self, event: Event, body: str) -> Entry:
        """A message with the attributes that consumers choose by."""
        return message(event, {"MessageBody": body}, fifo=self.settings.fifo)

    def call(self, client: Any, entries: Sequence[Entry]) -> Failed:
        """Send some messages."""
        answer = client.send_message_batch(QueueUrl=self.settings.queue_url, Entries=numbered(entries))
        return failed_by_number(answer, entries)
