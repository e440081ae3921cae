"""Turns a change into the CloudEvents 1.0 envelope that every sink gets.

Pure. The id is a digest of what happened and of nothing else, so that a receiver can drop the copy that a
crash, another replica or a restored backup sends. The body is ASCII JSON made once; what the service sent is
in `data.job` verbatim, whatever characters it holds.
"""

from __future__ import annotations

import hashlib
import json
from operator import attrgetter
from typing import TYPE_CHECKING, Any, NamedTuple

from poller.model import Change, Details, Event, EventType, Job, Outcome, Records, Target
from poller.times import iso

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime

DATA_SCHEMA = "urn:bedrock-poller:schema:job-event:1"
"""The `dataschema` of job events; `bedrock-poller schema event` prints the schema itself."""


def event_id(arn: str, event_type: str, status: str, occurrence: int) -> str:
    """Name a happening: 32 hexadecimal digits of a SHA-256.

    Args:
        arn: The job.
        event_type: The CloudEvents type.
        status: The status entered.
        occurrence: How often that status had been entered before.
    """
    happening = json.dumps([arn, event_type, status, occurrence], separators=(",", ":"))
    return hashlib.sha256(happening.encode()).hexdigest()[:32]


class _Seen(NamedTuple):
    """What the `data` of an event tells about."""

    job: Job
    change: Change
    target: Target
    observed_at: datetime
    native_event_seen: bool | None = None


class _Field(NamedTuple):
    """A member of `data`: its JSON Schema, and how it is read."""

    schema: dict[str, Any]
    read: Callable[[_Seen], Any]


_TEXT = {"type": "string"}
_MAYBE_TEXT = {"type": ["string", "null"]}
_TIME = {"type": "string", "format": "date-time"}
_MAYBE_TIME = {"anyOf": [_TIME, {"type": "null"}]}
_COUNT = {"type": ["integer", "null"], "minimum": 0}
_TARGETS = {
    "type": "array",
    "items": _TEXT,
    "minItems": 1,
    "description": "Every configured target that the job belongs to; the first one is `target`.",
}
_STATUS = {**_TEXT, "description": "The service's own word, also one that is new to us."}
_RECORDS = {
    "type": ["object", "null"],
    "properties": dict.fromkeys(("total", "processed", "succeeded", "failed"), _COUNT),
}
_DETAILS = {
    "enum": [details.value for details in Details],
    "description": "Whether a Get has brought what lists leave out.",
}
_NATIVE = {
    "type": ["boolean", "null"],
    "description": "Whether Bedrock's own event had told of this ending; null where none is listened for.",
}
_RAW = {"type": ["object", "null"], "description": "The service's own fields, verbatim."}

_FIELDS: Mapping[str, _Field] = {
    "kind": _Field(_TEXT, attrgetter("job.kind")),
    "account_id": _Field({**_TEXT, "pattern": "^[0-9]{12}$"}, attrgetter("job.account_id")),
    "region": _Field(_TEXT, attrgetter("job.region")),
    "target": _Field(_TEXT, attrgetter("target.name")),
    "targets": _Field(_TARGETS, lambda seen: list(seen.target.names)),
    "job_arn": _Field(_TEXT, attrgetter("job.arn")),
    "job_id": _Field(_TEXT, attrgetter("job.id")),
    "job_name": _Field(_MAYBE_TEXT, attrgetter("job.name")),
    "model_id": _Field(_MAYBE_TEXT, attrgetter("job.model_id")),
    "client_request_token": _Field(_MAYBE_TEXT, attrgetter("job.client_request_token")),
    "status": _Field(_STATUS, attrgetter("job.status")),
    "previous_status": _Field(_MAYBE_TEXT, attrgetter("change.previous_status")),
    "terminal": _Field({"type": "boolean"}, attrgetter("job.terminal")),
    "outcome": _Field({"enum": [*(each.value for each in Outcome), None]}, attrgetter("job.outcome")),
    "message": _Field(_MAYBE_TEXT, attrgetter("job.message")),
    "submitted_at": _Field(_MAYBE_TIME, lambda seen: iso(seen.job.submitted_at)),
    "modified_at": _Field(_MAYBE_TIME, lambda seen: iso(seen.job.modified_at)),
    "ended_at": _Field(_MAYBE_TIME, lambda seen: iso(seen.job.ended_at)),
    "observed_at": _Field(_TIME, lambda seen: iso(seen.observed_at)),
    "input_uri": _Field(_MAYBE_TEXT, attrgetter("job.input_uri")),
    "output_uri": _Field(_MAYBE_TEXT, attrgetter("job.output_uri")),
    "records": _Field(_RECORDS, lambda seen: _records(seen.job.records)),
    "details": _Field(_DETAILS, attrgetter("job.details")),
    "native_event_seen": _Field(_NATIVE, attrgetter("native_event_seen")),
    "job": _Field(_RAW, attrgetter("job.raw")),
}
"""The members of `data`, in their order: events, the sample and the schema come from here."""


