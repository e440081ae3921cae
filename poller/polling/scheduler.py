"""Polls every target in its own rhythm, a bounded number at a time.

APScheduler owns the timing: one job a target, never two polls of one target at once, missed runs merged into
one. Intervals, which the cadence knows, are counted from when a target's last poll began, on whichever
replica.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC
from functools import partial
from typing import TYPE_CHECKING

from apscheduler.schedulers.asyncio import AsyncIOScheduler

from poller import logs
from poller.errors import AwsReason, LeaseLostError, StoppedError, StoreError
from poller.polling.cadence import JITTER
from poller.polling.clock_jumps import watch_clock
from poller.polling.fair_share import FairShare
from poller.polling.lease_keeper import LONGEST_CALL_SECONDS
from poller.polling.pace import WAKE_SECONDS, Pace, PaceTrigger
from poller.polling.woken import Woken

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Collection, Sequence

    from poller.heartbeats import Heartbeats
    from poller.metrics import Metrics
    from poller.model import Target
    from poller.polling.cadence import Cadence
    from poller.polling.page import PollReport
    from poller.polling.poller import Poller
    from poller.polling.woken import PollFuture

_log = logs.get(__name__)

_NOT_OFFERED = (AwsReason.NETWORK, AwsReason.CREDENTIALS)
"""How a region answers that does not offer a service, or that an account has not enabled."""
_LOOP = "polls"
_MOST_TOLD = 500
"""With more targets than this, a poll that has found nothing new is told at debug level only."""


class PollScheduler:
    """Runs the polls.

    Args:
        poller: Does one poll.
        targets: What to poll.
        cadence: Knows how often each is polled.
        concurrency: Polls at once, each in a thread.
        stop: Set to make running polls give up at the next page.
        metrics: Where polls are counted.
        heartbeats: Told when each target will be heard of next.
        reported: Called with every poll's report.
        is_backlogged: Whether so much waits to be delivered that polls should bring less.
        optional: Targets that their account may not be able to use.
        shared: Whether other replicas poll the same targets; a poll that one of them has begun counts.
    """

    def __init__(
        self,
        *,
        poller: Poller,
        targets: Sequence[Target],
        cadence: Cadence,
        concurrency: int,
        stop: threading.Event,
        metrics: Metrics,
        heartbeats: Heartbeats,
        reported: Callable[[PollReport], None] = lambda _: None,
        is_backlogged: Callable[[], bool] = lambda: False,
        optional: Collection[Target] = (),
        shared: bool = False,
    ) -> None:
        self._poller = poller
        self._targets = targets
        self._by_id = {target.id: target for target in targets}
        self.cadence = cadence
        self._stop = stop
        self._metrics = metrics
        self._heartbeats = heartbeats
        self._reported = reported
        self._is_backlogged = is_backlogged
        self._optional = optional
        self._shared = shared
        self._paces = {target.id: Pace(cadence.shortest, cadence.spread) for target in targets}
        self._shortest_known: float | None = None
        self._unavailable: set[Target] = set()
        self._answered: set[str] = set()
        self._threads = ThreadPoolExecutor(concurrency, thread_name_prefix="poll")
        self._turns = FairShare(concurrency)
        self._scheduler = AsyncIOScheduler(timezone=UTC)
        self._running: set[asyncio.Task[PollReport | None]] = set()
        self._woken = Woken()
        self._busy: set[str] = set()

    def start(self) -> None:
        """Begin: every target is polled at once, and then in its rhythm; or not, after a stop."""
        if self._stop.is_set():
            return
        # Each replica in an order of its own, so that they do not all ask for the same target.
        for target in random.sample(self._targets, len(self._targets)) if self._shared else self._targets:
            pace = self._paces[target.id]
            pace.last_change = time.monotonic()
            self._show_interval(target)
            self._scheduler.add_job(
                self._run,
                PaceTrigger(pace),
                args=[target],
                id=target.id,
                coalesce=True,
                max_instances=1,
                misfire_grace_time=None,
            )
        self._scheduler.start()
        self._moved()

    def seen(self, target_id: str, age: float, calls: int | None = None) -> None:
        """Learn that a replica has begun to poll a target so many seconds ago; it may be known already.

        Args:
            target_id: The target; may be one that is not polled here.
            age: Seconds.
            calls: What a poll of it has cost lately, if that is known.
        """
        pace = self._paces.get(target_id)
        if pace is None:
            return
        before = pace.interval
        pace.saw(time.monotonic() - age, target_id, calls, self.cadence)
        self._note_interval(target_id, before)
        if pace.interval < before:
            # APScheduler would look only when the longer one is over.
            self._plan(target_id)

    def poll_soon(self, target_id: str) -> None:
        """Make a target due, because its last poll was cut off."""
        if target_id in self._paces:
            self._paces[target_id].forget()
            self._plan(target_id)

    def poll_now(self) -> None:
        """Make every target due, unless no more polls are to begin."""
        for target in self._targets:
            self._paces[target.id].make_due()
            self._plan(target.id)

    def wake(self, target_id: str) -> PollFuture:
        """Poll a target soon, though it is not due, but for one that AWS throttles.

        Returns:
            Gets the report of the first poll that begins from now on, or `WakeError` if that one fails.
        """
        waiting = self._woken.add(target_id)
        self._hurry(target_id)
        return waiting

    def _hurry(self, target_id: str) -> None:
        """Plan a target for which wake-ups wait; at the end of a poll of it that comes again."""
        if target_id in self._woken and target_id not in self._busy:
            self._paces[target_id].wake()
            self._plan(target_id)

    def _plan(self, target_id: str) -> None:
        """Let APScheduler ask when a target is due, instead of at its next run."""
        if self._scheduler.running and not self._stop.is_set():
            self._scheduler.reschedule_job(target_id, trigger=PaceTrigger(self._paces[target_id]))

    async def watch_clock(self) -> None:
        """Poll every target when the wall clock jumps; runs until canceled."""
        await watch_clock(self._scheduler, self._shortest, self.poll_now)

    def _shortest(self) -> float:
        """The shortest interval of any target, in seconds."""
        if self._shortest_known is None:
            intervals = (pace.interval for pace in self._paces.values())
            self._shortest_known = min(intervals, default=self.cadence.shortest)
        return self._shortest_known

    async def stop(self, grace: float) -> bool:
        """Begin no more polls, make the running ones give up, and wait for them up to `grace` seconds.

        Returns:
            Whether they all ended in time. One that did not is stuck in a call to AWS; what it writes
            afterwards is as good as before, as long as no other replica has claimed its target.
        """
        self._stop.set()
        if self._scheduler.running:
            self._scheduler.remove_all_jobs()
        if self._running:
            await asyncio.wait(self._running, timeout=grace)
        self._woken.stop()
        if self._scheduler.running:
            self._scheduler.shutdown(wait=False)
        self._heartbeats.forget(_LOOP)
        self._threads.shutdown(wait=False, cancel_futures=True)
        if self._running:
            _log.warning("poll.abandoned", polls=len(self._running))
        return not self._running

    async def poll(self, target: Target, *, after: float = 0.0) -> PollReport | None:
        """Poll one target now, unless a replica began to in the last `after` seconds.

        Returns:
            What it found; `None` if it failed in a way that leaves no report.
        """
        labels = (target.name, target.region, target.kind)
        began = time.monotonic()
        report = None
        reason = None
        try:
            poll = partial(self._poller.poll, target, after=after)
            report = await asyncio.get_running_loop().run_in_executor(self._threads, poll)
        except StoppedError:
            return None
        except LeaseLostError as error:
            self._metrics.leases_lost.inc()
            reason = "lease_lost"
            _log.warning("poll.lease_lost", target=target.id, error=str(error))
        except StoreError as error:
            reason = "store"
            _log.error("poll.failed", target=target.id, reason=reason, error=str(error))
        except Exception:  # noqa: BLE001 - one target's fault must not end the others
            reason = "internal"
            _log.exception("poll.failed", target=target.id, reason=reason)
        if report is not None and not report.claimed:
            _log.debug("poll.skipped", target=target.id, why="another replica holds the lease")
            return report
        took = time.monotonic() - began
        self._metrics.polls.labels(*labels).inc()
        self._metrics.poll_duration.labels(target.region, target.kind).observe(took)
        if report is not None and report.failure is not None:
            if self._is_unavailable(report):
                return report
            reason = report.failure.reason
            _log.warning(
                "poll.failed", target=target.id, reason=reason, error=str(report.failure), jobs=report.jobs
            )
        if reason is not None:
            self._metrics.poll_failures.labels(*labels, reason).inc()
        elif report is not None:
            self._available(target)
            self._metrics.poll_last_success.labels(*labels).set_to_current_time()
            news = report.changes or report.deferred or report.full
            _log.log(
                logging.INFO if news or len(self._targets) <= _MOST_TOLD else logging.DEBUG,
                "poll.finished",
                target=target.id,
                scan="full" if report.full else "window",
                jobs=report.jobs,
                events=report.events,
                open_jobs=report.open_jobs,
                carried=report.deferred,
                seconds=round(took, 3),
            )
        return report

    def _is_unavailable(self, report: PollReport) -> bool:
        """Whether a target failed because its account cannot use that region; it is then asked rarely.

        Only if the configuration does not name it, it never answered, and the account answers elsewhere: or a
        role that is wrong everywhere would look like an account without regions.
        """
        target, failure = report.target, report.failure
        if failure is None or target not in self._optional or report.known:
            return False
        if failure.reason not in _NOT_OFFERED or target.name not in self._answered:
            return False
        report.throttled = True
        if target not in self._unavailable:
            self._unavailable.add(target)
            self._metrics.unavailable.set(len(self._unavailable))
            _log.info("target.unavailable", target=target.id, error=str(failure))
        return True

    def _available(self, target: Target) -> None:
        self._answered.add(target.name)
        if target in self._unavailable:
            self._unavailable.discard(target)
            self._metrics.unavailable.set(len(self._unavailable))
            _log.info("target.available", target=target.id)

    async def _run(self, target: Target) -> None:
        self._busy.add(target.id)
        try:
            await self._run_due(target)
        finally:
            self._busy.discard(target.id)
            # Not before APScheduler knows that this run has ended, or it would skip the next one.
            asyncio.get_running_loop().call_soon(self._hurry, target.id)

    async def _run_due(self, target: Target) -> None:
        after = self._paces[target.id].interval * (1 - JITTER) if self._shared else 0.0
        if target.id in self._woken:
            after = min(after, WAKE_SECONDS)
        if self._is_early(target, after):
            return
        # What one poll left is the next one's, at once: it is the budget that is bounded, not the work.
        while await self._run_once(target, after) and not self._stop.is_set():
            _log.debug("poll.continued", target=target.id)
            after = 0.0

    def _is_early(self, target: Target, after: float) -> bool:
        """Whether a replica has begun to poll a target since it was planned; then it is planned by that."""
        pace = self._paces[target.id]
        if pace.begun is None or time.monotonic() - pace.begun >= after:
            return False
        pace.count_from(pace.begun)
        self._plan(target.id)
        # A replica that is never the first to be due polls nothing, and is well.
        self._moved()
        return True

    async def _run_once(self, target: Target, after: float) -> bool:
        """Poll, and say whether there is more to do at once."""
        pace = self._paces[target.id]
        async with self._turns.turn(target):
            # Where many are due at once, others poll some of them before their turn comes here.
            if self._stop.is_set() or self._is_early(target, after):
                return False
            self._moved()
            self.expect(target)
            began = time.monotonic()
            pace.not_before = began + WAKE_SECONDS
            late = None if pace.begun is None else began - pace.due_at
            task = asyncio.ensure_future(self.poll(target, after=after))
            self._running.add(task)
            try:
                report = await task
            finally:
                self._running.discard(task)
                self._heartbeats.forget(_loop_of(target))
        if report is not None:
            self._turns.told(report)
            if report.claimed:
                if late is not None:
                    self._metrics.poll_lateness.observe(max(0.0, late))
                self._adapt(report, pace, time.monotonic() - began)
                # Not before the claim, or the next one could come too early for the store, which counts from
                # there.
                pace.count_from(report.begun or began)
                self._plan(target.id)
            elif self._shared:
                pace.ask_again_soon()
                self._plan(target.id)
            self._reported(report)
        if report is None or report.claimed:
            self._woken.ended(target.id, began if report is None else report.begun or began, report)
        self._moved()
        return report is not None and report.deferred > 0 and not (report.throttled or self._is_backlogged())

    def _adapt(self, report: PollReport, pace: Pace, seconds: float) -> None:
        """Set a target's interval by what its poll has found."""
        target, before, backlogged = report.target, pace.interval, self._is_backlogged()
        if pace.adapt(report, self.cadence, seconds=seconds, backlogged=backlogged):
            why = "throttled" if report.throttled else "backlog" if backlogged else "calm"
            _log.warning("poll.strain_changed", target=target.id, times_slower=pace.backoff_factor, why=why)
        self._note_interval(target.id, before)

    def _note_interval(self, target_id: str, before: float) -> None:
        """Take note of a target's interval, if it is another one than before."""
        interval = self._paces[target_id].interval
        if interval == before:
            return
        if self._shortest_known is not None and interval < self._shortest_known:
            self._shortest_known = interval
        elif before == self._shortest_known:
            self._shortest_known = None
        self._show_interval(self._by_id[target_id])
        _log.debug("poll.paced", target=target_id, seconds=interval)

    def _show_interval(self, target: Target) -> None:
        labels = (target.name, target.region, target.kind)
        self._metrics.poll_interval.labels(*labels).set(self._paces[target.id].interval)

    def expect(self, target: Target) -> None:
        """Take note that a target's poll has got further; also called from the poll's thread."""
        if not self._stop.is_set():
            self._heartbeats.beat(_loop_of(target), within=LONGEST_CALL_SECONDS)

    def _moved(self) -> None:
        """Take note that a poll has begun or ended; with so many threads, others may have to wait."""
        if self._targets and not self._stop.is_set():
            self._heartbeats.beat(_LOOP, within=self._shortest() * (1 + JITTER) + LONGEST_CALL_SECONDS)


def _loop_of(target: Target) -> str:
    """What a target's polls are called where health is asked about."""
    return f"poll {target.id}"
