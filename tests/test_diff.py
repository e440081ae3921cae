"""What observations mean for the snapshot: properties over whole histories, and the decisions one by one."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poller.diff import diff, disappearance, supersedes
from poller.events import event_id
from poller.kinds import MODEL_INVOCATION_JOB
from poller.model import Change, EventType, Job, JobState

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

START = datetime(2026, 11, 20, 10, 0, tzinfo=UTC)
NOTHING: dict[str, JobState] = {}


def observed(status: str, minute: int | None = 0, *, number: int = 0) -> Job:
    """An observation of job `number`, last modified at a minute."""
    item = {"jobArn": f"arn:aws:bedrock:us-east-1:123456789012:model-invocation-job/{number:012}"}
    modified = {} if minute is None else {"lastModifiedTime": (START + timedelta(minutes=minute)).isoformat()}
    return MODEL_INVOCATION_JOB.observe({**item, **modified, "status": status})


def announced(_: Job) -> bool:
    """Every new job is an event."""
    return True


def silent(_: Job) -> bool:
    """No new job is."""
    return False


NEWS = st.sampled_from([announced, silent])


class Memory:
    """A snapshot that keeps what a store would, and every event that was published."""

    def __init__(self) -> None:
        self.rows: dict[str, JobState] = {}
        self.published: list[tuple[str, Change]] = []

    def take(self, page: Iterable[Job], *, is_news: Callable[[Job], bool] = announced) -> list[Change]:
        """Diff one page, remember it and publish."""
        changes = diff(self.rows, page, is_news=is_news)
        for change in changes:
            job = change.job
            self.rows[job.arn] = JobState(
                job.arn, job.status, job.rank, job.terminal, job.modified_at, change.entries, change.gone
            )
            if change.event_type is not None:
                name = event_id(job.arn, change.event_type, job.status, change.occurrence)
                self.published.append((name, change))
        return changes

    @property
    def ids(self) -> list[str]:
        """The ids of what was published."""
        return [name for name, _ in self.published]


@st.composite
def life(draw: st.DrawFn, number: int) -> list[Job]:
    """Every state that one job went through: forward only, at moments that never go back."""
    path = [*draw(st.lists(st.sampled_from(MODEL_INVOCATION_JOB.open_statuses), unique=True, min_size=1))]
    path.sort(key=lambda status: MODEL_INVOCATION_JOB.ranks[status])
    path += draw(st.lists(st.sampled_from(sorted(MODEL_INVOCATION_JOB.outcomes)), max_size=1))
    steps = draw(st.lists(st.integers(0, 2), min_size=len(path), max_size=len(path)))
    return [observed(status, sum(steps[: index + 1]), number=number) for index, status in enumerate(path)]


@st.composite
def lives(draw: st.DrawFn) -> list[list[Job]]:
    """The lives of a few jobs."""
    return [draw(life(number)) for number in range(draw(st.integers(1, 4)))]


@st.composite
def polls(draw: st.DrawFn, jobs: Sequence[Sequence[Job]]) -> list[list[Job]]:
    """One way to see them: observations in any order, stale and repeated ones too, the last state at last."""
    states = [state for job in jobs for state in job]
    seen = draw(st.lists(st.sampled_from(states), max_size=20)) + [job[-1] for job in jobs]
    cuts = sorted(draw(st.lists(st.integers(0, len(seen)), max_size=6)))
    edges = [0, *cuts, len(seen)]
    return [draw(st.permutations(seen[start:end])) for start, end in pairwise(edges)]


any_page = st.lists(
    st.builds(
        observed,
        st.sampled_from([*sorted(MODEL_INVOCATION_JOB.statuses), "Archiving", "Thawing"]),
        st.none() | st.integers(0, 3),
        number=st.integers(0, 2),
    ),
    max_size=12,
)


@given(st.lists(any_page, max_size=5), any_page, NEWS)
def test_diffing_the_same_listing_again_yields_nothing(
    history: list[list[Job]], page: list[Job], is_news: Callable[[Job], bool]
) -> None:
    """Whatever was known and whatever a page holds, seeing the same page once more is no event."""
    memory = Memory()
    for earlier in history:
        memory.take(earlier, is_news=is_news)
    memory.take(page, is_news=is_news)
    again = diff(memory.rows, page, is_news=announced)
    assert [change for change in again if change.event_type is not None] == []
    assert all(not change.job.terminal for change in again)


@given(st.lists(any_page, min_size=1, max_size=6))
def test_replaying_the_events_over_the_baseline_gives_the_snapshot(history: list[list[Job]]) -> None:
    """Published changes, applied in order to what the first scan recorded, end where the snapshot stands."""
    memory = Memory()
    memory.take(history[0], is_news=silent)
    replayed = {arn: row.status for arn, row in memory.rows.items()}
    for page in history[1:]:
        memory.take(page, is_news=announced)
    for _, change in memory.published:
        assert change.previous_status == replayed.get(change.job.arn)
        replayed[change.job.arn] = change.job.status
    assert replayed == {arn: row.status for arn, row in memory.rows.items()}


@given(st.lists(any_page, max_size=6), NEWS)
def test_no_two_happenings_share_an_id(history: list[list[Job]], is_news: Callable[[Job], bool]) -> None:
    """However often a job enters a status, back and forth, each entry has an id of its own."""
    memory = Memory()
    for page in history:
        memory.take(page, is_news=is_news)
    assert len(set(memory.ids)) == len(memory.ids)


@given(st.data(), lives())
def test_ids_do_not_depend_on_the_order_of_pages_or_the_split_into_polls(
    data: st.DataObject, jobs: list[list[Job]]
) -> None:
    """Any way of seeing the same lives gives ids from the same set, the last of each among them."""
    complete = Memory()
    for job in jobs:
        for state in job:
            complete.take([state])
    memory = Memory()
    for page in data.draw(polls(jobs)):
        memory.take(page)
    assert set(memory.ids) <= set(complete.ids)
    assert len(set(memory.ids)) == len(memory.ids)
    last = {event_id(job[-1].arn, EventType.STATUS_CHANGED, job[-1].status, 0) for job in jobs}
    assert last <= set(memory.ids)


@given(st.data(), lives())
def test_the_snapshot_does_not_depend_on_the_order_of_pages(
    data: st.DataObject, jobs: list[list[Job]]
) -> None:
    """Stale and repeated observations, in any order, leave every job in its last state."""
    memory = Memory()
    for page in data.draw(polls(jobs)):
        memory.take(page)
    assert {arn: row.status for arn, row in memory.rows.items()} == {
        job[-1].arn: job[-1].status for job in jobs
    }


@given(st.data(), lives())
def test_an_ended_job_never_looks_open_again_at_the_same_time(
    data: st.DataObject, jobs: list[list[Job]]
) -> None:
    """A replica of the service that lags behind cannot reopen a job that was seen to end."""
    memory = Memory()
    ended: set[str] = set()
    for page in data.draw(polls(jobs)):
        memory.take(page)
        open_again = {arn for arn in ended if not memory.rows[arn].terminal}
        assert not open_again
        ended |= {arn for arn, row in memory.rows.items() if row.terminal}


def test_a_first_scan_records_without_announcing() -> None:
    """A job without a row is silent in a baseline and an event after it, with no previous status."""
    (quiet,) = diff(NOTHING, [observed("InProgress")], is_news=silent)
    assert (quiet.event_type, quiet.previous_status, quiet.entries) == (None, None, {"InProgress": 1})
    (loud,) = diff(NOTHING, [observed("InProgress")], is_news=announced)
    assert (loud.event_type, loud.occurrence) == (EventType.STATUS_CHANGED, 0)
    assert (loud.previous_status, loud.entries) == (None, {"InProgress": 1})


def test_a_change_carries_the_last_status_seen() -> None:
    """Statuses skipped between two polls are not invented: one event, from the last seen to the new one."""
    memory = Memory()
    memory.take([observed("Submitted", 0)], is_news=silent)
    (change,) = memory.take([observed("Completed", 9)])
    assert (change.previous_status, change.job.status) == ("Submitted", "Completed")


def test_of_a_job_listed_twice_the_later_modification_wins() -> None:
    """One change comes of two states on a page, whichever stands first."""
    early, late = observed("InProgress", 1), observed("Completed", 2)
    for page in ([early, late], [late, early]):
        (change,) = diff(NOTHING, page, is_news=announced)
        assert change.job.status == "Completed"


def test_of_a_job_listed_twice_at_one_time_the_life_cycle_decides() -> None:
    """At equal modification times the state further along is the later one."""
    early, late = observed("Validating", 1), observed("Scheduled", 1)
    for page in ([early, late], [late, early]):
        (change,) = diff(NOTHING, page, is_news=announced)
        assert change.job.status == "Scheduled"


def test_changes_come_in_the_order_first_seen() -> None:
    """A page's order of jobs is kept, also where a later state replaces an earlier one."""
    page = [observed("InProgress", 0, number=n) for n in (3, 1, 2)] + [observed("Completed", 1, number=3)]
    numbers = [int(change.job.id) for change in diff(NOTHING, page, is_news=announced)]
    assert numbers == [3, 1, 2]