def job_event(
    change: Change,
    event_type: EventType,
    target: Target,
    observed_at: datetime,
    *,
    native_event_seen: bool | None = None,
) -> Event:
    """Build the event that publishes `change`.

    Args:
        change: What happened.
        event_type: What kind of event it is; `change.event_type`, known to be there.
        target: Where it was seen.
        observed_at: When it was first seen, by the local clock, timezone-aware.
        native_event_seen: Whether a native event had told of it; `None` if none is listened for.
    """
    job = change.job
    return _seal(
        event_id=event_id(job.arn, event_type.value, job.status, change.occurrence),
        event_type=event_type,
        time=happened_at(job, event_type) or observed_at,
        seen=_Seen(job, change, target, observed_at, native_event_seen),
    )


def sample_event(sink: str, now: datetime) -> Event:
    """Build the event that `sinks test` sends: the shape of a real one, about no real job."""
    job = Job(
        arn="arn:aws:bedrock:us-east-1:123456789012:model-invocation-job/sample000000",
        kind="model_invocation_job",
        account_id="123456789012",
        region="us-east-1",
        status="Completed",
        rank=None,
        terminal=True,
        outcome=Outcome.SUCCEEDED,
        name=f"test-of-{sink}",
        model_id="arn:aws:bedrock:us-east-1::foundation-model/example.model-v1:0",
        message="This is a test; no job ended.",
        submitted_at=now,
        modified_at=now,
        ended_at=now,
        input_uri="s3://example-bucket/input/",
        output_uri="s3://example-bucket/output/",
        records=Records(total=100, processed=100, succeeded=100, failed=0),
        details=Details.COMPLETE,
    )
    change = Change(job, previous_status="InProgress", entries={}, event_type=EventType.TEST)
    return _seal(
        event_id=event_id(job.arn, EventType.TEST.value, sink, int(now.timestamp() * 1000)),
        event_type=EventType.TEST,
        time=now,
        seen=_Seen(job, change, Target("sample", job.region, job.kind), now),
    )


def happened_at(job: Job, event_type: EventType = EventType.STATUS_CHANGED) -> datetime | None:
    """When the status was entered, by the service's own word; `None` if it said nothing usable.

    An ended job's modification time can lie after its end, so the end goes first. A disappearance has no
    time of its own.
    """
    if event_type is EventType.DISAPPEARED:
        return None
    return (job.ended_at if job.terminal else None) or job.modified_at or job.submitted_at


def schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of every envelope; `DATA_SCHEMA` names its `data`."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": DATA_SCHEMA,
        "title": "bedrock-poller event",
        "type": "object",
        "required": ["specversion", "id", "type", "source", "subject", "time", "data"],
        "properties": {
            "specversion": {"const": "1.0"},
            "id": {"type": "string", "description": "The same on every copy; drop what you have seen."},
            "type": {"enum": [event_type.value for event_type in EventType]},
            "source": {"type": "string"},
            "subject": {"type": "string"},
            "time": _TIME,
            "datacontenttype": {"const": "application/json"},
            "dataschema": {"const": DATA_SCHEMA},
            "data": {
                "type": "object",
                "required": [*_FIELDS],
                "properties": {name: field.schema for name, field in _FIELDS.items()},
            },
        },
    }


def _records(records: Records | None) -> dict[str, int | None] | None:
    if records is None:
        return None
    return {
        "total": records.total,
        "processed": records.processed,
        "succeeded": records.succeeded,
        "failed": records.failed,
    }


def _seal(*, event_id: str, event_type: EventType, time: datetime, seen: _Seen) -> Event:
    job = seen.job
    partition = job.arn.split(":", 2)[1]
    data = {name: field.read(seen) for name, field in _FIELDS.items()}
    envelope = {
        "specversion": "1.0",
        "id": event_id,
        "type": event_type.value,
        "source": f"arn:{partition}:bedrock:{job.region}:{job.account_id}",
        "subject": job.arn,
        "time": iso(time),
        "datacontenttype": "application/json",
        "dataschema": DATA_SCHEMA,
        "data": data,
    }
    body = json.dumps(envelope, separators=(",", ":"), ensure_ascii=True).encode("ascii")
    return Event.with_data(event_id, event_type.value, body, data)
