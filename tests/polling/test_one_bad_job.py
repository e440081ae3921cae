"""One bad job costs only itself: its poll goes on, others are told in time, and so is its own ending."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from poller.diff import diff
from poller.kinds import CUT, KINDS
from poller.model import Job, JobState
from poller.simulator import faults
from poller.store.tables import jobs
from tests.polling.conftest import ASYNC, BATCH, OPEN

if TYPE_CHECKING:
    from structlog.typing import EventDict

    from poller.model import Target
    from tests.harness.service import Service
    from tests.polling.conftest import Bench, Poll

LISTS = {ASYNC: "ListAsyncInvokes", BATCH: "ListModelInvocationJobs"}
GETS = {ASYNC: "GetAsyncInvoke", BATCH: "GetModelInvocationJob"}


def poisoned(arn: str, **error: Any) -> faults.Fault:
    """A Get of one job that fails for ever."""
    return faults.Fail(arn=arn, operation=GETS[BATCH], **error)


@pytest.fixture
def old(bench: Bench) -> tuple[Bench, list[str]]:
    """After a first scan with two old open jobs, which only a Get shows cheaply."""
    arns = [bench.simulator.submit_batch(script=OPEN) for _ in range(2)]
    for second in range(2100):
        at = bench.clock.now + timedelta(seconds=3600 + second)
        bench.simulator.submit_batch(submitted_at=at, script=[("Submitted", 0), ("Completed", 1)])
    bench.clock.tick(9000)
    assert bench.poll().report.failure is None
    bench.clock.tick(60)
    return bench, arns


@pytest.mark.parametrize(
    "error",
    [
        {"code": "InternalServerException", "status": 500},
        {"code": "ValidationException", "status": 400, "message": "1 validation error detected"},
        {"code": "AccessDeniedException", "status": 403, "message": "no policy allows it"},
    ],
    ids=["500", "400", "403"],
)
def test_a_get_that_fails_for_ever_costs_its_own_job_only(
    old: tuple[Bench, list[str]], error: dict[str, Any], log: list[EventDict]
) -> None:
    """Polls are complete, others are told at once, the job itself by the next full scan (fault 51)."""
    bench, (bad, good) = old
    bench.simulator.faults.add(poisoned(bad, **error))
    first = bench.poll()
    assert first.report.failure is None
    assert first.calls == [LISTS[BATCH], GETS[BATCH], GETS[BATCH]]
    for arn in (bad, good):
        bench.simulator.force(arn, "Completed")
    bench.clock.tick(60)
    assert [event["data"]["job_arn"] for event in bench.poll().events] == [good]
    later = bench.polls(20, every=420)
    assert sum(len(poll.calls) for poll in later) < 30
    bench.clock.tick(24 * 3600)
    (event,) = [event for poll in (*later, bench.poll()) for event in poll.events]
    assert (event["data"]["job_arn"], event["data"]["details"]) == (bad, "unavailable")
    assert bench.count("job_get_failures_total", reason=first_reason(error)) > 1
    assert {line["job_arn"] for line in log if line["event"] == "job.get_failed"} == {bad}


def first_reason(error: dict[str, Any]) -> str:
    """The reason by which such a failure is counted."""
    return {"Validation": "invalid", "AccessDeni": "access_denied"}.get(error["code"][:10], "service")


def test_a_get_that_works_again_is_made_at_every_poll_again(old: tuple[Bench, list[str]]) -> None:
    """After a failure a job waits for its turn, longer each time; after a success not at all (fault 51)."""
    bench, (bad, _) = old
    with bench.simulator.faults.active(poisoned(bad)):
        assert bench.poll().calls.count(GETS[BATCH]) == 2
        bench.clock.tick(30)
        assert bench.poll().calls.count(GETS[BATCH]) == 1
    bench.clock.tick(31)
    assert bench.poll().calls.count(GETS[BATCH]) == 2
    assert bench.poll().calls.count(GETS[BATCH]) == 2


@pytest.mark.parametrize("error", [{}, {"code": "ServiceUnavailableException", "status": 503}], ids=str)
def test_many_jobs_whose_gets_fail_end_no_poll_and_hide_no_other(
    old: tuple[Bench, list[str]], error: dict[str, Any]
) -> None:
    """Three in a row leave the others to the next poll, which begins with them (fault 51)."""
    bench, (*_, good) = old
    arns = [bench.simulator.submit_batch(script=OPEN, fields={"submitTime": None}) for _ in range(7)]
    bench.clock.tick(24 * 3600)
    assert bench.poll().report.failure is None
    for arn in arns:
        bench.simulator.faults.add(poisoned(arn, **error))
    bench.simulator.force(good, "Completed")
    bench.clock.tick(60)
    polls = bench.polls(4, every=60)
    assert [poll.report.failure for poll in polls] == [None] * 4
    assert max(poll.calls.count(GETS[BATCH]) for poll in polls) <= 8
    assert [event["data"]["job_arn"] for poll in polls for event in poll.events] == [good]


ABSURD: tuple[Any, ...] = (
    "9999-12-31T23:59:59Z",
    "0001-01-01T00:00:00Z",
    "1970-01-01T00:00:00Z",
    1e300,
    -1,
    "soon",
    None,
    [],
)
FIELDS = ("submitTime", "creationTime", "lastModifiedTime", "endTime", "jobExpirationTime")


@pytest.mark.parametrize("target", [ASYNC, BATCH], ids=["async", "batch"])
@pytest.mark.parametrize("absurd", ABSURD, ids=str)
def test_absurd_times_lose_no_ending(baselined: Bench, target: Target, absurd: Any) -> None:
    """Shown once, in every field, while the job is open: its ending is told all the same (fault 52)."""
    submit = baselined.simulator.submit_batch if target is BATCH else baselined.simulator.submit_async
    arn = submit(script=OPEN)
    wrong = faults.Change(lambda item: {**item, **{key: absurd for key in FIELDS if key in item}}, arn=arn)
    with baselined.simulator.faults.active(wrong):
        assert baselined.poll(target).told == [(None, "InProgress")]
        baselined.clock.tick(60)
        assert baselined.poll(target).told == []
    baselined.clock.tick(60)
    baselined.simulator.force(arn, "Failed", message="why")
    told = [poll.told for poll in baselined.polls(5, target)]
    assert [each for poll in told for each in poll] == [("InProgress", "Failed")]


def test_an_absurd_time_in_an_old_store_hides_nothing(baselined: Bench) -> None:
    """A row that was written with a modification in the year 9999 is outdone by what is seen (fault 52)."""
    arn = baselined.simulator.submit_batch(script=[("Submitted", 0.0)])
    baselined.poll()
    far = 253_402_300_799 * 1_000_000
    with baselined.database.engine.begin() as connection:
        connection.execute(sa.update(jobs).where(jobs.c.arn == arn).values(modified_at=far))
    baselined.simulator.force(arn, "Validating")
    assert baselined.polls(1)[0].told == [("Submitted", "Validating")]


_moments = st.none() | st.sampled_from(ABSURD) | st.datetimes().map(lambda when: when.isoformat() + "Z")


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(st.data())
def test_whatever_the_times_an_ending_is_told_once(data: st.DataObject) -> None:
    """For every kind, with any time in any field of any observation (fault 52)."""
    kind = KINDS[data.draw(st.sampled_from(sorted(KINDS)))]
    arn = kind.make_arn("abcdefghwxyz", account="123456789012", region="us-east-1")
    began = "2026-11-20T10:00:00Z"
    limit = kind.observe({kind.arn[0]: arn, "status": "InProgress", kind.submitted_at[0]: began})
    before = [*kind.open_statuses, "Unheard"]
    statuses = [*data.draw(st.lists(st.sampled_from(before), max_size=5)), "Failed"]
    statuses += data.draw(st.lists(st.sampled_from([*kind.open_statuses, "Failed"]), max_size=5))
    known: dict[str, JobState] = {}
    told = []
    for status in statuses:
        item = {kind.arn[0]: arn, "status": status} | {key: data.draw(_moments) for key in FIELDS}
        job: Job = kind.observe(item, limit.submitted_at)
        for change in diff(known, [job], is_news=lambda _: True):
            told += [change.job.status] if change.event_type else []
            known[arn] = JobState(
                arn, job.status, job.rank, job.terminal, job.modified_at, change.entries, change.gone
            )
    assert told.count("Failed") == 1
    assert told[-1] == "Failed"


def test_a_terminal_status_that_nobody_declared_is_settled_by_its_end(baselined: Bench) -> None:
    """An end of its own makes a job terminal, without an outcome; it costs no call any more (fault 53)."""
    arn = baselined.simulator.submit_batch(script=OPEN)
    baselined.poll()
    ended = baselined.clock.now.isoformat()
    odd = faults.Change(lambda item: {**item, "status": "Evicted", "endTime": ended}, arn=arn)
    with baselined.simulator.faults.active(odd):
        baselined.clock.tick(60)
        (event,) = baselined.poll().events
        data = event["data"]
        assert (data["status"], data["terminal"], data["outcome"]) == ("Evicted", True, None)
        assert {tuple(poll.calls) for poll in baselined.polls(5)} == {(LISTS[BATCH],)}
    assert baselined.snapshot.open_jobs(BATCH) == []


def test_a_status_that_nobody_declared_is_settled_long_after_its_expiry(baselined: Bench) -> None:
    """Without an end, a job that nothing has changed for long counts as ended; cost stays flat (fault 53)."""
    arn = baselined.simulator.submit_batch(script=OPEN)
    baselined.poll()
    odd = faults.Change(lambda item: {**item, "status": "Evicted"} if "status" in item else item, arn=arn)
    costs = []
    with baselined.simulator.faults.active(odd):
        events = []
        for _ in range(14):
            for _ in range(3):
                baselined.simulator.submit_batch(script=[("Submitted", 0), ("Completed", 1)])
                baselined.clock.tick(8 * 3600)
                poll = baselined.poll()
                costs.append(len(poll.calls) - len(poll.events))
                events += [event for event in poll.events if event["data"]["job_arn"] == arn]
    assert [(event["data"]["terminal"], event["data"]["previous_status"]) for event in events] == [
        (False, "InProgress"),
        (True, "Evicted"),
    ]
    assert len({event["id"] for event in events}) == 2
    assert max(costs) <= 2
    assert baselined.snapshot.open_jobs(BATCH) == []


@pytest.mark.long
def test_a_vanished_job_whose_get_is_denied_widens_no_window(baselined: Bench, log: list[EventDict]) -> None:
    """It is neither gone nor asked for at every poll; calls stay flat for days, and it is said (fault 54)."""
    arn = baselined.simulator.submit_batch(script=OPEN)
    baselined.poll()
    hidden = faults.Change(lambda _: None, arn=arn)
    costs: list[int] = []
    with baselined.simulator.faults.active(hidden, poisoned(arn, code="AccessDeniedException", status=403)):
        for _ in range(9 * 4):
            for _ in range(150):
                baselined.simulator.submit_batch(script=[("Submitted", 0), ("Completed", 1)])
            baselined.clock.tick(6 * 3600)
            poll = baselined.poll()
            assert not [event for event in poll.events if event["data"]["job_arn"] == arn]
            if not poll.report.full:
                costs.append(len(poll.calls) - 150)
        assert max(costs) <= 3
    assert baselined.count("jobs_unconfirmed_total") > 0
    assert any(line["event"] == "job.unconfirmed" for line in log)
    baselined.simulator.force(arn, "Completed")
    baselined.clock.tick(25 * 3600)
    assert (arn, "Completed") in [
        (event["data"]["job_arn"], event["data"]["status"]) for event in baselined.poll().events
    ]


def test_items_without_a_status_keep_to_the_budget(bench: Bench) -> None:
    """Four hundred of them cost ten Gets a poll; all become known, and their endings are told (fault 57)."""
    bench.poll()
    bare = faults.Change(
        lambda item: {key: value for key, value in item.items() if key != "status"}, operation=LISTS[BATCH]
    )
    poller = bench.poller(gets=lambda _: 10)
    renewals: list[Any] = []
    bench.simulator.faults.add(bare)
    arns = [bench.simulator.submit_batch(script=OPEN) for _ in range(40)]
    seen: list[str] = []
    for _ in range(4):
        bench.clock.tick(30)
        poll = bench.poll(poller=poller, on_progress=renewals.append)
        assert poll.calls.count(GETS[BATCH]) <= 10
        seen += [event["data"]["job_arn"] for event in poll.events]
    assert sorted(seen) == sorted(arns)
    for arn in arns:
        bench.simulator.force(arn, "Completed")
    ended: list[Poll] = []
    for _ in range(8):
        bench.clock.tick(30)
        ended.append(bench.poll(poller=poller))
    told = [event["data"]["status"] for poll in ended for event in poll.events]
    assert told == ["Completed"] * 40


def test_an_item_that_is_nested_without_end_is_cut_alone(baselined: Bench) -> None:
    """Twenty thousand levels in one field: the job and the rest of its page are told (fault 55)."""
    deep, other = (baselined.simulator.submit_batch(script=OPEN) for _ in range(2))
    baselined.simulator.faults.add(faults.Nest(arn=deep, levels=20_000))
    poll = baselined.poll()
    found = {event["data"]["job_arn"]: event["data"] for event in poll.events}
    assert found.keys() == {deep, other}
    assert CUT in str(found[deep]["job"])
    assert baselined.count("items_quarantined_total", reason="depth") == 1


def test_a_status_of_nine_thousand_characters_passes_verbatim(baselined: Bench) -> None:
    """Every database takes it, and the job goes on from there (fault 55)."""
    arn = baselined.simulator.submit_batch(script=OPEN)
    long = "é" * 9000
    odd = faults.Change(lambda item: {**item, "status": long} if "status" in item else item, arn=arn)
    with baselined.simulator.faults.active(odd):
        (event,) = baselined.poll().events
        assert event["data"]["status"] == long
        assert baselined.snapshot.counts.by_status()["123456789012", "us-east-1", BATCH.kind, long[:200]] == 1
    baselined.clock.tick(60)
    assert baselined.poll().told == [(long, "InProgress")]
    assert not any(status.startswith("é") for *_, status in baselined.snapshot.counts.by_status())


def test_counts_whose_sum_no_integer_holds_freeze_no_gauge(baselined: Bench) -> None:
    """Two jobs with the largest count there is: the sum is told as floating point (fault 55)."""
    for _ in range(2):
        baselined.simulator.submit_batch(script=OPEN, fields={"totalRecordCount": 2**63 - 1})
    assert len(baselined.poll().events) == 2
    (row,) = baselined.snapshot.counts.open_totals()
    assert row.total == pytest.approx(2.0**64)


def test_more_jobs_on_a_page_than_a_statement_takes_parameters(baselined: Bench) -> None:
    """Forty thousand items in one answer are looked up in parts (fault 55)."""
    arns = [f"arn:aws:bedrock:us-east-1:123456789012:model-invocation-job/{n:012}" for n in range(70_000)]
    assert baselined.snapshot.load_states(arns) == ({}, {})
    assert baselined.snapshot.known(arns) == {}
    claim = baselined.snapshot.leases.claim(BATCH)
    assert claim is not None
    assert baselined.snapshot.mark_missed(claim, arns) == {}
    baselined.snapshot.record(claim, [], seen=arns)
    baselined.snapshot.note_gets(claim, dict.fromkeys(arns, 1), arns)
    baselined.snapshot.leases.release(claim)


def test_large_items_are_recorded_a_few_at_a_time(baselined: Bench) -> None:
    """Twenty items of two megabytes are not all held as events at once (fault 55)."""
    commits: list[int] = []
    baselined.snapshot.on_owed = lambda: commits.append(1)
    for _ in range(20):
        baselined.simulator.submit_batch(script=OPEN, fields={"jobName": "x" * 2_000_000})
    poll = baselined.poll()
    assert len(poll.events) == 20
    assert len(commits) >= 4


@pytest.mark.parametrize("times", [1, 2, None])
def test_details_that_a_throttled_get_could_not_bring_are_tried_again_or_said(
    baselined: Bench, times: int | None
) -> None:
    """For `details_wait` the Get is made again; then the event says so, under the same id (fault 74)."""
    arn = baselined.simulator.submit_batch(script=OPEN, token="a-token")
    baselined.poll()
    baselined.clock.tick(60)
    baselined.simulator.force(arn, "Completed")
    wait = 0.5 if times is None else 10
    with baselined.simulator.faults.active(faults.Throttle(operation=GETS[BATCH], times=times)):
        (event,) = baselined.poll(details_wait=wait).events
    data = event["data"]
    if times is None:
        assert (data["details"], data["client_request_token"]) == ("unavailable", None)
        assert baselined.count("events_without_details_total") == 1
        assert baselined.count("job_get_failures_total", reason="throttled") == 1
    else:
        assert (data["details"], data["client_request_token"]) == ("complete", "a-token")


def test_an_event_says_whether_it_has_what_only_a_get_tells(bench: Bench) -> None:
    """That of an open batch job has not, nor has that of a first scan; that of an ending has."""
    arn = bench.simulator.submit_batch(script=[("Completed", 0)])
    (event,) = bench.poll(emit=True).events
    assert event["data"]["details"] == "not_requested"
    arn = bench.simulator.submit_batch(script=OPEN)
    assert [event["data"]["details"] for event in bench.polls(1)[0].events] == ["not_requested"]
    bench.simulator.force(arn, "Completed")
    assert [event["data"]["details"] for event in bench.polls(1)[0].events] == ["complete"]


def test_a_failure_without_its_reason_is_got(baselined: Bench) -> None:
    """An invocation needs no Get, but for the message of a failure that the list does not show."""
    arns = [baselined.simulator.submit_async(script=OPEN) for _ in range(2)]
    baselined.poll(ASYNC)
    for arn in arns:
        baselined.simulator.force(arn, "Failed", message="why")
    hidden = faults.Change(
        lambda item: {key: value for key, value in item.items() if key != "failureMessage"},
        operation=LISTS[ASYNC],
        arn=arns[0],
    )
    with baselined.simulator.faults.active(hidden):
        (poll,) = baselined.polls(1, ASYNC)
    assert poll.calls == [LISTS[ASYNC], GETS[ASYNC]]
    assert {(event["data"]["message"], event["data"]["details"]) for event in poll.events} == {
        ("why", "complete")
    }


def test_one_reset_connection_is_no_throttling(
    baselined: Bench, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A poll is throttled by throttles, not by whatever else the SDK tried again for (fault 75)."""
    monkeypatch.setattr(baselined.calls.sessions, "_clients", {})
    config = baselined.calls.sessions._config
    from botocore.config import Config

    retrying = config.merge(Config(retries={"mode": "standard", "total_max_attempts": 3}))
    monkeypatch.setattr(baselined.calls.sessions, "_config", retrying)
    for name in ("AWS_ENDPOINT_URL_BEDROCK", "AWS_ENDPOINT_URL_BEDROCK_RUNTIME"):
        monkeypatch.setenv(name, service.url)
    for fault, throttled in ((faults.Reset(times=1), False), (faults.Throttle(times=1), True)):
        with baselined.simulator.faults.active(fault):
            poll = baselined.poll()
        assert (poll.report.failure, poll.report.throttled) == (None, throttled)
