"""Puts events into an Amazon Data Firehose stream, up to 500 in a request, a line of JSON each.

Firehose keeps no order, and writes a copy where a request was repeated; the ids tell them apart.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from poller.sinks.aws_sink import AwsSettings, AwsSink, Entry, Failed, arn_setting, failed_in_order

if TYPE_CHECKING:
    from collections.abc import Sequence

    from poller.model import Event


class FirehoseSettings(AwsSettings):
    """Events as lines of an Amazon Data Firehose stream."""

    type: Literal["firehose"] = "firehose"
    """Which sink this is."""
    stream_arn: str = arn_setting(
        "firehose", "deliverystream/[A-Za-z0-9_.-]{1,64}", example="deliverystream/bedrock-jobs"
    )
    """The stream; its ARN gives the region."""
    action: ClassVar[str] = "firehose:PutRecordBatch"

    @property
    def arn(self) -> str:
        """The stream."""
        return self.stream_arn

    @property
    def limit(self) -> int:
        """Bytes of a record."""
        return 1000 * 1024


class FirehoseSink(AwsSink[FirehoseSettings]):
    """One record per event."""

    settings_type = FirehoseSettings
    service = "firehose"
    batch_size = 500

    def entry(self, event: Event, body: str) -> Entry:
        """A record of one line."""
        line = body.encode("ascii") + b"\n"
        return Entry(event.id, {"Data": line}, len(line))

    def call(self, client: Any, entries: Sequence[Entry]) -> Failed:
        """Put some records."""
        answer = client.put_record_batch(
            DeliveryStreamName=self.settings.arn.rpartition("/")[2],
            Records=[entry.fields for entry in entries],
        )
        return failed_in_order(answer["RequestResponses"], entries, taken="RecordId")
