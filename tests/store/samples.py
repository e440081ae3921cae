"""Jobs, changes and events for the store's tests."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from poller.events import job_event
from poller.kinds import MODEL_INVOCATION_JOB
from poller.model import Change, EventType, Target
from poller.store import Observation

if TYPE_CHECKING:
    from collections.abc import Mapping

    from poller.model import Event, Job

START = datetime(2026, 11, 20, 10, 0, tzinfo=UTC)
TARGET = Target("prod", "us-east-1", "model_invocation_job")
OTHER = Target("prod", "eu-west-1", "model_invocation_job")


def arn(number: int) -> str:
    """The ARN of job `number`."""
    return f"arn:aws:bedrock:us-east-1:123456789012:model-invocation-job/{number:012}"


def job(number: int, status: str = "InProgress", *, minute: float | None = 0, **members: Any) -> Job:
    """Job `number`, submitted and last modified at a minute."""
    at = None if minute is None else (START + timedelta(minutes=minute)).isoformat()
    times = {"submitTime": at, "lastModifiedTime": at}
    return MODEL_INVOCATION_JOB.observe({"jobArn": arn(number), "status": status, **times, **members})


def change(
    seen: Job,
    *,
    previous: str | None = None,
    entries: Mapping[str, int] | None = None,
    occurrence: int = 0,
    silent: bool = False,
    gone: bool = False,
) -> Change:
    """A change to a job."""
    event_type = EventType.DISAPPEARED if gone else EventType.STATUS_CHANGED
    return Change(
        seen, previous, entries or {seen.status: 1}, None if silent else event_type, occurrence, gone
    )


def event(made: Change) -> Event:
    """The event that publishes a change."""
    assert made.event_type is not None
    return job_event(made, made.event_type, TARGET, START)


def announced(seen: Job, *sinks: str, **options: Any) -> Observation:
    """A change that is owed to sinks."""
    made = change(seen, **options)
    return Observation(made, event(made), sinks)


def silent(seen: Job, **options: Any) -> Observation:
    """A change that is only recorded."""
    return Observation(change(seen, silent=True, **options))
