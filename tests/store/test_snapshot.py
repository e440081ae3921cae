"""What is remembered of jobs, and the leases on the targets."""

from __future__ import annotations

from datetime import UTC, timedelta
from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from poller.errors import LeaseLostError, StoreError
from poller.kinds import MODEL_INVOCATION_JOB
from poller.model import Records, Target
from poller.plan import OpenJob
from poller.store import TargetActivity
from poller.store.tables import from_micros, metadata, to_micros
from tests.store.conftest import Store, only_sqlite
from tests.store.samples import OTHER, START, TARGET, announced, arn, job, silent

if TYPE_CHECKING:
    from datetime import datetime

    from poller.store import Database
    from tests.harness.clock import Clock


def test_a_target_is_claimed_by_one_at_a_time(database: Database, store: Store, clock: Clock) -> None:
    """Nobody else gets it until the lease has run out; each claim has a higher epoch."""
    first = store.snapshot.leases.claim(TARGET)
    other = Store(database, "other")
    assert first is not None
    assert other.snapshot.leases.claim(TARGET) is None
    assert store.snapshot.leases.claim(TARGET) is None
    clock.tick(15.1)
    second = other.snapshot.leases.claim(TARGET)
    assert second is not None
    assert second.epoch == first.epoch + 1


def test_targets_do_not_wait_for_each_other(store: Store) -> None:
    """A claim on one leaves the others free."""
    assert store.snapshot.leases.claim(TARGET) is not None
    assert store.snapshot.leases.claim(OTHER) is not None


def test_a_target_that_was_polled_a_moment_ago_is_left_alone(
    database: Database, store: Store, clock: Clock
) -> None:
    """Whoever asks for a target that has rested gets it when it has, or when its last poll was cut off."""
    other = Store(database, "other")
    store.snapshot.leases.release(store.claim())
    clock.tick(20)
    assert other.snapshot.leases.claim(TARGET, after=27) is None
    clock.tick(7)
    claim = other.snapshot.leases.claim(TARGET, after=27)
    assert claim is not None
    clock.tick(15)
    assert store.snapshot.leases.claim(TARGET, after=27) is not None


def test_a_claim_of_the_future_holds_up_nobody(store: Store, clock: Clock) -> None:
    """A clock that was an hour ahead at the last claim is no reason to wait for an hour (fault 12)."""
    clock.tick(3600)
    store.snapshot.leases.release(store.claim())
    clock.tick(-3600)
    assert store.snapshot.leases.claim(TARGET, after=27) is not None


def test_replicas_see_what_others_have_claimed(database: Database, store: Store, clock: Clock) -> None:
    """What others claimed of late, and what anybody left lying; at the start everything, our own too."""
    other = Store(database, "other")
    assert store.snapshot.leases.sightings(None) == []
    assert other.snapshot.leases.claim(TARGET) is not None
    clock.tick(2)
    assert store.snapshot.leases.sightings(5) == [TargetActivity(TARGET.id, 2.0, cut_off=False)]
    assert store.snapshot.leases.sightings(1) == []
    assert other.snapshot.leases.sightings(5) == []
    assert other.snapshot.leases.sightings(None) == [TargetActivity(TARGET.id, 2.0, cut_off=False)]
    clock.tick(13)
    left = [TargetActivity(TARGET.id, 15.0, cut_off=True)]
    assert store.snapshot.leases.sightings(0) == other.snapshot.leases.sightings(0) == left
    assert store.snapshot.leases.claim(TARGET) is not None
    assert store.snapshot.leases.sightings(0) == []


def test_replicas_see_what_polls_cost(database: Database, store: Store) -> None:
    """What the last poll has told; one that tells nothing, such as a full listing, leaves it."""
    other = Store(database, "other")
    other.snapshot.rows.register([TARGET])
    costs = []
    for calls, full in ((None, True), (3, False), (None, True), (None, False), (1, False)):
        store.snapshot.leases.finish(store.claim(), high_water=START, full=full, calls=calls)
        costs += [seen.calls for seen in other.snapshot.leases.sightings(5)]
    assert costs == [None, 3, 3, 3, 1]


