"""Publishes events to an SNS topic, up to ten in a request, with attributes that filter policies can match.

The message is the CloudEvents envelope. On a FIFO topic the job is the message group and the event's id the
deduplication id, so that the topic keeps the order per job and drops the copies.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from poller.model import EventType
from poller.sinks.aws_messages import message_fields
from poller.sinks.aws_sink import AwsSettings, AwsSink, Entry, Failed, failed_by_number, numbered

if TYPE_CHECKING:
    from collections.abc import Sequence

    from poller.model import Event

_LONGEST_SUBJECT = 99
_LONGEST_STATUS = 40
_UNPRINTABLE = re.compile(r"[^\x20-\x7e]")


class SnsSettings(AwsSettings):
    """Events as messages of an Amazon SNS topic."""

    type: Literal["sns"] = "sns"
    """Which sink this is."""
    topic_arn: str = Field(
        pattern=r"^arn:aws[a-z0-9-]*:sns:[a-z0-9-]+:[0-9]{12}:[A-Za-z0-9_-]{1,256}(\.fifo)?$",
        examples=["arn:aws:sns:eu-west-1:111111111111:bedrock-jobs"],
    )
    """The topic. Its region is where requests go; its name ends in `.fifo` if it keeps order."""

    @property
    def region(self) -> str:
        """The topic's region."""
        return self.topic_arn.split(":")[3]

    @property
    def fifo(self) -> bool:
        """Whether the topic keeps order and drops copies."""
        return self.topic_arn.endswith(".fifo")

    def permissions(self) -> dict[str, tuple[str, ...]]:
        """The one action that publishing needs."""
        return {"sns:Publish": (self.topic_arn,)}


class SnsSink(AwsSink[SnsSettings]):
    """One message per event, up to ten in a request."""

    settings_type = SnsSettings
    batch_size = 10
    service = "sns"
    service_name = "SNS"

    def entry(self, event: Event, body: str) -> Entry:
        """A message with a subject, which e-mail subscriptions show."""
        fields, size = message_fields(event, fifo=self.settings.fifo)
        subject = subject_of(event)
        return Entry(
            event.id, {"Message": body, "Subject": subject, **fields}, len(body) + len(subject) + size
        )

    def call(self, client: Any, entries: Sequence[Entry]) -> Failed:
        """Publish some messages."""
        topic = self.settings.topic_arn
        answer = client.publish_batch(TopicArn=topic, PublishBatchRequestEntries=numbered(entries))
        return failed_by_number(answer, entries)


def subject_of(event: Event) -> str:
    """The subject of an e-mail: the job and what became of it, in the printable ASCII that SNS takes."""
    data = event.data
    status = "disappeared" if event.type == EventType.DISAPPEARED else data.get("status")
    job, status = (
        _UNPRINTABLE.sub("?", str(each)).strip()
        for each in (data.get("job_name") or data.get("job_id"), status)
    )
    end = f" {status[:_LONGEST_STATUS]} (bedrock-poller)"
    return f"{job[: _LONGEST_SUBJECT - len(end)]}{end}".strip()
