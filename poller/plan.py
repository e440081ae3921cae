"""Decides how one cycle looks at a target: what to list, and which jobs to get one by one.

Pure. A steady cycle must see every new job and every open job. A listing from a cutoff shows all jobs
submitted since, at one call a page; an open job older than the cutoff costs one Get. `choose` finds the
cutoff with the fewest calls. The lower edge of the window comes from times that the service itself reported,
minus an overlap, never from the local clock.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from dataclasses import dataclass
from datetime import timedelta
from itertools import chain
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

PAGE_SIZE = 1000
"""The largest page that the list operations give (`maxResults`, botocore's service models)."""

MISSES_BEFORE_GONE = 3
"""How many complete listings in a row must lack an open job before a Get is asked whether it is gone."""

MARGIN = timedelta(seconds=1)
"""How far before a job's submission a window begins that is to show it: no documentation says whether
`submitTimeAfter` includes its own moment, and one kind reports whole seconds."""


@dataclass(frozen=True, slots=True)
class OpenJob:
    """An open job of the snapshot.

    Args:
        arn: The job.
        submitted_at: `None` if the service never said.
        missed: How many complete scans in a row should have shown it and did not.
        get_failures: How often in a row its Get has failed.
        waiting: Its Get has failed, and is not to be tried yet.
    """

    arn: str
    submitted_at: datetime | None
    missed: int = 0
    get_failures: int = 0
    waiting: bool = False


@dataclass(frozen=True, slots=True)
class ScanPlan:
    """What to do in one cycle.

    Args:
        since: List the jobs submitted after this; `None` lists all: a full scan.
        gets: ARNs of the open jobs that the listing cannot show, oldest submission first.
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


def narrowest(*, high_water: datetime, overlap: timedelta, open_jobs: Sequence[OpenJob]) -> ScanPlan:
    """The plan with the shortest listing that is allowed, and a Get for every older open job.

    Args:
        high_water: The newest submission time that a complete scan saw.
        overlap: How far before it a window begins, because jobs can become visible late.
        open_jobs: The snapshot's open jobs. One that was missed has to be missing from further listings
            before it is believed gone, so the window reaches back to it. Once it has been missed often
            enough, a listing says no more about it, and only a Get can.
    """
    missed = [
        job.submitted_at
        for job in open_jobs
        if 0 < job.missed < MISSES_BEFORE_GONE and job.submitted_at is not None
    ]
    since = min([high_water - overlap, *(submitted - MARGIN for submitted in missed)])
    return _from(since, _by_age(open_jobs))


def choose(
    *,
    narrow: ScanPlan,
    open_jobs: Sequence[OpenJob],
    page_edges: Iterable[datetime],
    page_cost: float = 1.0,
    get_cost: float = 1.0,
) -> ScanPlan:
    """Find the cheapest plan: pages of one listing plus a Get for each open job older than its cutoff.

    Between two open jobs a later cutoff never costs more, so the cutoffs worth looking at are the narrow
    plan's and those just before an open job.

    Args:
        narrow: The narrowest plan allowed.
        open_jobs: The snapshot's open jobs.
        page_edges: When the 1000th, 2000th, … newest known job was submitted, newest first. Taken one at a
            time, and none beyond the page at which every plan costs too much: history is not looked at.
        page_cost: What a page costs.
        get_cost: What a Get costs.

    Returns:
        The cheapest; of equals the one with the shortest listing.
    """
    if narrow.since is None or not narrow.gets:
        return narrow
    jobs = _by_age(open_jobs)
    times = [job.submitted_at for job in jobs if job.submitted_at is not None]
    timeless = len(jobs) - len(times)
    edges = iter(page_edges)
    edge = next(edges, None)
    pages = 1
    since, lowest = narrow.since, math.inf
    older = reversed(times[: bisect_right(times, narrow.since)])
    for cutoff in chain([narrow.since], (submitted - MARGIN for submitted in older)):
        while edge is not None and edge > cutoff and pages * page_cost < lowest:
            pages += 1
            edge = next(edges, None)
        if pages * page_cost >= lowest:
            break
        cost = pages * page_cost + (timeless + bisect_right(times, cutoff)) * get_cost
        if cost < lowest:
            since, lowest = cutoff, cost
    return narrow if since == narrow.since else _from(since, jobs)


def _by_age(open_jobs: Sequence[OpenJob]) -> list[OpenJob]:
    """Oldest submission first, those without a time before all; the order they came in settles ties."""
    timeless = [job for job in open_jobs if job.submitted_at is None]
    timed = [(job.submitted_at, job) for job in open_jobs if job.submitted_at is not None]
    return timeless + [job for _, job in sorted(timed, key=lambda pair: (pair[0], pair[1].arn))]


def _from(since: datetime, jobs: Sequence[OpenJob]) -> ScanPlan:
    gets = (job.arn for job in jobs if job.submitted_at is None or job.submitted_at <= since)
    return ScanPlan(since=since, gets=tuple(gets))
