"""Compares what a listing shows with what the snapshot remembers.

Pure. Presence is believed page by page, so the input is one page (or one Get response) and the rows of the
snapshot that it names. Three decisions stand here:

- A change is a change of status. The modification time alone may move after a job's end.
- Of two observations of one job the later modification wins, but no open status follows an ended one: a time
  that is wrong must not hide an ending. Where times do not decide, the declared life cycle does, so that two
  stale answers of the service can change a job's ending once at most.
- An observation that changes nothing is not a change: diffing the same page again yields nothing. An open
  job is refreshed silently, because its record counts move.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from poller.model import Change, EventType, Job, JobState

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping


def diff(
    known: Mapping[str, JobState], seen: Iterable[Job], *, is_news: Callable[[Job], bool]
) -> list[Change]:
    """Say what each observation means, in the order first seen.

    Args:
        known: The snapshot's rows by ARN; at least those of the jobs in `seen` that have one.
        seen: One page of observations; may hold a job more than once.
        is_news: Whether a job without a row is an event, or is recorded silently as a baseline.
    """
    latest: dict[str, Job] = {}
    for job in seen:
        other = latest.get(job.arn)
        if other is None or supersedes(job, other):
            latest[job.arn] = job
    changes = (_compare(known.get(job.arn), job, is_news=is_news) for job in latest.values())
    return [change for change in changes if change is not None]


def supersedes(job: Job, other: Job | JobState) -> bool:
    """Whether `job` was observed in a later state than `other`."""
    declared = job.rank is not None and other.rank is not None
    if job.terminal != other.terminal and (job.terminal or declared):
        return job.terminal
    if job.modified_at is not None and other.modified_at is not None and job.modified_at != other.modified_at:
        return job.modified_at > other.modified_at
    if job.status == other.status:
        return True
    if other.terminal:
        return _order(job) > _order(other)
    if job.modified_at is not None and declared:
        return _order(job) >= _order(other)
    return True


def _order(job: Job | JobState) -> int:
    """How far along a status is; one that is not declared comes before all others."""
    return -1 if job.rank is None else job.rank


def disappearance(known: JobState, job: Job) -> Change:
    """Say that an open job is gone; `job` is what the snapshot remembers of it."""
    entry = EventType.DISAPPEARED.value
    occurrence = known.entries.get(entry, 0)
    return Change(
        job=job,
        previous_status=known.status,
        entries={**known.entries, entry: occurrence + 1},
        event_type=EventType.DISAPPEARED,
        occurrence=occurrence,
        gone=True,
    )


def _compare(known: JobState | None, job: Job, *, is_news: Callable[[Job], bool]) -> Change | None:
    if known is None:
        event_type = EventType.STATUS_CHANGED if is_news(job) else None
        return Change(job, None, {job.status: 1}, event_type)
    if not supersedes(job, known):
        return None
    # An undeclared status can turn out to be an ending, and that is a transition too.
    if job.status != known.status or (job.terminal and not known.terminal):
        occurrence = known.entries.get(job.status, 0)
        entries = {**known.entries, job.status: occurrence + 1}
        return Change(job, known.status, entries, EventType.STATUS_CHANGED, occurrence)
    if known.gone or not job.terminal:
        return Change(job, known.status, known.entries, None)
    return None
