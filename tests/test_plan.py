"""What one cycle lists and gets, judged against a made-up service whose pages can be counted."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from poller.plan import (
    MARGIN,
    PAGE_SIZE,
    OpenJob,
    ScanPlan,
    choose,
    full_scan,
    narrowest,
)

if TYPE_CHECKING:
    from random import Random

START = datetime(2026, 11, 20, 10, 0, tzinfo=UTC)
OVERLAP = timedelta(minutes=10)


def minute(number: float) -> datetime:
    """A moment."""
    return START + timedelta(minutes=number)


def open_job(number: int, at: float | None, missed: int = 0) -> OpenJob:
    """An open job, submitted at a minute."""
    return OpenJob(f"arn:{number}", None if at is None else minute(at), missed)


open_jobs = st.lists(
    st.tuples(st.none() | st.integers(-3000, 60), st.sampled_from([0, 0, 0, 1, 2])), max_size=12
).map(lambda jobs: [open_job(number, at, missed) for number, (at, missed) in enumerate(jobs)])


@dataclass
class Service:
    """When the ended jobs were submitted, in crowds: (minute, how many)."""

    ended: list[tuple[int, int]]

    def listed(self, since: datetime, jobs: list[OpenJob]) -> int:
        """How many jobs a listing from a cutoff shows."""
        shown = sum(count for at, count in self.ended if minute(at) > since)
        return shown + sum(job.submitted_at is not None and job.submitted_at > since for job in jobs)

    def cost(self, since: datetime, jobs: list[OpenJob], costs: tuple[int, int] = (1, 1)) -> int:
        """What a cutoff costs: its pages, a full last one followed by an empty one, and the Gets."""
        older = sum(job.submitted_at is None or job.submitted_at <= since for job in jobs)
        return costs[0] * (1 + self.listed(since, jobs) // PAGE_SIZE) + costs[1] * older

    def edges(self, jobs: list[OpenJob]) -> list[datetime]:
        """When every thousandth job from the newest back was submitted."""
        times = [minute(at) for at, count in self.ended for _ in range(count)]
        times += [job.submitted_at for job in jobs if job.submitted_at is not None]
        return sorted(times, reverse=True)[PAGE_SIZE - 1 :: PAGE_SIZE]


services = st.lists(st.tuples(st.integers(-3000, 60), st.integers(0, 2500)), max_size=6).map(Service)
overlaps = st.integers(0, 600).map(lambda minutes: timedelta(minutes=minutes))
marks = st.integers(-3000, 60).map(minute)


weights = st.tuples(st.integers(1, 7), st.integers(1, 7))


def planned(
    service: Service,
    jobs: list[OpenJob],
    mark: datetime,
    overlap: timedelta,
    costs: tuple[int, int] = (1, 1),
) -> ScanPlan:
    """The plan for a service whose jobs are all known."""
    narrow = narrowest(high_water=mark, overlap=overlap, open_jobs=jobs)
    edges = service.edges(jobs)
    return choose(narrow=narrow, open_jobs=jobs, page_edges=edges, page_cost=costs[0], get_cost=costs[1])


@given(services, open_jobs, marks, overlaps, weights)
def test_no_cutoff_costs_less(
    service: Service, jobs: list[OpenJob], mark: datetime, overlap: timedelta, costs: tuple[int, int]
) -> None:
    """Brute force over every cutoff that tells two jobs apart never finds a cheaper one."""
    plan = planned(service, jobs, mark, overlap, costs)
    latest = narrowest(high_water=mark, overlap=overlap, open_jobs=jobs).since
    assert plan.since is not None
    assert latest is not None
    times = [minute(at) for at, _ in service.ended] + [job.submitted_at for job in jobs if job.submitted_at]
    around = [time + step for time in times for step in (-MARGIN, timedelta(0), MARGIN)]
    cutoffs = [latest, *(cutoff for cutoff in around if cutoff <= latest)]
    cheapest = min(service.cost(cutoff, jobs, costs) for cutoff in cutoffs)
    assert service.cost(plan.since, jobs, costs) == cheapest


@given(services, open_jobs, marks, overlaps)
def test_every_open_job_is_listed_or_got(
    service: Service, jobs: list[OpenJob], mark: datetime, overlap: timedelta
) -> None:
    """Each stands after the window's edge or among the Gets, never in both and never in neither."""
    plan = planned(service, jobs, mark, overlap)
    assert plan.since is not None
    inside = {job.arn for job in jobs if job.submitted_at is not None and job.submitted_at > plan.since}
    assert inside | set(plan.gets) == {job.arn for job in jobs}
    assert not inside & set(plan.gets)
    assert len(set(plan.gets)) == len(plan.gets)


