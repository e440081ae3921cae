"""What one cycle lists and gets, judged against a made-up service whose pages can be counted."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from poller.plan import PAGE_SIZE, OpenJob, ScanPlan, choose, full_scan, widest_edge

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

    def calls(self, plan: ScanPlan, jobs: list[OpenJob]) -> int:
        """What a plan costs: the pages, at least one, and the Gets."""
        assert plan.since is not None
        return max(1, -(-self.listed(plan.since, jobs) // PAGE_SIZE)) + len(plan.gets)


services = st.lists(st.tuples(st.integers(-3000, 60), st.integers(0, 2500)), max_size=6).map(Service)
overlaps = st.integers(0, 600).map(lambda minutes: timedelta(minutes=minutes))
marks = st.integers(-3000, 60).map(minute)


def planned(service: Service, jobs: list[OpenJob], mark: datetime, overlap: timedelta) -> ScanPlan:
    """The plan that `choose` makes for a service whose jobs are all known."""
    edge = widest_edge(overlap=overlap, open_jobs=jobs)
    since_oldest = 0 if edge is None else service.listed(edge, jobs)
    return choose(high_water=mark, overlap=overlap, open_jobs=jobs, jobs_since_oldest=since_oldest)


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
def test_the_plan_never_costs_more_calls_than_the_narrow_one(
    service: Service, jobs: list[OpenJob], mark: datetime, overlap: timedelta
) -> None:
    """The wider window is taken only where it is cheaper, counted in calls that a service would see."""
    calm = [OpenJob(job.arn, job.submitted_at) for job in jobs]
    since = mark - overlap
    gets = [job.arn for job in calm if job.submitted_at is None or job.submitted_at <= since]
    narrow = ScanPlan(since, tuple(gets))
    plan = planned(service, calm, mark, overlap)
    assert service.calls(plan, calm) <= service.calls(narrow, calm)


@given(services, open_jobs, marks, overlaps.filter(bool))
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


@given(open_jobs, marks, st.integers(0, 10**6))
def test_the_plan_is_a_function_of_the_snapshot(jobs: list[OpenJob], mark: datetime, count: int) -> None:
    """The order in which open jobs are given changes only the order of the Gets."""
    plan = choose(high_water=mark, overlap=OVERLAP, open_jobs=jobs, jobs_since_oldest=count)
    again = choose(high_water=mark, overlap=OVERLAP, open_jobs=jobs[::-1], jobs_since_oldest=count)
    assert (plan.since, sorted(plan.gets)) == (again.since, sorted(again.gets))


def test_a_full_scan_lists_everything_and_gets_nothing() -> None:
    """There is no window before a complete scan has seen a submission."""
    assert full_scan() == ScanPlan(since=None, gets=())
    plan = choose(high_water=None, overlap=OVERLAP, open_jobs=[open_job(1, 0)], jobs_since_oldest=5)
    assert plan == full_scan()
    assert plan.full


def test_with_nothing_open_one_page_is_asked_for() -> None:
    """The window begins at the newest submission less the overlap."""
    plan = choose(high_water=minute(60), overlap=OVERLAP, open_jobs=[], jobs_since_oldest=0)
    assert plan == ScanPlan(since=minute(50))


def test_one_old_open_job_in_a_small_history_is_got_rather_than_listed() -> None:
    """One Get is no dearer than a wider listing and shows more."""
    jobs = [open_job(1, -500)]
    plan = choose(high_water=minute(60), overlap=OVERLAP, open_jobs=jobs, jobs_since_oldest=999)
    assert plan == ScanPlan(since=minute(50), gets=("arn:1",)) or plan == ScanPlan(since=minute(-510))
    crowded = choose(high_water=minute(60), overlap=OVERLAP, open_jobs=jobs, jobs_since_oldest=50_000)
    assert crowded == ScanPlan(since=minute(50), gets=("arn:1",))


def test_many_old_open_jobs_are_listed_rather_than_got() -> None:
    """Three pages more are cheaper than five Gets."""
    jobs = [open_job(number, -500 + number) for number in range(5)]
    plan = choose(high_water=minute(60), overlap=OVERLAP, open_jobs=jobs, jobs_since_oldest=3999)
    assert plan == ScanPlan(since=minute(-510))
    plan = choose(high_water=minute(60), overlap=OVERLAP, open_jobs=jobs, jobs_since_oldest=5000)
    assert plan.gets == tuple(job.arn for job in jobs)


def test_a_job_without_a_time_is_always_got() -> None:
    """No window is known to show it, not even the widest."""
    jobs = [open_job(1, None), *(open_job(number, -500) for number in range(2, 9))]
    plan = choose(high_water=minute(60), overlap=OVERLAP, open_jobs=jobs, jobs_since_oldest=10)
    assert plan == ScanPlan(since=minute(-510), gets=("arn:1",))
    assert widest_edge(overlap=OVERLAP, open_jobs=jobs[:1]) is None
    alone = choose(high_water=minute(60), overlap=OVERLAP, open_jobs=jobs[:1], jobs_since_oldest=0)
    assert alone == ScanPlan(since=minute(50), gets=("arn:1",))


def test_a_job_on_the_edge_is_got() -> None:
    """Nobody has documented whether the window includes its own edge."""
    plan = choose(high_water=minute(60), overlap=OVERLAP, open_jobs=[open_job(1, 50)], jobs_since_oldest=9999)
    assert plan.gets == ("arn:1",)