def test_a_target_that_is_not_registered_cannot_be_claimed(store: Store) -> None:
    """And registering again changes nothing about those that are."""
    assert store.snapshot.leases.claim(Target("new", "us-east-1", "async_invoke")) is None
    claim = store.claim()
    store.snapshot.leases.finish(claim, high_water=START, full=True)
    store.snapshot.rows.register([TARGET])
    store.snapshot.rows.register([])
    assert store.claim().high_water == START


def test_a_released_target_is_free_at_once(store: Store) -> None:
    """It can be claimed again without waiting for the lease to run out."""
    store.snapshot.leases.release(store.claim())
    assert store.snapshot.leases.claim(TARGET) is not None


def test_a_lease_is_renewed_by_writing_and_by_renewing(store: Store, clock: Clock) -> None:
    """Whoever goes on working keeps the target for longer than one lease."""
    claim = store.claim()
    clock.tick(14)
    store.snapshot.record(claim, [silent(job(1))])
    clock.tick(14)
    store.snapshot.leases._renewed.clear()
    store.snapshot.leases.renew(claim)
    clock.tick(14)
    assert store.snapshot.leases.claim(TARGET) is None
    store.snapshot.record(claim, [silent(job(2))])


def test_renewing_often_costs_no_writes(store: Store, clock: Clock) -> None:
    """Within a third of the lease a renewal is only a look at the local clock."""
    claim = store.claim()
    clock.tick(14)
    store.snapshot.leases.renew(claim)
    clock.tick(2)
    assert store.snapshot.leases.claim(TARGET) is not None


def test_a_stale_claim_writes_nothing(database: Database, store: Store, clock: Clock) -> None:
    """Once somebody else has claimed the target, no write of the old claim leaves a trace."""
    stale = store.claim()
    clock.tick(16)
    other = Store(database, "other")
    current = other.snapshot.leases.claim(TARGET)
    assert current is not None
    other.snapshot.record(current, [silent(job(1))])
    before = store.rows("SELECT * FROM jobs"), store.rows("SELECT * FROM targets")
    store.snapshot.leases._renewed.clear()
    attempts = (
        lambda: store.snapshot.record(stale, [announced(job(1, "Failed"), "ops"), announced(job(2), "ops")]),
        lambda: store.snapshot.mark_missed(stale, [arn(1)]),
        lambda: store.snapshot.leases.finish(stale, high_water=START, full=True),
        lambda: store.snapshot.leases.renew(stale),
    )
    for attempt in attempts:
        with pytest.raises(LeaseLostError, match="prod/us-east-1/model_invocation_job"):
            attempt()
    store.snapshot.leases.release(stale)
    assert (store.rows("SELECT * FROM jobs"), store.rows("SELECT * FROM targets")) == before
    assert store.rows("SELECT count(*) FROM events") == [(0,)]
    assert store.rows("SELECT count(*) FROM deliveries") == [(0,)]


def test_one_transaction_holds_the_snapshot_the_event_and_the_deliveries(
    database: Database, store: Store
) -> None:
    """A failure at any statement of a record leaves neither row, nor event, nor delivery, nor renewal."""
    claim = store.claim()
    statements = 0

    def count(*_: object) -> None:
        nonlocal statements
        statements += 1
        if statements == fail_at:
            raise RuntimeError("pulled the plug")

    tables = [metadata.tables[name] for name in ("jobs", "events", "deliveries", "targets")]

    def written() -> list[list[object]]:
        with database.read() as connection:
            return [list(connection.execute(sa.select(table))) for table in tables]

    before = written()
    sa.event.listen(database.engine, "before_cursor_execute", count)
    fail_at = 1
    while True:
        statements = 0
        try:
            store.snapshot.record(claim, [announced(job(1), "ops", "audit")], seen=[arn(1)])
        except RuntimeError:
            sa.event.remove(database.engine, "before_cursor_execute", count)
            assert written() == before
            sa.event.listen(database.engine, "before_cursor_execute", count)
            fail_at += 1
        else:
            break
    sa.event.remove(database.engine, "before_cursor_execute", count)
    assert fail_at >= 7
    assert [len(rows) for rows in written()] == [1, 1, 2, 2]


def test_a_commit_that_fails_leaves_nothing(database: Database, store: Store) -> None:
    """What was written is gone if the commit itself does not come through."""
    claim = store.claim()

    def refuse(_: object) -> None:
        raise RuntimeError("pulled the plug")

    sa.event.listen(database.engine, "commit", refuse)
    with pytest.raises(RuntimeError):
        store.snapshot.record(claim, [announced(job(1), "ops")])
    sa.event.remove(database.engine, "commit", refuse)
    assert store.rows("SELECT count(*) FROM jobs") == store.rows("SELECT count(*) FROM events") == [(0,)]


