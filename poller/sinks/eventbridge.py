"""Puts events on an EventBridge bus, up to ten in a request.

`detail` is the CloudEvents envelope, or is shaped like the event that AWS sends for batch inference jobs, so
that rules which match its members go on to work, for asynchronous invocations too. EventBridge keeps no
order, and a rule may see a copy.
"""

from __future__ import annotations

import json
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field

from poller.kinds import KINDS
from poller.settings.sinks import checked
from poller.sinks.aws_sink import AwsSettings, AwsSink, Entry, Failed, arn_of, failed_in_order

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from poller.model import Event

_BUS = r"^(?:arn:aws[a-z0-9-]*:events:[a-z0-9-]+:[0-9]{12}:event-bus/)?[A-Za-z0-9._/-]{1,256}$"
_TIME_SIZE = 14
"""What the service counts for an entry's time."""


def _refuse_reserved(source: str) -> None:
    if source.startswith("aws."):
        raise ValueError("begins with aws., which only AWS may use; choose another name")


class EventBridgeSettings(AwsSettings):
    """Events on an Amazon EventBridge bus."""

    type: Literal["eventbridge"] = "eventbridge"
    """Which sink this is."""
    bus: str = Field(default="default", pattern=_BUS, examples=["default"])
    """The bus: its name in the SDK's current region, or its ARN."""
    source: Annotated[str, checked(_refuse_reserved)] = Field(
        default="bedrock-poller", pattern=r"^[A-Za-z0-9._/-]{1,256}$"
    )
    """The events' `source`. It cannot begin with `aws.`."""
    shape: Literal["cloudevents", "native"] = "cloudevents"
    """What `detail` is: the whole event, or what AWS's "Batch Inference Job State Change" has."""
    action: ClassVar[str] = "events:PutEvents"

    @property
    def region(self) -> str | None:
        """The region in the bus's ARN."""
        return self.bus.split(":")[3] if self.bus.startswith("arn:") else None

    @property
    def arn(self) -> str:
        """The bus."""
        return self.bus if self.region else arn_of("events", None, f"event-bus/{self.bus}")


class EventBridgeSink(AwsSink[EventBridgeSettings]):
    """One entry per event, up to ten in a request."""

    settings_type = EventBridgeSettings
    service = "events"

    def entry(self, event: Event, body: str) -> Entry:
        """An entry whose `resources` name the job."""
        native = self.settings.shape == "native"
        texts = {
            "Source": self.settings.source,
            "DetailType": _detail_type(event.data) if native else event.type,
            "Detail": json.dumps(_native(event.data)) if native else body,
        }
        fields = {
            **texts,
            "EventBusName": self.settings.bus,
            "Resources": [event.job_arn],
            "Time": datetime.fromisoformat(json.loads(body)["time"]),
        }
        counted = "".join([*texts.values(), event.job_arn])
        return Entry(event.id, fields, len(counted.encode()) + _TIME_SIZE)

    def call(self, client: Any, entries: Sequence[Entry]) -> Failed:
        """Put some events."""
        answer = client.put_events(Entries=[entry.fields for entry in entries])
        return failed_in_order(answer["Entries"], entries, taken="EventId")


def _detail_type(data: Mapping[str, Any]) -> str:
    """As AWS names it for batch inference jobs: "Batch Inference Job State Change"."""
    kind = KINDS.get(str(data.get("kind")))
    return f"{(kind.noun if kind else 'job').title()} State Change"


def _native(data: Mapping[str, Any]) -> dict[str, Any]:
    """What `detail` of the service's own event has, by the same names."""
    submitted = data.get("submitted_at")
    created = datetime.fromisoformat(submitted) if submitted else None
    return {
        "version": "0.0",
        "accountId": data.get("account_id"),
        "batchJobName": data.get("job_name"),
        "batchJobArn": data.get("job_arn"),
        "batchModelId": data.get("model_id"),
        "status": data.get("status"),
        "failureMessage": data.get("message") or "",
        "creationTime": f"{created:%b} {created.day}, {created:%Y, %I:%M:%S %p}" if created else None,
    }
