"""Puts events into a Kinesis data stream, up to 500 in a request, the job's ARN as partition key.

So all events of a job are in one shard, in order. A consumer may see a copy, which has the same id.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from poller.sinks.aws_sink import AwsSettings, AwsSink, Entry, Failed, arn_setting, failed_in_order

if TYPE_CHECKING:
    from collections.abc import Sequence

    from poller.model import Event

_LONGEST_KEY = 256


class KinesisSettings(AwsSettings):
    """Events as records of an Amazon Kinesis data stream."""

    type: Literal["kinesis"] = "kinesis"
    """Which sink this is."""
    stream_arn: str = arn_setting("kinesis", "stream/[A-Za-z0-9_.-]{1,128}", example="stream/bedrock-jobs")
    """The stream; its ARN gives the region."""
    action: ClassVar[str] = "kinesis:PutRecords"

    @property
    def arn(self) -> str:
        """The stream."""
        return self.stream_arn

    @property
    def limit(self) -> int:
        """Bytes of a record with its key."""
        return 1024 * 1024


class KinesisSink(AwsSink[KinesisSettings]):
    """One record per event."""

    settings_type = KinesisSettings
    service = "kinesis"
    batch_size = 500

    def entry(self, event: Event, body: str) -> Entry:
        """A record of the event's bytes."""
        key = event.job_arn
        if len(key) > _LONGEST_KEY:
            key = hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()
        data = body.encode("ascii")
        return Entry(event.id, {"Data": data, "PartitionKey": key}, len(data) + len(key.encode()))

    def call(self, client: Any, entries: Sequence[Entry]) -> Failed:
        """Put some records."""
        answer = client.put_records(StreamARN=self.settings.arn, Records=[entry.fields for entry in entries])
        return failed_in_order(answer["Records"], entries, taken="SequenceNumber")