def test_recording_the_same_again_doubles_nothing(store: Store) -> None:
    """A commit whose acknowledgement was lost can be run a second time."""
    for _ in range(2):
        store.record(announced(job(1), "ops", "audit"))
    assert store.rows("SELECT count(*) FROM events") == [(1,)]
    assert store.rows("SELECT count(*) FROM deliveries") == [(2,)]


def test_what_is_known_comes_back_as_it_was(store: Store) -> None:
    """Status, rank, time to the microsecond, entries and whether the job is gone."""
    seen = job(1, "Stopping", minute=1.00000001)
    store.record(silent(seen, entries={"InProgress": 1, "Stopping": 2}))
    known = store.snapshot.known([arn(1), arn(2)])
    assert known.keys() == {arn(1)}
    row = known[arn(1)]
    assert (row.status, row.rank, row.terminal, row.gone) == ("Stopping", 4, False, False)
    assert row.modified_at == seen.modified_at
    assert row.entries == {"InProgress": 1, "Stopping": 2}
    assert store.snapshot.known([]) == {}


def test_the_ended_jobs_among_many_are_told(store: Store) -> None:
    """With their statuses; open ones, those that disappeared and those never seen are left out."""
    store.record(
        silent(job(1, "Completed")),
        silent(job(2, "InProgress")),
        silent(job(3, "Failed"), gone=True),
        silent(job(4, "Stopped")),
    )
    asked = [arn(number) for number in range(6)]
    assert store.snapshot.load_states(asked)[0] == {arn(1): "Completed", arn(4): "Stopped"}
    assert store.snapshot.load_states([])[0] == {}
    identities = [
        MODEL_INVOCATION_JOB.peek_identity({"jobArn": text})[0] or "" for text in ("a\ud800", "b\x00")
    ]
    assert store.snapshot.load_states(identities)[0] == {}


def test_a_whole_observation_is_remembered(store: Store) -> None:
    """Everything but the raw JSON and what only events carry comes back."""
    seen = job(
        1,
        "Completed",
        jobName="nightly",
        modelId="m",
        endTime=START.isoformat(),
        totalRecordCount=3,
        errorRecordCount=0,
    )
    store.record(silent(seen))
    assert store.snapshot.load_job(arn(1)) == seen
    bare = job(2, "Archiving", minute=None)
    store.record(silent(bare))
    assert store.snapshot.load_job(arn(2)) == bare
    with pytest.raises(StoreError):
        store.snapshot.load_job(arn(3))


def test_a_later_observation_replaces_the_row_but_not_its_target(store: Store) -> None:
    """Two targets that overlap share the row of a job, which stays with the one that found it."""
    store.record(silent(job(1, "InProgress")))
    claim = store.snapshot.leases.claim(OTHER)
    assert claim is not None
    store.snapshot.record(claim, [silent(job(1, "Completed", minute=2))])
    assert store.rows("SELECT target_id, status FROM jobs") == [(TARGET.id, "Completed")]


def test_open_jobs_come_oldest_first(store: Store) -> None:
    """Those without a time before all, ended and gone ones and those of other targets not at all."""
    store.record(
        silent(job(1, minute=5)),
        silent(job(2, minute=1)),
        silent(job(3, minute=None)),
        silent(job(4, "Completed")),
        silent(job(5), gone=True),
    )
    found = store.snapshot.open_jobs(TARGET)
    assert found == [
        OpenJob(arn(3), None),
        OpenJob(arn(2), START + timedelta(minutes=1)),
        OpenJob(arn(1), START + timedelta(minutes=5)),
    ]
    assert store.snapshot.open_jobs(OTHER) == []


def test_page_edges_are_where_the_newest_pages_end(store: Store) -> None:
    """Every thousandth job from the newest back, of this target alone."""
    store.record(*(silent(job(number, "Completed", minute=number)) for number in range(4500)))
    store.record(silent(job(9000, minute=None)))
    edges = [START + timedelta(minutes=4500 - 1000 * page) for page in (1, 2, 3, 4)]
    assert list(store.snapshot.page_edges(TARGET)) == edges
    assert list(store.snapshot.page_edges(OTHER)) == []


