"""Decides how one cycle looks at a target: what to list, and which jobs to get one by one.

Pure. A steady cycle must see every new job and every open job. A listing from a cutoff shows all jobs
submitted since, at one call a page; an open job older than the cutoff costs one Get. The lower edge of the
window comes from times that the service itself reported, minus an overlap, never from the local clock.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime, timedelta

PAGE_SIZE = 1000
"""The largest page that the list operations give (`maxResults`, botocore's service models)."""


@dataclass(frozen=True, slots=True)
class OpenJob:
    """An open job of the snapshot.

    Args:
        arn: The job.
        submitted_at: `None` if the service never said.
        missed: How many complete scans in a row should have shown it and did not.
    """

    arn: str
    submitted_at: datetime | None
    missed: int = 0


@dataclass(frozen=True, slots=True)
class ScanPlan:
    """What to do in one cycle.

    Args:
        since: List the jobs submitted after this; `None` lists all: a full scan.
        gets: ARNs of the open jobs that the listing cannot show.
    """

    since: datetime | None
    gets: tuple[str, ...] = ()

    @property
    def full(self) -> bool:
        """Whether the listing shows every job there is."""
        return self.since is None


def full_scan() -> ScanPlan:
    """Plan a listing without a window."""
    return ScanPlan(since=None)


def choose(
    *,
    high_water: datetime | None,
    overlap: timedelta,
    open_jobs: Sequence[OpenJob],
    jobs_since_oldest: int,
) -> ScanPlan:
    """Choose the cheaper of two windows, in API calls.

    One begins at the newest submission seen and gets every older open job; the other begins at the oldest
    open job and needs no Get for those that carry a time.

    Args:
        high_water: The newest submission time that a complete scan saw; `None` asks for a full scan.
        overlap: How far before an edge the window begins. Covers jobs that become visible late, and that
            nobody has documented whether `submitTimeAfter` includes its own moment.
        open_jobs: The snapshot's open jobs.
        jobs_since_oldest: How many known jobs were submitted since the oldest of `open_jobs`, less the
            overlap; what the wider listing would return.
    """
    if high_water is None:
        return full_scan()
    # A job that was missed has to be missing from further listings before it is believed gone.
    suspects = (job.submitted_at for job in open_jobs if job.missed and job.submitted_at is not None)
    narrow = _window(min((high_water, *suspects)) - overlap, open_jobs)
    edge = widest_edge(overlap=overlap, open_jobs=open_jobs)
    if not narrow.gets or edge is None:
        return narrow
    wide = _window(min(high_water - overlap, edge), open_jobs)
    extra_pages = jobs_since_oldest // PAGE_SIZE
    return wide if extra_pages + len(wide.gets) < len(narrow.gets) else narrow


def widest_edge(*, overlap: timedelta, open_jobs: Sequence[OpenJob]) -> datetime | None:
    """Where the wider window would begin; `None` if no open job carries a time."""
    times = [job.submitted_at for job in open_jobs if job.submitted_at is not None]
    return min(times) - overlap if times else None


def _window(since: datetime, open_jobs: Sequence[OpenJob]) -> ScanPlan:
    gets = (job.arn for job in open_jobs if job.submitted_at is None or job.submitted_at <= since)
    return ScanPlan(since=since, gets=tuple(gets))
