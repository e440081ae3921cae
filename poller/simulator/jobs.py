"""The jobs, and where each stands at a given instant.

A job carries its whole future as entries (time, status) and everything about it is looked up for a `now` in
milliseconds since 1970. Moving a job by hand or stopping it rewrites the entries that lie ahead. Each
(account, region, kind) keeps its jobs sorted by submission, so that a page of a listing costs a bisection.
"""

from __future__ import annotations

from bisect import insort
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

from poller.simulator.lifecycles import (
    ASYNC_INVOKE,
    MODEL_INVOCATION_JOB,
    TERMINAL,
    Entry,
    RecordPlan,
    default_message,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)


def to_ms(moment: datetime) -> int:
    """Milliseconds since 1970, rounded down."""
    return (moment - _EPOCH) // _MILLISECOND


def to_datetime(ms: int) -> datetime:
    """The instant that many milliseconds after 1970."""
    return _EPOCH + timedelta(milliseconds=ms)


class Counts(NamedTuple):
    """A batch job's record counts at one instant."""

    total: int
    processed: int
    succeeded: int
    failed: int


@dataclass(frozen=True, slots=True)
class JobState:
    """The truth about one job at one instant, for a test to compare with."""

    arn: str
    kind: str
    account: str
    region: str
    name: str | None
    status: str
    terminal: bool
    submitted_at: datetime
    entered_at: datetime
    """When the current status was entered."""
    message: str | None


