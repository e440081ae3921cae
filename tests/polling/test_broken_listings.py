"""Listings that end early: what they showed is recorded, nothing is concluded from what they lack."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from poller.errors import AwsReason, StoppedError
from poller.simulator import faults
from tests.polling.conftest import ASYNC, BATCH, OPEN, Bench

if TYPE_CHECKING:
    import threading

    from poller.model import Target

BREAKS = {
    "one token for ever": faults.CyclicTokens(length=1),
    "tokens a-b-a": faults.CyclicTokens(length=2),
    "expired token": faults.ExpiredToken(),
    "5xx on page 2": faults.Fail(page=2),
    "5xx on page 3": faults.Fail(page=3),
    "throttled on page 2": faults.Throttle(page=2),
    "denied on page 2": faults.AccessDenied(page=2),
    "reset on page 2": faults.Reset(page=2),
    "body cut on page 2": faults.CutBody(page=2, keep=100),
    "body reset on page 2": faults.CutBody(page=2, keep=100, reset=True),
    "no JSON on page 2": faults.Garbage(page=2),
    "JSON but no list on page 2": faults.Garbage(page=2, body=b'{"message": "hello"}'),
    "JSON but no object on page 2": faults.Garbage(page=2, body=b"[]"),
    "5xx at once": faults.Fail(),
    "body cut at once": faults.CutBody(keep=0),
    "no JSON at once": faults.Garbage(),
}


def submit(bench: Bench, target: Target, count: int) -> list[str]:
    """Submit open jobs, a second apart."""
    made = []
    for _ in range(count):
        bench.clock.tick(1)
        simulator = bench.simulator
        made.append(
            simulator.submit_async(script=OPEN) if target is ASYNC else simulator.submit_batch(script=OPEN)
        )
    return made


@pytest.mark.parametrize("target", [ASYNC, BATCH], ids=["async", "batch"])
@pytest.mark.parametrize("fault", BREAKS.values(), ids=BREAKS)
def test_a_listing_that_breaks_off(baselined: Bench, target: Target, fault: faults.Fault) -> None:
    """The poll says that it is incomplete, no job is missed for it, and the next poll makes up for it.

    Injects fault 16.
    """
    old = submit(baselined, target, 6)
    assert len(baselined.poll(target).events) == 6
    new = submit(baselined, target, 6)
    with baselined.simulator.faults.active(faults.ShortPages(size=4), fault):
        for _ in range(4):
            baselined.clock.tick(60)
            broken = baselined.poll(target)
            assert broken.report.failure is not None
            assert {event["data"]["job_arn"] for event in broken.events} <= set(new)
    with baselined.database.read() as connection:
        missed = connection.exec_driver_sql("SELECT count(*) FROM jobs WHERE missed > 0 OR gone").scalar_one()
    assert missed == 0
    baselined.clock.tick(60)
    whole = baselined.poll(target)
    assert (whole.report.failure, whole.report.open_jobs) == (None, 12)
    assert set(baselined.statuses()) >= {*old, *new}
    assert {status for arn, status in baselined.statuses().items() if arn in {*old, *new}} == {"InProgress"}


def test_what_the_pages_before_the_break_showed_is_announced(baselined: Bench) -> None:
    """Presence is believed page by page: the first page's jobs are events although the second never came."""
    first, *_ = submit(baselined, BATCH, 4)
    with baselined.simulator.faults.active(faults.ShortPages(size=2), faults.Fail(page=2)):
        broken = baselined.poll()
    assert broken.told == [(None, "InProgress")]
    assert broken.report.jobs == 2
    assert broken.report.failure is not None
    assert broken.report.failure.reason is AwsReason.SERVICE
    assert first in baselined.statuses()
    assert len(baselined.poll().events) == 3


def test_tokens_without_end_end_the_scan(baselined: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fresh tokens for ever, on empty pages, end the scan as incomplete (fault 15)."""
    monkeypatch.setattr("poller.aws.api._MOST_IDLE_PAGES", 50)
    submit(baselined, BATCH, 1)
    with baselined.simulator.faults.active(faults.EndlessTokens()):
        poll = baselined.poll()
    assert poll.told == [(None, "InProgress")]
    assert poll.report.failure is not None
    assert poll.report.failure.reason is AwsReason.INCOMPLETE
    assert 50 <= len(poll.calls) < 60


def test_a_get_that_fails_leaves_the_poll_incomplete(crowded: tuple[Bench, str]) -> None:
    """An old job whose Get is throttled was not seen; the next poll sees it."""
    bench, old = crowded
    bench.simulator.force(old, "Completed")
    with bench.simulator.faults.active(faults.Throttle(operation="GetModelInvocationJob")):
        broken = bench.poll()
    assert broken.report.failure is not None
    assert broken.report.failure.reason is AwsReason.THROTTLED
    assert bench.poll().told == [("InProgress", "Completed")]


def test_a_first_scan_that_breaks_off_is_still_a_first_scan(bench: Bench) -> None:
    """History that the broken first scan did not reach is not announced by the next."""
    submit(bench, BATCH, 6)
    with bench.simulator.faults.active(faults.ShortPages(size=2), faults.Fail(page=2)):
        assert bench.poll().events == []
    bench.clock.tick(60)
    poll = bench.poll()
    assert (poll.events, poll.report.full, len(bench.statuses())) == ([], True, 6)


def test_a_stop_ends_a_poll_between_its_calls(baselined: Bench) -> None:
    """A poll gives up at its next call, keeps what it has, and gives the lease back."""
    submit(baselined, BATCH, 6)
    stop: threading.Event = baselined.calls.stop
    with (
        baselined.simulator.faults.active(faults.ShortPages(size=2)),
        pytest.raises(StoppedError),
    ):
        baselined.poll(on_progress=lambda _: stop.set())
    kept = len(baselined.news())
    assert 1 <= kept < 6
    stop.clear()
    assert len(baselined.poll().events) == 6 - kept
