"""A dry run sees everything and writes nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from poller.polling import DryRun
from poller.simulator import faults
from tests.polling.conftest import BATCH, OPEN, Bench

if TYPE_CHECKING:
    from poller.store import Observation


def rows(bench: Bench) -> list[object]:
    """Everything in the store."""
    with bench.database.read() as connection:
        return [
            [tuple(row) for row in connection.exec_driver_sql(f"SELECT * FROM {table}")]  # noqa: S608 - own names
            for table in ("targets", "jobs", "events", "deliveries", "sinks")
        ]


def test_a_dry_run_shows_what_a_poll_would_record(baselined: Bench) -> None:
    """New jobs, endings with their details and jobs that are missing: shown, routed, and not written."""
    old, ended, lost = (baselined.simulator.submit_batch(script=OPEN) for _ in range(3))
    baselined.poll()
    baselined.clock.tick(60)
    new = baselined.simulator.submit_batch(script=OPEN)
    baselined.simulator.force(ended, "Failed", message="why")
    before = rows(baselined)
    shown: list[Observation] = []
    snapshot = DryRun(baselined.database, shown.append)
    with baselined.simulator.faults.active(faults.Change(lambda _: None, arn=lost)):
        for _ in range(4):
            shown.clear()
            poll = baselined.poll(snapshot=snapshot)
            assert (poll.report.failure, poll.report.events, poll.report.open_jobs) == (None, 2, 3)
    found = {item.change.job.arn: item for item in shown}
    assert found.keys() == {old, ended, new}
    assert (found[old].event, found[old].sinks) == (None, ())
    assert (found[new].change.previous_status, found[new].sinks) == (None, ("audit",))
    event = found[ended].event
    assert event is not None
    assert event.data["message"] == "why"
    assert rows(baselined) == before
    (real,) = [item for item in baselined.poll().events if item["data"]["job_arn"] == ended]
    assert real["id"] == event.id


def test_a_dry_run_needs_no_lease(baselined: Bench) -> None:
    """A dry run looks at a target while the daemon polls it, and takes nothing from it."""
    assert baselined.snapshot.leases.claim(BATCH) is not None
    baselined.simulator.submit_batch(script=OPEN)
    shown: list[Observation] = []
    assert baselined.poll(snapshot=DryRun(baselined.database, shown.append)).report.claimed
    assert len(shown) == 1


def test_a_dry_run_of_a_first_scan(bench: Bench) -> None:
    """On an empty store it shows the baseline, from an old job that is got and a broken listing too."""
    bench.simulator.submit_batch(script=OPEN)
    shown: list[Observation] = []
    snapshot = DryRun(bench.database, shown.append)
    poll = bench.poll(snapshot=snapshot)
    assert (poll.report.full, poll.report.events, len(shown)) == (True, 0, 1)
    with bench.simulator.faults.active(faults.Fail()):
        assert bench.poll(snapshot=snapshot).report.failure is not None


def test_a_dry_run_with_old_open_jobs(crowded: tuple[Bench, str]) -> None:
    """The plan is the same as a real poll's: a window, and a Get for what it leaves out."""
    bench, old = crowded
    shown: list[Observation] = []
    poll = bench.poll(snapshot=DryRun(bench.database, shown.append))
    assert poll.calls == ["ListModelInvocationJobs", "GetModelInvocationJob"]
    assert [item.change.job.arn for item in shown] == [old]