@dataclass(slots=True)
class SimJob:
    """One job.

    Args:
        submitted: Its submission in milliseconds, as the service reports it; the key of its place in lists.
        listed: From when on lists show it; later than `submitted` for a job that becomes visible late.
        entries: Past and future statuses, in order of time.
        request: The members of the request that made it; `None` for one whose request is made up.
        fields: Members to add to, or replace in, every response that shows it.
    """

    kind: str
    arn: str
    account: str
    region: str
    model: str
    submitted: int
    listed: int
    entries: tuple[Entry, ...]
    name: str | None = None
    token: str | None = None
    message: str | None = None
    touch: int = 0
    records: RecordPlan | None = None
    request: Mapping[str, Any] | None = None
    fields: Mapping[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> tuple[int, str]:
        """Its place in a list sorted by submission."""
        return (self.submitted, self.arn)

    def entry(self, now: int) -> Entry:
        """The status it is in, and since when."""
        current = self.entries[0]
        for entry in self.entries:
            if entry.at > now:
                break
            current = entry
        return current

    def entered(self, now: int) -> tuple[Entry, ...]:
        """Every status it has entered."""
        return tuple(entry for entry in self.entries if entry.at <= now)

    def terminal(self, status: str) -> bool:
        """Whether a job of this kind stays in `status`."""
        return status in TERMINAL[self.kind]

    def modified(self, now: int) -> int:
        """The last modification: the last change of status, or the touch some time after the end."""
        entry = self.entry(now)
        if self.touch and self.terminal(entry.status) and now >= entry.at + self.touch:
            return entry.at + self.touch
        return entry.at

    def told(self, now: int) -> str | None:
        """Why it ended, for an end that needs a reason."""
        status = self.entry(now).status
        return self.message if self.terminal(status) and status not in {"Completed", "Stopped"} else None

    def counts(self, now: int) -> Counts | None:
        """The record counts: growing while in progress, zero or absent before, some jobs never have any."""
        plan = self.records
        if plan is None:
            return None
        past = self.entered(now)
        begun = next((entry.at for entry in past if entry.status == "InProgress"), None)
        if begun is None:
            shown = plan.early or any(entry.status == "Scheduled" for entry in past)
            return Counts(0, 0, 0, 0) if shown else None
        if past[-1].status == "Completed":
            share = 1.0
        else:
            left = next((entry.at for entry in past if entry.at > begun), now)
            share = min(1.0, (left - begun) / plan.running) * plan.reached
        processed = int(plan.total * share)
        failed = int(processed * plan.errors)
        return Counts(plan.total, processed, processed - failed, failed)

    def move(self, now: int, *future: Entry) -> None:
        """Forget what lay ahead and enter `future` instead."""
        self.entries = (*self.entered(now), *future)

    def force(self, now: int, status: str) -> None:
        """Enter `status` now and stay there."""
        self.move(now, Entry(now, status))
        self.message = self.message or default_message(status)

    def advance(self, now: int) -> str:
        """Enter the next planned status now, and bring what follows forward by as much.

        Raises:
            ValueError: Nothing lies ahead.
        """
        ahead = [entry for entry in self.entries if entry.at > now]
        if not ahead:
            raise ValueError(f"{self.arn} has nothing left to do")
        early = ahead[0].at - now
        self.move(now, *(entry._replace(at=entry.at - early) for entry in ahead))
        return ahead[0].status

    def state(self, now: int) -> JobState:
        """The truth about it."""
        entry = self.entry(now)
        return JobState(
            arn=self.arn,
            kind=self.kind,
            account=self.account,
            region=self.region,
            name=self.name,
            status=entry.status,
            terminal=self.terminal(entry.status),
            submitted_at=to_datetime(self.submitted),
            entered_at=to_datetime(entry.at),
            message=self.told(now),
        )


class Shelf:
    """The jobs of one kind in one region of one account, in order of submission."""

    def __init__(self) -> None:
        self.order: list[tuple[int, str]] = []
        self.jobs: dict[str, SimJob] = {}
        self.tokens: dict[str, tuple[str, str]] = {}
        """Idempotency token to the request's fingerprint and the ARN it got."""
        self.numbers = 0

    def add(self, jobs: Sequence[SimJob]) -> None:
        """Put jobs in their places; cheap for one, and for very many at once."""
        self.jobs.update((job.arn, job) for job in jobs)
        if len(jobs) == 1:
            insort(self.order, jobs[0].key)
        else:
            self.order.extend(job.key for job in jobs)
            self.order.sort()

    def next_number(self) -> int:
        """The number of the next job, from 1."""
        self.numbers += 1
        return self.numbers


class Store:
    """All shelves."""

    def __init__(self) -> None:
        self._shelves: dict[tuple[str, str, str], Shelf] = {}

    def shelf(self, account: str, region: str, kind: str) -> Shelf:
        """The jobs of one kind in one region of one account."""
        return self._shelves.setdefault((account, region, kind), Shelf())

    def find(self, arn: str) -> SimJob:
        """A job by its ARN, in whichever account and region.

        Raises:
            KeyError: There is none.
        """
        _, _, _, region, account, resource = arn.split(":", 5)
        kind = resource.partition("/")[0].replace("-", "_")
        return self.shelf(account, region, kind).jobs[arn]

    def all(self) -> Iterator[SimJob]:
        """Every job, by account, region, kind and submission."""
        for _, shelf in sorted(self._shelves.items()):
            for _, arn in shelf.order:
                yield shelf.jobs[arn]


def partition_of(region: str) -> str:
    """The AWS partition a region belongs to."""
    if region.startswith("us-gov-"):
        return "aws-us-gov"
    return "aws-cn" if region.startswith("cn-") else "aws"


def job_arn(kind: str, region: str, account: str, identifier: str) -> str:
    """A job's ARN."""
    resource = "async-invoke" if kind == ASYNC_INVOKE else "model-invocation-job"
    return f"arn:{partition_of(region)}:bedrock:{region}:{account}:{resource}/{identifier}"


def model_arn(kind: str, model: str, region: str, account: str) -> str:
    """The full ARN that responses show for a model given by its id."""
    if model.startswith("arn:"):
        return model
    prefix = f"arn:{partition_of(region)}:bedrock:{region}"
    if kind == MODEL_INVOCATION_JOB and model.partition(".")[0] in {
        "apac",
        "au",
        "ca",
        "eu",
        "global",
        "jp",
        "us",
        "us-gov",
    }:
        return f"{prefix}:{account}:inference-profile/{model}"
    return f"{prefix}::foundation-model/{model}"