@only_sqlite
def test_page_edges_are_read_as_far_as_they_are_asked_for(store: Store) -> None:
    """Whoever needs one page edge costs the database one page, however long the history."""
    store.record(*(silent(job(number, "Completed", minute=number)) for number in range(2500)))
    with store.explained() as steps:
        assert next(store.snapshot.page_edges(TARGET)) == START + timedelta(minutes=1500)
    assert sum(step.startswith("SEARCH jobs") for step in steps) == 1


def test_misses_are_counted_until_the_job_is_seen(store: Store) -> None:
    """Each complete scan without a job adds one; seeing it, changed or not, begins anew."""
    store.record(silent(job(1)), silent(job(2)))
    claim = store.claim()
    assert store.snapshot.mark_missed(claim, []) == {}
    assert store.snapshot.mark_missed(claim, [arn(1), arn(2), arn(9)]) == {arn(1): 1, arn(2): 1}
    assert store.snapshot.mark_missed(claim, [arn(1)]) == {arn(1): 2}
    assert {found.arn: found.missed for found in store.snapshot.open_jobs(TARGET)} == {arn(1): 2, arn(2): 1}
    store.snapshot.record(claim, [], seen=[arn(1)])
    store.snapshot.record(claim, [silent(job(2))])
    assert {found.missed for found in store.snapshot.open_jobs(TARGET)} == {0}


def test_a_complete_full_scan_is_the_baseline(store: Store, clock: Clock) -> None:
    """From then on the target is baselined, with the age of the full scan by the database's clock."""
    claim = store.claim()
    assert (claim.baselined, claim.high_water, claim.full_scan_age) == (False, None, None)
    store.snapshot.leases.finish(claim, high_water=START, full=True)
    clock.tick(100)
    claim = store.claim()
    assert (claim.baselined, claim.high_water) == (True, START)
    assert claim.full_scan_age == pytest.approx(100)
    store.snapshot.leases.finish(claim, high_water=None, full=False)
    clock.tick(1)
    claim = store.claim()
    assert claim.high_water == START
    assert claim.full_scan_age == pytest.approx(101)


def test_the_high_water_mark_never_goes_back(store: Store) -> None:
    """A window that shows only older jobs leaves it where it was."""
    store.snapshot.leases.finish(store.claim(), high_water=START, full=True)
    store.snapshot.leases.finish(store.claim(), high_water=START - timedelta(hours=1), full=False)
    assert store.snapshot.leases.peek(TARGET).high_water == START
    store.snapshot.leases.finish(store.claim(), high_water=START + timedelta(hours=1), full=False)
    assert store.snapshot.leases.peek(TARGET).high_water == START + timedelta(hours=1)


def test_a_look_takes_no_lease(store: Store) -> None:
    """What a claim would remember can be read while the target stays free, registered or not."""
    assert store.snapshot.leases.peek(Target("new", "r", "k")).baselined is False
    claim = store.claim()
    store.snapshot.leases.finish(claim, high_water=START, full=True)
    assert store.snapshot.leases.peek(TARGET).baselined
    assert store.snapshot.leases.claim(TARGET) is not None


def test_odd_texts_are_stored_as_far_as_a_database_can(store: Store) -> None:
    """Lone surrogates and NUL in names neither fail a poll nor come back as a change."""
    seen = job(2, "Odd\ud800\x00", jobName="n\x00\udfff", modelId="\ud800")
    store.record(silent(seen))
    assert store.snapshot.known([arn(2)])[arn(2)].status == seen.status
    assert store.snapshot.load_job(arn(2)).name == seen.name


def test_the_largest_counts_fit(store: Store) -> None:
    """What the kinds let through as a count, a row can hold."""
    store.record(silent(job(1, totalRecordCount=2**63 - 1, processedRecordCount=2**63)))
    assert store.snapshot.load_job(arn(1)).records == Records(total=2**63 - 1)


