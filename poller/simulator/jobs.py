"""The jobs, where each stands at a given instant, and what a response shows of it.

A job carries its whole future as entries (time, status) and everything about it is looked up for a `now` in
milliseconds since 1970. Moving a job by hand or stopping it rewrites the entries that lie ahead. Each
(account, region, kind) keeps its jobs sorted by submission, so that a page of a listing costs a bisection.
"""

from __future__ import annotations

from bisect import insort
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

from poller.errors import ItemError
from poller.kinds import kind_of
from poller.simulator.lifecycles import (
    DEFAULT_TIMEOUT_HOURS,
    LIFE_CYCLES,
    Entry,
    RecordPlan,
    default_message,
)

if TYPE_CHECKING:
    from collections.abc import Container, Iterator, Mapping, Sequence

    from poller.kinds import Kind

_HOUR = 3_600_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)


def to_ms(moment: datetime) -> int:
    """Milliseconds since 1970, rounded down."""
    return (moment - _EPOCH) // _MILLISECOND


def to_datetime(ms: int) -> datetime:
    """The instant that many milliseconds after 1970."""
    return _EPOCH + timedelta(milliseconds=ms)


class Counts(NamedTuple):
    """A job's record counts at one instant, in the order of `Kind.records`."""

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

    kind: Kind
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
    timeout_hours: int = DEFAULT_TIMEOUT_HOURS
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
        return status in self.kind.outcomes

    def modified(self, now: int) -> int:
        """The last modification: the last change of status, or the touch some time after the end."""
        entry = self.entry(now)
        if self.touch and self.terminal(entry.status) and now >= entry.at + self.touch:
            return entry.at + self.touch
        return entry.at

    def shown_message(self, now: int) -> str | None:
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

    def shown(self, now: int, members: Container[str], *, listed: bool) -> dict[str, Any]:
        """Return what a response shows of it: its own attributes, and what its request said.

        Times are milliseconds; `wire` writes them in the format of the service's model.

        Args:
            now: The time of the response.
            members: The members that the response has by the service's model.
            listed: Leave out what only Get shows.
        """
        kind, entry = self.kind, self.entry(now)
        request = self.requested()
        answer = {name: value for name, value in request.items() if name in members}
        answer[kind.arn[0]] = self.arn
        answer[kind.model_id[0]] = self.model
        answer[kind.status[0]] = entry.status
        answer[kind.submitted_at[0]] = self.submitted
        answer[kind.client_request_token[0]] = self.token
        answer[kind.message[0]] = self.shown_message(now)
        if kind.name_path is not None:
            answer[kind.name_path[0]] = self.name
        if kind.modified_at is not None:
            answer[kind.modified_at[0]] = self.modified(now)
        if kind.expires_at is not None:
            answer[kind.expires_at[0]] = self.submitted + request["timeoutDurationInHours"] * _HOUR
        # The real service shows no end time of a stopped job.
        if kind.ended_at is not None and self.terminal(entry.status) and entry.status != "Stopped":
            answer[kind.ended_at[0]] = entry.at
        counts = self.counts(now)
        if kind.records is not None and counts is not None:
            answer.update((path[0], count) for path, count in zip(kind.records, counts, strict=True))
        if listed:
            for name in kind.details_only:
                answer.pop(name, None)
        return answer

    def requested(self) -> dict[str, Any]:
        """Return the request that made it, or a made-up one, with what the service fills in."""
        cycle = LIFE_CYCLES[self.kind.name]
        request = self.request
        if request is None:
            partition = self.arn.split(":", 2)[1]
            role = f"arn:{partition}:iam::{self.account}:role/bedrock-batch"
            request = cycle.request(self.name, f"s3://bedrock-{self.account}-{self.region}", role)
        filled = {"timeoutDurationInHours": self.timeout_hours, **cycle.defaults, **request}
        return filled | {ours: filled[theirs] for theirs, ours in cycle.renamed.items()}

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
            kind=self.kind.name,
            account=self.account,
            region=self.region,
            name=self.name,
            status=entry.status,
            terminal=self.terminal(entry.status),
            submitted_at=to_datetime(self.submitted),
            entered_at=to_datetime(entry.at),
            message=self.shown_message(now),
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

    def shelf(self, account: str, region: str, kind: Kind) -> Shelf:
        """Return the jobs of one kind in one region of one account."""
        return self._shelves.setdefault((account, region, kind.name), Shelf())

    def find(self, arn: str) -> SimJob:
        """Return a job by its ARN, in whichever account and region.

        Raises:
            KeyError: There is none.
        """
        try:
            kind, region, account = kind_of(arn)
        except ItemError as error:
            raise KeyError(arn) from error
        return self.shelf(account, region, kind).jobs[arn]

    def all(self) -> Iterator[SimJob]:
        """Every job, by account, region, kind and submission."""
        for _, shelf in sorted(self._shelves.items()):
            for _, arn in shelf.order:
                yield shelf.jobs[arn]