def test_a_stale_observation_is_ignored() -> None:
    """What was modified before the snapshot's state changes nothing, not even silently."""
    memory = Memory()
    memory.take([observed("Completed", 5)])
    assert memory.take([observed("InProgress", 4)]) == []
    assert memory.take([observed("Failed", 4)]) == []


def test_a_status_that_goes_backwards_later_is_believed() -> None:
    """An open job may go back and come again, each time under a new id."""
    memory = Memory()
    for minute, status in enumerate(["Validating", "Scheduled", "Validating", "Scheduled"]):
        memory.take([observed(status, minute)])
    assert [change.occurrence for _, change in memory.published] == [0, 0, 1, 1]
    assert memory.published[-1][1].entries == {"Validating": 2, "Scheduled": 2}
    assert len(set(memory.ids)) == 4


@pytest.mark.parametrize("minute", [-9, 5, 9, None])
def test_an_ended_status_beats_an_open_one_whatever_the_times(minute: int | None) -> None:
    """A modification time may be wrong; that a job has ended is not taken back (fault 52)."""
    memory = Memory()
    memory.take([observed("InProgress", 5)])
    assert len(memory.take([observed("Completed", minute)])) == 1
    assert memory.take([observed("InProgress", 10_000)]) == []
    assert memory.take([observed("InProgress", None)]) == []


