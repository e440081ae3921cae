"""Which endings native events told of, and where open jobs write their output."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from poller.store import Ending
from tests.store.conftest import Store
from tests.store.samples import TARGET, announced, arn, job, silent

if TYPE_CHECKING:
    from poller.store import Database, Observation
    from tests.harness.clock import Clock

KIND = "model_invocation_job"


def ending(number: int, status: str = "Completed") -> Ending:
    """The ending of a job."""
    return Ending(arn(number), status, KIND)


def shown(number: int, status: str = "Completed") -> Observation:
    """What a poll records of an ending that a native event should tell of."""
    return replace(announced(job(number, status)), ending=ending(number, status))


def test_what_one_replica_was_told_another_knows(store: Store, database: Database) -> None:
    """Job and status count, and copies do not matter."""
    store.snapshot.native_events.tell([ending(1), ending(1), ending(2, "Failed")])
    store.snapshot.native_events.tell([ending(1)])
    store.snapshot.native_events.tell([])
    other = Store(database, "other").snapshot.native_events
    assert other.told([arn(1), arn(2), arn(3)]) == {(arn(1), "Completed"), (arn(2), "Failed")}
    assert other.told([arn(3)]) == other.told([]) == set()


@pytest.mark.parametrize(
    ("told_after", "missed"),
    [(-10.0, 0), (299.0, 0), (302.0, 1), (None, 1)],
    ids=["before", "in time", "too late", "never"],
)
def test_an_ending_of_which_no_event_told_in_time_is_counted_once(
    store: Store, database: Database, clock: Clock, told_after: float | None, missed: int
) -> None:
    """In time is before the list shows it, or within five minutes; one of the replicas counts it."""
    if told_after is not None and told_after < 0:
        store.snapshot.native_events.tell([ending(1)])
        clock.tick(-told_after)
    store.record(shown(1))
    if told_after is not None and told_after > 0:
        clock.tick(told_after)
        store.snapshot.native_events.tell([ending(1)])
    if told_after is None or told_after < 300:
        assert store.snapshot.native_events.audit() == Counter()
    clock.tick(302)
    other = Store(database, "other").snapshot.native_events
    found = store.snapshot.native_events.audit() + other.audit()
    assert found == Counter({KIND: missed} if missed else {})
    assert store.rows("SELECT * FROM native_events") == []


def test_a_kill_before_the_commit_leaves_no_ending_to_count(store: Store) -> None:
    """What was shown stands in the transaction of its event, and is what it is when that runs twice."""
    store.record(shown(1))
    store.record(shown(1))
    assert store.rows("SELECT job_arn, status FROM native_events") == [(arn(1), "Completed")]
    assert store.rows("SELECT count(*) FROM events") == [(1,)]


def test_what_no_list_ever_showed_is_forgotten_after_a_day(store: Store, clock: Clock) -> None:
    """And so is what was shown while nobody audited, without a count."""
    store.snapshot.native_events.tell([ending(1)])
    store.record(shown(2))
    clock.tick(86000)
    assert store.snapshot.native_events.told([arn(1)]) == {(arn(1), "Completed")}
    clock.tick(500)
    assert store.snapshot.native_events.audit() == Counter()
    assert store.rows("SELECT * FROM native_events") == []


def test_times_of_a_clock_that_was_ahead_go_without_a_count(store: Store, clock: Clock) -> None:
    """Or they would stay for a year (fault 59)."""
    clock.tick(365 * 86400)
    store.record(shown(1))
    store.snapshot.native_events.tell([ending(2)])
    clock.tick(-365 * 86400)
    assert store.snapshot.native_events.audit() == Counter()
    assert store.rows("SELECT * FROM native_events") == []


def test_open_jobs_tell_where_they_write(store: Store) -> None:
    """Those of configured targets; an ended job writes no more, and a job may not say where."""
    here: dict[str, Any] = {"outputDataConfig": {"s3OutputDataConfig": {"s3Uri": "s3://bucket/out/"}}}
    store.record(silent(job(1, **here)), silent(job(2)), silent(job(3, "Completed", **here)))
    (output,) = store.snapshot.open_outputs()
    assert (output.arn, output.uri, output.target_id) == (arn(1), "s3://bucket/out/", TARGET.id)
    store.record(announced(job(1, "Completed", **here)))
    assert store.snapshot.open_outputs() == []
    store.record(silent(job(4, **here)))
    # A process that does not poll the target has no use for it.
    assert Store(store.database, "other").snapshot.open_outputs() == []
