"""Records what the answers of one poll show: parse → diff → record, or wait for details and then record.

Each page is diffed, committed and forgotten, so memory does not grow with the number of jobs. What a page
shows is recorded even if the next page never comes. Only the open jobs, which quotas keep few, are held, to
notice what a complete listing did not show.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from poller import logs
from poller.aws.limits import Patience
from poller.diff import diff
from poller.errors import AwsError, AwsReason, ItemError
from poller.events import happened_at, job_event
from poller.model import Details, EventType
from poller.polling.endings import LAST, MOST_WAITING, Endings, first_to_ask
from poller.store import Ending, Observation

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from concurrent.futures import Future
    from datetime import datetime

    from poller.aws import JobsApi, Page
    from poller.kinds import Kind
    from poller.model import Change, Job, JobState, Target
    from poller.plan import OpenJob
    from poller.polling.gets import Gets
    from poller.polling.poller import Poller
    from poller.store import Claim

_log = logs.get(__name__)

_SKEW_SECONDS = 60.0
_NO_DATE = timedelta(days=1)
"""How much later than the local clock a time may be, where the service's answer has no `Date`."""
_MOST_BYTES = 16 * 1024 * 1024
"""Bytes of events that one transaction records."""


@dataclass(slots=True)
class PollReport:
    """What one poll found.

    Args:
        target: The target.
        claimed: False if another replica holds the target's lease.
        known: A complete scan of the target has been recorded before.
        full: The listing had no window.
        jobs: Items listed.
        calls: Pages listed, and Gets of jobs that the pages do not show.
        changes: Rows of the snapshot written.
        events: Events recorded.
        open_jobs: Open jobs at the end.
        deferred: Jobs left to the next poll, because the budget of calls was spent.
        throttled: AWS throttled the poll, or a call needed more than one attempt.
        failure: Why the poll is incomplete; `None` if the target was seen whole.
        account_id: The account whose jobs are listed, if it was unknown; the poll ended there.
        begun: When the target was claimed, in monotonic seconds; `None` if it was not.
    """

    target: Target
    claimed: bool = True
    known: bool = False
    full: bool = False
    jobs: int = 0
    calls: int = 0
    changes: int = 0
    events: int = 0
    open_jobs: int = 0
    deferred: int = 0
    throttled: bool = False
    failure: AwsError | None = None
    account_id: str | None = None
    begun: float | None = None