def test_two_endings_at_one_time_are_corrected_once_at_most() -> None:
    """Two answers that disagree for ever would otherwise be an event at every poll (fault 75)."""
    for minute in (5, None):
        memory = Memory()
        for status in ["Completed", "Failed"] * 5:
            memory.take([observed(status, minute)])
        assert [change.job.status for _, change in memory.published] == ["Completed", "Failed"]


def test_an_unknown_status_that_turns_out_to_be_an_ending_is_announced_as_one() -> None:
    """The status stays, the job has ended: that is told once, under an id of its own (fault 53)."""
    memory = Memory()
    memory.take([observed("InProgress", 1)])
    memory.take([observed("Archived", 2)])
    ended = MODEL_INVOCATION_JOB.observe(
        {"jobArn": observed("Archived", 2).arn, "status": "Archived", "endTime": "2026-11-20T10:03:00Z"}
    )
    assert (ended.terminal, ended.outcome) == (True, None)
    (change,) = memory.take([ended])
    assert (change.previous_status, change.occurrence) == ("Archived", 1)
    assert memory.take([ended]) == []
    assert len(set(memory.ids)) == len(memory.ids)


def test_a_modification_after_the_end_is_no_change() -> None:
    """An ended job whose modification time moves on is neither announced nor written."""
    memory = Memory()
    memory.take([observed("Completed", 5)])
    assert memory.take([observed("Completed", 6)]) == []


def test_an_open_job_is_refreshed_silently() -> None:
    """Record counts move while the status stays, so the row is written and nothing published."""
    memory = Memory()
    memory.take([observed("InProgress", 5)])
    (change,) = memory.take([observed("InProgress", 5)])
    assert (change.event_type, change.entries) == (None, {"InProgress": 1})


def test_without_times_or_ranks_the_newer_observation_is_believed() -> None:
    """Where neither a time nor the life cycle tells two states apart, what was seen last counts."""
    assert supersedes(observed("Submitted", None), observed("Scheduled", 3))
    assert not supersedes(observed("Archiving", 3), observed("Completed", 3))
    assert supersedes(observed("Archiving", 4), observed("Completed", 3))
    assert supersedes(observed("Completed", 3), observed("Archiving", 3))
    assert not supersedes(observed("Submitted", 3), observed("Completed", None))
    assert supersedes(observed("Completed", 3), observed("Submitted", None))


def test_a_disappearance_is_counted_apart_from_statuses() -> None:
    """It keeps the last status, and a second one of the same job has another id."""
    memory = Memory()
    memory.take([observed("InProgress", 1)])
    job = observed("InProgress", 1)
    first = disappearance(memory.rows[job.arn], job)
    assert (first.event_type, first.gone, first.occurrence) == (EventType.DISAPPEARED, True, 0)
    assert first.previous_status == "InProgress"
    known = JobState(job.arn, job.status, job.rank, False, job.modified_at, first.entries, gone=True)
    again = disappearance(known, job)
    assert again.occurrence == 1
    assert again.entries == {"InProgress": 1, EventType.DISAPPEARED: 2}


def test_a_job_that_reappears_unchanged_is_recorded_silently() -> None:
    """Nothing old is announced again when a job that was gone shows up as it was."""
    job = observed("Completed", 1)
    gone = JobState(job.arn, "Completed", job.rank, True, job.modified_at, {"Completed": 1}, gone=True)
    (change,) = diff({job.arn: gone}, [job], is_news=announced)
    assert (change.event_type, change.gone) == (None, False)


def test_a_job_that_reappears_changed_is_announced() -> None:
    """What happened while a job was gone is an event, from the last status seen."""
    job = observed("Completed", 2)
    gone = JobState(job.arn, "InProgress", 3, False, START, {"InProgress": 1}, gone=True)
    (change,) = diff({job.arn: gone}, [job], is_news=announced)
    assert (change.event_type, change.previous_status) == (EventType.STATUS_CHANGED, "InProgress")
