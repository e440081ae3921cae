"""Turns a change into the CloudEvents 1.0 envelope that every sink gets.

Pure. The id is a digest of what happened and of nothing else, so that a receiver can drop the copy that a
crash, another replica or a restored backup sends. The body is ASCII JSON made once; what the service sent is
in `data.job` verbatim, whatever characters it holds.
"""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from poller.model import Details, Event, EventType, Outcome

if TYPE_CHECKING:
    from poller.model import Change, Job, Records, Target

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


def job_event(change: Change, event_type: EventType, target: Target, observed_at: datetime) -> Event:
    """Build the event that publishes `change`.

    Args:
        change: What happened.
        event_type: What kind of event it is; `change.event_type`, known to be there.
        target: Where it was seen.
        observed_at: When it was first seen, by the local clock, timezone-aware.
    """
    job = change.job
    data = {
        "kind": job.kind,
        "account_id": job.account_id,
        "region": job.region,
        "target": target.name,
        "targets": list(target.names),
        "job_arn": job.arn,
        "job_id": job.id,
        "job_name": job.name,
        "model_id": job.model_id,
        "client_request_token": job.client_request_token,
        "status": job.status,
        "previous_status": change.previous_status,
        "terminal": job.terminal,
        "outcome": job.outcome,
        "message": job.message,
        "submitted_at": iso(job.submitted_at),
        "modified_at": iso(job.modified_at),
        "ended_at": iso(job.ended_at),
        "observed_at": iso(observed_at),
        "input_uri": job.input_uri,
        "output_uri": job.output_uri,
        "records": _records(job.records),
        "details": job.details,
        "job": job.raw,
    }
    return _seal(
        event_id=event_id(job.arn, event_type.value, job.status, change.occurrence),
        event_type=event_type,
        time=happened_at(job, event_type) or observed_at,
        data=data,
    )


def sample_event(sink: str, now: datetime) -> Event:
    """Build the event that `sinks test` sends: the shape of a real one, about no real job."""
    arn = "arn:aws:bedrock:us-east-1:123456789012:model-invocation-job/sample000000"
    data = {
        "kind": "model_invocation_job",
        "account_id": "123456789012",
        "region": "us-east-1",
        "target": "sample",
        "targets": ["sample"],
        "job_arn": arn,
        "job_id": "sample000000",
        "job_name": f"test-of-{sink}",
        "model_id": "arn:aws:bedrock:us-east-1::foundation-model/example.model-v1:0",
        "client_request_token": None,
        "status": "Completed",
        "previous_status": "InProgress",
        "terminal": True,
        "outcome": "succeeded",
        "message": "This is a test; no job ended.",
        "submitted_at": iso(now),
        "modified_at": iso(now),
        "ended_at": iso(now),
        "observed_at": iso(now),
        "input_uri": "s3://example-bucket/input/",
        "output_uri": "s3://example-bucket/output/",
        "records": {"total": 100, "processed": 100, "succeeded": 100, "failed": 0},
        "details": Details.COMPLETE,
        "job": {},
    }
    test = EventType.TEST
    return _seal(
        event_id=event_id(arn, test.value, sink, int(now.timestamp() * 1000)),
        event_type=test,
        time=now,
        data=data,
    )


def happened_at(job: Job, event_type: EventType = EventType.STATUS_CHANGED) -> datetime | None:
    """When the status was entered, by the service's own word; `None` if it said nothing usable.

    An ended job's modification time can lie after its end, so the end goes first. A disappearance has no
    time of its own.
    """
    if event_type is EventType.DISAPPEARED:
        return None
    return (job.ended_at if job.terminal else None) or job.modified_at or job.submitted_at


def iso(moment: datetime | None) -> str | None:
    """Write a time as RFC 3339 in UTC with milliseconds: `2026-11-20T10:00:00.123Z`."""
    if moment is None:
        return None
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="milliseconds") + "Z"


def schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of every envelope; `DATA_SCHEMA` names its `data`."""
    time = {"type": "string", "format": "date-time"}
    maybe_time = {"anyOf": [time, {"type": "null"}]}
    maybe_text = {"type": ["string", "null"]}
    count = {"type": ["integer", "null"], "minimum": 0}
    data = {
        "kind": {"type": "string"},
        "account_id": {"type": "string", "pattern": "^[0-9]{12}$"},
        "region": {"type": "string"},
        "target": {"type": "string"},
        "targets": {
            "type": "array",
            "items": {"type": "string"},
            "minItems": 1,
            "description": "Every configured target that the job belongs to; the first one is `target`.",
        },
        "job_arn": {"type": "string"},
        "job_id": {"type": "string"},
        "job_name": maybe_text,
        "model_id": maybe_text,
        "client_request_token": maybe_text,
        "status": {"type": "string", "description": "The service's own word, also one that is new to us."},
        "previous_status": maybe_text,
        "terminal": {"type": "boolean"},
        "outcome": {"enum": [*(outcome.value for outcome in Outcome), None]},
        "message": maybe_text,
        "submitted_at": maybe_time,
        "modified_at": maybe_time,
        "ended_at": maybe_time,
        "observed_at": time,
        "input_uri": maybe_text,
        "output_uri": maybe_text,
        "records": {
            "type": ["object", "null"],
            "properties": dict.fromkeys(("total", "processed", "succeeded", "failed"), count),
        },
        "details": {
            "enum": [details.value for details in Details],
            "description": "Whether a Get has brought what lists leave out.",
        },
        "job": {"type": ["object", "null"], "description": "The service's own fields, verbatim."},
    }
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
            "time": time,
            "datacontenttype": {"const": "application/json"},
            "dataschema": {"const": DATA_SCHEMA},
            "data": {"type": "object", "required": [*data], "properties": data},
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


def _seal(*, event_id: str, event_type: EventType, time: datetime, data: dict[str, Any]) -> Event:
    partition = data["job_arn"].split(":", 2)[1]
    envelope = {
        "specversion": "1.0",
        "id": event_id,
        "type": event_type.value,
        "source": f"arn:{partition}:bedrock:{data['region']}:{data['account_id']}",
        "subject": data["job_arn"],
        "time": iso(time),
        "datacontenttype": "application/json",
        "dataschema": DATA_SCHEMA,
        "data": data,
    }
    body = json.dumps(envelope, separators=(",", ":"), ensure_ascii=True).encode("ascii")
    return Event.with_data(event_id, event_type.value, body, data)
