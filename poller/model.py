"""What travels through the program, frozen.

A `Job` is one observation of a Bedrock job, read off a list item or a Get response. A `Known` is what the
snapshot remembers of a job. An `Event` is something that happened to a job, together with the exact bytes
every sink gets. A `Target` is what is polled: one kind of job in one region of one account.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime


def storable(text: str) -> str:
    """A text that every database and UTF-8 can hold: NUL and halves of surrogate pairs are replaced."""
    if text.isprintable():
        return text
    paired = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return paired.replace("\0", "\N{REPLACEMENT CHARACTER}")


class Outcome(StrEnum):
    """How an ended job ended."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    PARTIAL = "partial"
    STOPPED = "stopped"
    EXPIRED = "expired"


class Details(StrEnum):
    """Whether a job has what only a Get tells, in the event's `data.details`."""

    COMPLETE = "complete"
    """A Get has brought it, or the list has it already."""
    NOT_REQUESTED = "not_requested"
    """No Get was made: the job is open, was found by a first scan, or `poll.details` rules it out."""
    UNAVAILABLE = "unavailable"
    """A Get failed or took too long, so the event carries what the list has."""


class EventType(StrEnum):
    """The CloudEvents `type` of everything this program publishes."""

    STATUS_CHANGED = "bedrock-poller.job.status_changed"
    DISAPPEARED = "bedrock-poller.job.disappeared"
    TEST = "bedrock-poller.sink.test"


@dataclass(frozen=True, slots=True)
class Target:
    """One (account, region, job kind) to poll, and what today's configuration calls it.

    The account, region and kind identify it; the store keeps its state by them. The names are labels, which
    the next configuration may change.

    Args:
        name: The configured name; the first one, in the order of the configuration, if there are several.
        region: The AWS region.
        kind: The job kind's name, such as `async_invoke`.
        account_id: The AWS account; `None` until it is known.
        aliases: Further configured names that lead to the same account, region and kind.
    """

    name: str
    region: str
    kind: str
    account_id: str | None = None
    aliases: tuple[str, ...] = ()

    @property
    def id(self) -> str:
        """What logs and commands call it: `name/region/kind`."""
        return f"{self.name}/{self.region}/{self.kind}"

    @property
    def place(self) -> tuple[str, str]:
        """Its account and region, which share limits; its name for an account that is not known yet."""
        return self.account_id or self.name, self.region

    @property
    def names(self) -> tuple[str, ...]:
        """Every configured name, in the order of the configuration."""
        return (self.name, *self.aliases)

    @property
    def identity(self) -> tuple[str | None, str, str]:
        """What it is, whatever it is called: account, region and kind."""
        return (self.account_id, self.region, self.kind)


@dataclass(frozen=True, slots=True)
class Records:
    """A batch job's record counts; each is `None` where the service did not say."""

    total: int | None = None
    processed: int | None = None
    succeeded: int | None = None
    failed: int | None = None


@dataclass(frozen=True, slots=True)
class Job:
    """One observation of a job.

    All times are timezone-aware UTC. `raw` is the service's own JSON object, verbatim; everything else is
    read from it by the kind's declaration.
    """

    arn: str
    kind: str
    account_id: str
    region: str
    status: str
    rank: int | None
    """How far along the declared life cycle `status` is; `None` for an undeclared status."""
    terminal: bool
    outcome: Outcome | None
    name: str | None = None
    model_id: str | None = None
    client_request_token: str | None = None
    message: str | None = field(default=None, repr=False)
    submitted_at: datetime | None = None
    modified_at: datetime | None = None
    ended_at: datetime | None = None
    input_uri: str | None = None
    output_uri: str | None = None
    records: Records | None = None
    details: Details = field(default=Details.NOT_REQUESTED, compare=False)
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)

    @property
    def id(self) -> str:
        """The last part of the ARN: twelve letters and digits."""
        return self.arn.rpartition("/")[2]


@dataclass(frozen=True, slots=True)
class JobState:
    """What the snapshot remembers of a job between polls.

    Args:
        arn: The job.
        status: The last status seen.
        rank: As in `Job`.
        terminal: Whether `status` ends the job.
        modified_at: The service's modification time that came with `status`.
        entries: How often each status has been entered; makes an event's id a function of what happened.
        gone: The job was found to have disappeared.
    """

    arn: str
    status: str
    rank: int | None
    terminal: bool
    modified_at: datetime | None
    entries: Mapping[str, int]
    gone: bool = False


@dataclass(frozen=True, slots=True)
class Change:
    """What one observation means for the snapshot.

    Args:
        job: The observation; becomes the snapshot's row.
        previous_status: The last status seen, `None` for a job seen for the first time.
        entries: The counts after this change.
        event_type: What is to be published, `None` to record silently.
        occurrence: How often this event happened to the job before; part of the event's id.
        gone: The service no longer knows the job.
    """

    job: Job
    previous_status: str | None
    entries: Mapping[str, int]
    event_type: EventType | None
    occurrence: int = 0
    gone: bool = False


@dataclass(frozen=True)
class Event:
    """Something that happened to a job, and the bytes that say so.

    Args:
        id: A function of what happened; the same on every attempt, replica and after a restored backup.
        type: The CloudEvents type.
        body: The CloudEvents 1.0 envelope as structured JSON, in ASCII. The same bytes go to every sink.
    """

    id: str
    type: str
    body: bytes = field(repr=False)

    @cached_property
    def data(self) -> Mapping[str, Any]:
        """The envelope's `data`, parsed when first asked for: the attributes that routing and sinks read."""
        data: Mapping[str, Any] = json.loads(self.body)["data"]
        return data

    @property
    def job_arn(self) -> str:
        """The job this is about; events of one job are delivered in order."""
        return str(self.data["job_arn"])

    @classmethod
    def from_body(cls, body: bytes) -> Event:
        """Read an event back from its bytes."""
        envelope = json.loads(body)
        return cls.with_data(envelope["id"], envelope["type"], body, envelope["data"])

    @classmethod
    def with_data(cls, event_id: str, event_type: str, body: bytes, data: Mapping[str, Any]) -> Event:
        """An event whose `data` is at hand already and need not be parsed from `body`."""
        event = cls(event_id, event_type, body)
        event.__dict__["data"] = data
        return event


@dataclass(frozen=True, slots=True)
class Delivery:
    """One event owed to one sink, claimed for sending.

    Args:
        id: The store's key.
        sink: The configured sink's name.
        event: What to send.
        attempts: Attempts that ended in failure so far.
        epoch: The claim's fencing number; a settle with an older one changes nothing.
        failing_for: Seconds since the first of them, by the database's clock; `None` if there was none.
    """

    id: int
    sink: str
    event: Event
    attempts: int
    epoch: int
    failing_for: float | None = None
