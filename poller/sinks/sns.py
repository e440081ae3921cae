"""Publishes events to an SNS topic, up to ten in a request, with attributes that filter policies can match.

The message is the CloudEvents envelope. On a FIFO topic the job is the message group and the event's id the
deduplication id, so that the topic keeps the order per job and drops the copies.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from poller.model import EventType
from poller.sinks.aws_messages import MessageSettings, message
from poller.sinks.aws_sink import AwsSink, Entry, Failed, arn_setting, failed_by_number, numbered

if TYPE_CHECKING:
    from collections.abc import Sequence

    from poller.model import Event

_LONGEST_SUBJECT = 99
_LONGEST_STATUS = 40
_UNPRINTABLE = re.compile(r"[^\x20-\x7e]")


class SnsSettings(MessageSettings):
    """Events as messages of an Amazon SNS topic."""

    type: Literal["sns"] = "sns"
    """Which sink this is."""
    topic_arn: str = arn_setting("sns", r"[A-Za-z0-9_-]{1,256}(\.fifo)?", example="bedrock-jobs")
    """The topic; its ARN gives the region. A FIFO topic's name ends in `.fifo`."""
    action: ClassVar[str] = "sns:Publish"

    @property
    def arn(self) -> str:
        """The topic."""
        return self.topic_arn


class SnsSink(AwsSink[SnsSettings]):
    """One message per event, up to ten in a request."""

    settings_type = SnsSettings
    service = "sns"

    def entry(self, event: Event, body: str) -> Entry:
        """A message with a subject, which e-mail subscriptions show."""
        return message(event, {"Message": body, "Subject": subject_of(event)}, fifo=self.settings.fifo)

    def call(self, client: Any, entries: Sequence[Entry]) -> Failed:
        """Publish some messages."""
        topic = self.settings.arn
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