class JobRecorder:
    """Records the jobs that the answers of one poll show.

    Args:
        poller: What the poll belongs to.
        claim: The lease to write under.
        api: Makes the calls.
        gets: Makes the Gets.
        kind: The declaration of the target's kind.
        report: Counts what was found.
        open_jobs: The snapshot's open jobs at the beginning.
        budget: How many Gets the poll may make.
        reserved: Gets that are kept back for open jobs which the listing does not show.
    """

    def __init__(
        self,
        poller: Poller,
        *,
        claim: Claim,
        api: JobsApi,
        gets: Gets,
        kind: Kind,
        report: PollReport,
        open_jobs: Sequence[OpenJob],
        budget: int,
        reserved: int,
    ) -> None:
        self.poller = poller
        self.claim = claim
        self.api = api
        self.gets = gets
        self.kind = kind
        self.endings = Endings(self, poller.details)
        self._snapshot = poller.snapshot
        self._metrics = poller.metrics
        self.report = report
        self._served_at: datetime | None = None
        self._pages = 0
        self._reserved = min(reserved, budget // 2)
        self.gets_left = budget
        self.unseen = {job.arn: job for job in open_jobs}
        """Open jobs that no answer has shown yet."""
        self.returned: set[str] = set()
        """Jobs that earlier listings lacked and this poll has seen."""
        self.statusless: dict[str, ItemError] = {}
        """Jobs whose item has no status, which the service's model allows; a Get has it."""
        self.high_water: datetime | None = None
        """The newest submission listed."""
        self.deferred = 0
        """Jobs that were not recorded for want of calls, besides the endings that are left."""

    def record_page(self, page: Page) -> None:
        """Record what one page of the listing shows."""
        if page.served_at is not None and not self._pages:
            self._compare_clocks(page.served_at)
        self._served_at = self._served_at or page.served_at
        self._pages += 1
        self.report.jobs += len(page.items)
        self.report.calls += 1
        self._raise_high_water(page)
        jobs, known = self._parse(page)
        self.record_jobs(jobs, known)

    def record_job(self, job: Job, served_at: datetime | None) -> None:
        """Record what a Get shows of one job."""
        known = self._without_future_times(self._snapshot.known([job.arn]), served_at)
        self.record_jobs([replace(job, details=Details.COMPLETE)], known)

    def record_jobs(self, jobs: Sequence[Job], known: Mapping[str, JobState]) -> None:
        """Diff jobs against their rows, record the changes, and ask for the details that endings lack."""
        self.keep_lease()
        for job in jobs:
            missed = self.unseen.pop(job.arn, None)
            if missed is not None and missed.missed:
                self.returned.add(job.arn)
        changes = diff(known, self.endings.without_waiting(jobs), is_news=self.is_news)
        self.record([change for change in changes if not self.endings.lacks_details(change)])
        ended = first_to_ask(change.job for change in changes if self.endings.lacks_details(change))
        affordable = max(0, min(len(ended), self.gets_left - self._reserved))
        self.gets_left -= affordable
        # An ending that is not recorded now is still news to the next poll, which begins where this one did.
        for place, job in enumerate(ended):
            self.endings.ask(job, known.get(job.arn), spare=place >= affordable)
        self.record_until(lambda: self.gets.owed <= MOST_WAITING)

    def record(self, changes: Sequence[Change]) -> None:
        """Write changes with the events they publish and the deliveries these owe."""
        observed_at = self.poller.now()
        endings = self._endings(changes)
        told = self._snapshot.native_events.told(endings) if endings else frozenset()
        observations: list[Observation] = []
        size = 0
        for change in changes:
            if change.event_type is None:
                observations.append(Observation(change))
                continue
            ending = endings.get(change.job.arn)
            seen = None if ending is None else (ending.job_arn, ending.status) in told
            event = job_event(
                change, change.event_type, self.claim.target, observed_at, native_event_seen=seen
            )
            observations.append(Observation(change, event, self.poller.route(event.data), ending))
            size += len(event.body)
            if size > _MOST_BYTES:
                self._write(observations, observed_at)
                observations, size = [], 0
        self._write(observations, observed_at)

    def is_news(self, job: Job) -> bool:
        """Whether a job without a row is an event: always after the first scan, in it as configured."""
        first_scan = self.poller.first_scan
        if self.claim.baselined or isinstance(first_scan, str):
            return self.claim.baselined or first_scan == "emit"
        ended = happened_at(job)
        now = self._served_at or self.poller.now()
        return job.terminal and ended is not None and ended >= now - first_scan.since

    def _endings(self, changes: Sequence[Change]) -> dict[str, Ending]:
        """The endings among some changes that a native event should tell of, by ARN.

        What a first scan announces ended before anyone listened.
        """
        target = self.claim.target
        if not (self.kind.native_events and self.claim.baselined and self.poller.listens(target)):
            return {}
        return {
            change.job.arn: Ending(change.job.arn, change.job.status, target.kind)
            for change in changes
            if change.event_type is EventType.STATUS_CHANGED and change.job.status in self.kind.outcomes
        }

    def keep_lease(self) -> None:
        """Say that the poll makes progress, and renew its lease if it is time."""
        self.poller.progressed(self.claim.target)
        self._snapshot.leases.renew(self.claim)

    def get(self, arn: str) -> tuple[Job, datetime | None]:
        """Get one job, and record endings meanwhile; with the service's own time of the answer.

        Raises:
            AwsError: It could not be had.
            ItemError: The answer cannot be used.
        """
        self.keep_lease()
        get = self.gets.ask(arn, LAST, Patience())
        self.record_until(lambda: get.done)
        answer = get.result()
        return self.observe(answer.item, answer.served_at), answer.served_at

    def observe(self, item: Any, served_at: datetime | None) -> Job:
        """Read an item that the service showed at a time.

        Raises:
            ItemError: It cannot be used.
        """
        return self.kind.observe(item, self._limit(served_at))

    def record_until(self, condition: Callable[[], bool]) -> None:
        """Record endings as their details come, until something is the case."""
        while not condition():
            if done := self.gets.collect():
                self.keep_lease()
                self.endings.settle(done)

    def record_meanwhile(self, page: Future[Page | None]) -> None:
        """Record endings as their details come, until a page has come."""
        page.add_done_callback(lambda _: self.gets.nudge())
        self.record_until(page.done)

    def record_endings(self) -> None:
        """Record every ending that waits for its details, as soon as these are there or given up."""
        self.record_until(lambda: not self.gets.owed)

    def quarantine(self, error: ItemError) -> None:
        """Count an item that cannot be used, and log it once."""
        self._metrics.quarantined.labels(error.reason).inc()
        key = error.arn or error.reason
        self.warn_once("item.quarantined", key, reason=error.reason, error=str(error))

    def count_failed_get(self, error: AwsError | ItemError) -> None:
        """Count a Get that brought nothing."""
        reason = error.reason if isinstance(error, AwsError) else AwsReason.MALFORMED
        self._metrics.get_failures.labels(reason).inc()

    def warn_once(self, event: str, key: str, **fields: object) -> None:
        """Log a warning about this target the first time."""
        self.poller.warn_once(event, self.claim.target, key, **fields)

    def _compare_clocks(self, served_at: datetime) -> None:
        """Say by how much the local clock is wrong; only `observed_at` depends on it."""
        skew = (self.poller.now() - served_at).total_seconds()
        self._metrics.clock_skew.set(skew)
        if abs(skew) > _SKEW_SECONDS:
            self.warn_once("clock.skewed", "", seconds=round(skew, 1))

    def _raise_high_water(self, page: Page) -> None:
        # The list is ordered by submission, so its newest job stands at an edge of a page.
        for item in (*page.items[:1], *page.items[-1:]):
            submitted = self.kind.submission(item)
            # A submission later than the service's own clock does not help to find where to begin.
            if submitted is not None and page.served_at is not None and submitted <= page.served_at:
                self.high_water = max(submitted, self.high_water or submitted)

    def _parse(self, page: Page) -> tuple[list[Job], Mapping[str, JobState]]:
        """The jobs of a page that may have changed, and their rows."""
        # A job that ended before and is listed as ended is not looked at: nearly all of a long history.
        identities = [self.kind.peek_identity(item) for item in page.items]
        ended, others = self._snapshot.load_states([arn for arn, _ in identities if arn is not None])
        fresh = [
            item
            for item, (arn, status) in zip(page.items, identities, strict=True)
            if arn is None or arn not in ended or status not in {None, ended[arn]}
        ]
        jobs = [job for item in fresh if (job := self._parse_item(item, page.served_at)) is not None]
        changed = [job.arn for job in jobs if job.arn in ended]
        known = {**others, **self._snapshot.known(changed)} if changed else others
        return jobs, self._without_future_times(known, page.served_at)

    def _parse_item(self, item: Any, served_at: datetime | None) -> Job | None:
        try:
            job = self.observe(item, served_at)
        except ItemError as error:
            if error.arn is not None:
                self.unseen.pop(error.arn, None)
                self.statusless[error.arn] = error
            else:
                self.quarantine(error)
            return None
        if job.raw is not item:
            self._metrics.quarantined.labels("depth").inc()
            self.warn_once("item.cut", job.arn, job_arn=job.arn, why="nesting")
        return job

    def _limit(self, served_at: datetime | None) -> datetime:
        """The latest time that an answer can speak of: the service's own when it answered."""
        return served_at or self.poller.now() + _NO_DATE

    def _without_future_times(
        self, known: Mapping[str, JobState], served_at: datetime | None
    ) -> Mapping[str, JobState]:
        """The rows without times that are yet to come: such a time would outdo all that is seen later."""
        limit = self._limit(served_at)
        absurd = {
            arn: replace(row, modified_at=None)
            for arn, row in known.items()
            if row.modified_at is not None and row.modified_at > limit
        }
        return {**known, **absurd} if absurd else known

    def _write(self, observations: Sequence[Observation], observed_at: datetime) -> None:
        if not observations and not self.returned:
            return
        self._snapshot.record(self.claim, observations, seen=self.returned)
        self.returned.clear()
        self.report.changes += len(observations)
        for observation in observations:
            if observation.event is not None:
                self._count_event(observation, observed_at)

    def _count_event(self, observation: Observation, observed_at: datetime) -> None:
        job, event_type = observation.change.job, observation.change.event_type
        self.report.events += 1
        self._metrics.events.labels(event_type).inc()
        if event_type is not None and not observation.change.gone:
            # Undeclared statuses share one label, or its values would be without bound.
            status = job.status if job.status in self.kind.statuses else "unknown"
            self._metrics.transitions.labels(job.kind, status).inc()
            at = happened_at(job, event_type)
            if at is not None and self.claim.baselined:
                self._metrics.detection_delay.observe(max(0.0, (observed_at - at).total_seconds()))
        if not observation.sinks:
            self._metrics.events_unrouted.inc()
            event_id = observation.event.id if observation.event else None
            _log.info("event.unrouted", event_id=event_id, job_arn=job.arn)