@given(services, open_jobs, marks, overlaps)
def test_the_window_begins_no_later_than_the_overlap_before_the_newest_submission(
    service: Service, jobs: list[OpenJob], mark: datetime, overlap: timedelta
) -> None:
    """A job that becomes visible within the overlap is never missed."""
    plan = planned(service, jobs, mark, overlap)
    assert not plan.full
    assert plan.since is not None
    assert plan.since <= mark - overlap


@given(services, open_jobs, marks, overlaps)
def test_a_job_that_was_missed_is_looked_for_in_the_listing(
    service: Service, jobs: list[OpenJob], mark: datetime, overlap: timedelta
) -> None:
    """Only further complete listings can say that it is gone, so the window reaches back to it."""
    plan = planned(service, jobs, mark, overlap)
    assert plan.since is not None
    for job in jobs:
        if job.missed and job.submitted_at is not None:
            assert job.submitted_at > plan.since
            assert job.arn not in plan.gets


@given(services, open_jobs, marks, st.randoms())
def test_the_plan_is_a_function_of_the_snapshot(
    service: Service, jobs: list[OpenJob], mark: datetime, dice: Random
) -> None:
    """The order in which open jobs are given changes nothing but the order of Gets without a time."""
    plan = planned(service, jobs, mark, OVERLAP)
    shuffled = dice.sample(jobs, len(jobs))
    again = planned(service, shuffled, mark, OVERLAP)
    assert (plan.since, sorted(plan.gets)) == (again.since, sorted(again.gets))


@given(services, open_jobs, marks)
def test_dear_gets_are_avoided_and_cheap_ones_are_not(
    service: Service, jobs: list[OpenJob], mark: datetime
) -> None:
    """The weights decide: with free Gets nothing beats the narrow plan, with free pages none is made."""
    narrow = narrowest(high_water=mark, overlap=OVERLAP, open_jobs=jobs)
    edges = service.edges(jobs)
    assert choose(narrow=narrow, open_jobs=jobs, page_edges=edges, get_cost=0) == narrow
    wide = choose(narrow=narrow, open_jobs=jobs, page_edges=edges, page_cost=0)
    assert set(wide.gets) == {job.arn for job in jobs if job.submitted_at is None}


def test_gets_come_oldest_first() -> None:
    """Those without a time before all, so that what does not fit one cycle is what is newest."""
    jobs = [open_job(1, -10), open_job(2, None), open_job(3, -30)]
    plan = narrowest(high_water=minute(60), overlap=OVERLAP, open_jobs=jobs)
    assert plan.gets == ("arn:2", "arn:3", "arn:1")


def test_a_full_scan_lists_everything_and_gets_nothing() -> None:
    """It has no window, and there is nothing cheaper to choose."""
    assert full_scan() == ScanPlan(since=None, gets=())
    assert full_scan().full
    assert choose(narrow=full_scan(), open_jobs=[open_job(1, 0)], page_edges=[]) == full_scan()


def test_with_nothing_open_one_page_is_asked_for() -> None:
    """The window begins at the newest submission less the overlap."""
    plan = narrowest(high_water=minute(60), overlap=OVERLAP, open_jobs=[])
    assert plan == ScanPlan(since=minute(50))
    edges = iter([minute(0)])
    assert choose(narrow=plan, open_jobs=[], page_edges=edges) == plan
    assert list(edges) == [minute(0)]


@given(services, open_jobs, marks, overlaps)
def test_history_is_read_no_further_than_a_plan_may_cost(
    service: Service, jobs: list[OpenJob], mark: datetime, overlap: timedelta
) -> None:
    """At most one edge for each call of the plan chosen, and as many as the narrow window needs."""
    narrow = narrowest(high_water=mark, overlap=overlap, open_jobs=jobs)
    assert narrow.since is not None
    edges = service.edges(jobs)
    unread = iter(edges)
    plan = choose(narrow=narrow, open_jobs=jobs, page_edges=unread)
    assert plan.since is not None
    needed = sum(edge > narrow.since for edge in edges) + 1
    assert len(edges) - len(list(unread)) <= max(needed, service.cost(plan.since, jobs))


def test_many_old_open_jobs_are_listed_rather_than_got() -> None:
    """Three pages more are cheaper than five Gets, and six are not."""
    jobs = [open_job(number, -500 + number) for number in range(5)]
    few, many = Service([(0, 3500)]), Service([(0, 6500)])
    assert planned(few, jobs, minute(60), OVERLAP) == ScanPlan(since=minute(-500) - MARGIN)
    assert planned(many, jobs, minute(60), OVERLAP).gets == tuple(job.arn for job in jobs)


def test_a_straggler_is_got_and_the_others_are_listed() -> None:
    """One very old job does not make the listing reach back to it."""
    jobs = [open_job(0, -2900), *(open_job(number, -40 + number) for number in range(1, 9))]
    plan = planned(Service([(-1000, 50_000)]), jobs, minute(60), OVERLAP)
    assert plan == ScanPlan(since=minute(-39) - MARGIN, gets=("arn:0",))