def test_jobs_are_counted_by_status(store: Store) -> None:
    """Those that are gone are left out."""
    store.record(
        silent(job(1)), silent(job(2)), silent(job(3, "Failed")), silent(job(4, "Completed"), gone=True)
    )
    place = ("123456789012", "us-east-1", "model_invocation_job")
    assert store.snapshot.counts.by_status() == {(*place, "InProgress"): 2, (*place, "Failed"): 1}
    store.record(silent(job(1, "Completed")), silent(job(3, "Failed"), gone=True), silent(job(4, "Failed")))
    store.record(silent(job(2, "Stopping")), silent(job(1, "Completed")))
    assert store.snapshot.counts.by_status() == {
        (*place, "Stopping"): 1,
        (*place, "Completed"): 1,
        (*place, "Failed"): 1,
    }


def test_a_poll_that_lost_its_target_counts_nothing(store: Store) -> None:
    """The counts are written with the rows or not at all."""
    stale = store.claim()
    store.snapshot.leases.release(stale)
    store.record(silent(job(1)))
    before = store.snapshot.counts.by_status()
    with pytest.raises(LeaseLostError):
        store.snapshot.record(stale, [silent(job(2))])
    assert store.snapshot.counts.by_status() == before


@only_sqlite
def test_counting_the_jobs_does_not_read_them(store: Store) -> None:
    """However long the history, the gauges cost the same."""
    with store.explained() as steps:
        store.snapshot.counts.by_status()
    assert not [step for step in steps if "job_counts" not in step], steps


def test_open_jobs_are_added_up(store: Store) -> None:
    """Count, oldest submission and sums of the records that are known."""
    store.record(
        silent(job(1, minute=1, totalRecordCount=5)),
        silent(job(2, minute=0, totalRecordCount=7, errorRecordCount=1)),
        silent(job(3, "Completed", totalRecordCount=100)),
    )
    (row,) = store.snapshot.counts.open_totals()
    assert (row.account_id, row.region, row.kind) == ("123456789012", "us-east-1", "model_invocation_job")
    assert (row.open, row.oldest) == (2, to_micros(START))
    assert (row.total, row.processed, row.succeeded, row.failed) == (12, None, None, 1)


@given(st.datetimes(timezones=st.just(UTC)))
def test_times_survive_to_the_microsecond(moment: datetime) -> None:
    """Integers hold a time exactly, and None stays None."""
    assert from_micros(to_micros(moment)) == moment
    assert from_micros(None) is None
    assert to_micros(None) is None


@only_sqlite
def test_finding_the_open_jobs_does_not_read_the_ended_ones(store: Store) -> None:
    """However many there are: the queries of every poll use an index made for them."""
    with store.explained() as steps:
        store.snapshot.open_jobs(TARGET)
    assert steps[0] == "SEARCH jobs USING INDEX jobs_open (target_id=? AND terminal=? AND gone=?)"
    with store.explained() as steps:
        list(store.snapshot.page_edges(TARGET))
    assert "SEARCH jobs USING COVERING INDEX jobs_submitted (target_id=? AND submitted_at>?)" in steps
    assert not any(step.startswith("SCAN jobs") for step in steps)
    with store.explained() as steps:
        store.snapshot.known([arn(1)])
        store.snapshot.counts.open_totals()
    assert not [step for step in steps if step.startswith("SCAN jobs") and "jobs_open" not in step]


def test_a_job_whose_get_fails_waits_longer_each_time_up_to_an_hour(store: Store, clock: Clock) -> None:
    """Until its Get works again; a time that a wrong clock wrote does not count (fault 51)."""
    store.record(silent(job(1)), silent(job(2)))
    claim = store.claim()

    def found() -> dict[str, tuple[int, bool]]:
        return {one.arn: (one.get_failures, one.waiting) for one in store.snapshot.open_jobs(TARGET)}

    store.snapshot.note_gets(claim, {}, ())
    assert found() == {arn(1): (0, False), arn(2): (0, False)}
    for failures, wait in ((1, 60), (2, 120), (9, 3600), (80, 3600)):
        store.snapshot.note_gets(claim, {arn(1): failures}, ())
        assert found()[arn(1)] == (failures, True)
        clock.tick(wait - 1)
        assert found()[arn(1)] == (failures, True)
        clock.tick(1)
        assert found() == {arn(1): (failures, False), arn(2): (0, False)}
    store.snapshot.note_gets(claim, {arn(1): 81}, ())
    clock.tick(-86400)
    assert found()[arn(1)] == (81, False)
    clock.tick(86400)
    store.snapshot.note_gets(claim, {}, [arn(1)])
    assert found()[arn(1)] == (0, False)
