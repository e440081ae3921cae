"""One poll of one target: plan, list and get, diff, record.

A page is listed, diffed, committed and forgotten, so memory does not grow with the number of jobs; only the
open jobs, which quotas keep few, are held to notice what a complete listing did not show. What a page shows
is recorded even if the next page never comes. Blocking; runs in a thread.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Protocol

from poller import logs
from poller.diff import diff, disappearance, supersedes
from poller.envelope import happened_at, job_event
from poller.errors import AwsError, AwsReason, ItemError
from poller.plan import MARGIN, ScanPlan, choose, full_scan, narrowest, pages_worth_counting
from poller.polling.ahead import one_ahead
from poller.store import Observation

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence
    from datetime import timedelta

    from poller.aws import JobsApi, Page
    from poller.kinds import Kind
    from poller.metrics import Metrics
    from poller.model import Change, Job, Known, Target
    from poller.plan import OpenJob
    from poller.store import Claim

_log = logs.get(__name__)

MISSES_BEFORE_GONE = 3
"""How many complete listings in a row must lack an open job before a Get is asked whether it is gone."""

_ENDED_AT_ONCE = 20
"""How many ended jobs wait for their details before they are recorded; bounds what a kill repeats."""

_MOST_WARNINGS = 10_000


class Ledger(Protocol):
    """What a poll needs of the snapshot; `Snapshot` writes, `Rehearsal` only pretends to."""

    def claim(self, target: Target) -> Claim | None:
        """Take the lease."""

    def renew(self, claim: Claim) -> None:
        """Extend it."""

    def release(self, claim: Claim) -> None:
        """Give it back."""

    def settled(self, arns: Sequence[str]) -> Mapping[str, str]:
        """The statuses of those that have ended."""

    def known(self, arns: Collection[str]) -> Mapping[str, Known]:
        """The rows of these jobs."""

    def remembered(self, arn: str) -> Job:
        """What is known of a job that has a row."""

    def open_jobs(self, target: Target) -> list[OpenJob]:
        """The open jobs."""

    def page_edges(self, target: Target, pages: int) -> Sequence[datetime]:
        """When the last job of each of the newest pages was submitted."""

    def record(
        self, claim: Claim, observations: Sequence[Observation], *, seen: Collection[str] = ()
    ) -> None:
        """Write what was seen and what it owes."""

    def mark_missed(self, claim: Claim, arns: Collection[str]) -> Mapping[str, int]:
        """Count one more listing without these jobs."""

    def finish(self, claim: Claim, *, high_water: datetime | None, full: bool) -> None:
        """Record that the scan was complete."""


@dataclass(frozen=True, slots=True)
class Rules:
    """How a target is polled: the `poll` section of the configuration."""

    overlap: timedelta
    full_scan_interval: timedelta
    emit_first_scan: bool = False


@dataclass(slots=True)
class Report:
    """What one poll found.

    Args:
        target: The target.
        claimed: False if another replica is polling it.
        full: The listing had no window.
        jobs: Items seen.
        changes: Rows of the snapshot written.
        events: Events recorded.
        open_jobs: Open jobs at the end.
        strained: AWS throttled the poll, or had to be asked more than once.
        failure: Why the poll is incomplete; `None` if the target was seen whole.
    """

    target: Target
    claimed: bool = True
    full: bool = False
    jobs: int = 0
    changes: int = 0
    events: int = 0
    open_jobs: int = 0
    strained: bool = False
    failure: AwsError | None = None


@dataclass(slots=True)
class _Scan:
    """The state of one poll."""

    claim: Claim
    api: JobsApi
    kind: Kind
    report: Report
    announce: bool
    details: bool
    unseen: dict[str, OpenJob]
    returned: set[str] = field(default_factory=set)
    high_water: datetime | None = None


class Cycle:
    """Polls targets; one instance serves all of them, from several threads.

    Args:
        ledger: The snapshot.
        api: Makes the calls for a target.
        kind: The declaration of a target's kind.
        rules: How to poll.
        route: The sinks an event is owed to, by its `data`.
        metrics: Where it is counted.
        now: The local clock; only for `observed_at`.
        recorded: Called after a commit that owes deliveries.
        alive: Called whenever the poll of a target has got further.
    """

    def __init__(
        self,
        *,
        ledger: Ledger,
        api: Callable[[Target], JobsApi],
        kind: Callable[[Target], Kind],
        rules: Rules,
        route: Callable[[Mapping[str, Any]], tuple[str, ...]],
        metrics: Metrics,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        recorded: Callable[[], None] = lambda: None,
        alive: Callable[[Target], None] = lambda _: None,
    ) -> None:
        self._ledger = ledger
        self._api = api
        self._kind = kind
        self._rules = rules
        self._route = route
        self._metrics = metrics
        self._now = now
        self._recorded = recorded
        self._alive = alive
        self._warned: set[tuple[str, str]] = set()

    def poll(self, target: Target) -> Report:
        """Look at a target once.

        Raises:
            StoreError: The database failed; what was recorded before stays recorded.
            StoppedError: The process is shutting down.
        """
        report = Report(target)
        claim = self._ledger.claim(target)
        if claim is None:
            report.claimed = False
            return report
        try:
            self._scan(claim, report)
        except BaseException:
            self._ledger.release(claim)
            raise
        return report

    def _scan(self, claim: Claim, report: Report) -> None:
        target = claim.target
        open_jobs = self._ledger.open_jobs(target)
        plan = self._plan(claim, open_jobs)
        report.full = plan.full
        self._metrics.scans.labels("full" if plan.full else "window").inc()
        scan = _Scan(
            claim=claim,
            api=self._api(target),
            kind=self._kind(target),
            report=report,
            announce=claim.baselined or self._rules.emit_first_scan,
            # A first scan finds history; a Get for each job of it would cost more than all that follows.
            details=claim.baselined,
            unseen={job.arn: job for job in open_jobs},
        )
        try:
            for page in one_ahead(scan.api.pages(plan.since)):
                self._page(scan, page)
            self._get_older(scan, plan)
            self._absent(scan, plan)
            self._ledger.finish(claim, high_water=scan.high_water, full=plan.full)
        except AwsError as error:
            report.failure = error
            self._ledger.release(claim)
        throttled = report.failure is not None and report.failure.reason is AwsReason.THROTTLED
        report.strained = throttled or scan.api.retries > 0
        report.open_jobs = len(self._ledger.open_jobs(target))

    def _plan(self, claim: Claim, open_jobs: Sequence[OpenJob]) -> ScanPlan:
        due = claim.full_scan_age is None or (
            claim.full_scan_age >= self._rules.full_scan_interval.total_seconds()
        )
        if due or not claim.baselined or claim.high_water is None:
            return full_scan()
        narrow = narrowest(high_water=claim.high_water, overlap=self._rules.overlap, open_jobs=open_jobs)
        pages = pages_worth_counting(narrow)
        edges = self._ledger.page_edges(claim.target, pages) if pages else ()
        return choose(narrow=narrow, open_jobs=open_jobs, page_edges=edges)

    def _page(self, scan: _Scan, page: Page) -> None:
        scan.report.jobs += len(page.items)
        # The list is ordered by submission, so its newest job stands at an edge of a page.
        for item in (*page.items[:1], *page.items[-1:]):
            submitted = scan.kind.submission(item)
            # A submission later than the service's own clock says nothing about where to begin.
            if submitted is not None and page.served_at is not None and submitted <= page.served_at:
                scan.high_water = max(submitted, scan.high_water or submitted)
        items = self._unsettled(scan, page.items)
        self._take(scan, [job for item in items if (job := self._observe(scan, item)) is not None])

    def _unsettled(self, scan: _Scan, items: Sequence[Any]) -> list[Any]:
        """Leave out the jobs known to have ended as they are listed: nearly all of a long history."""
        glances = [scan.kind.glance(item) for item in items]
        settled = self._ledger.settled([arn for arn, _ in glances if arn is not None])
        return [
            item
            for item, (arn, status) in zip(items, glances, strict=True)
            if arn is None or arn not in settled or status not in {None, settled[arn]}
        ]

    def _observe(self, scan: _Scan, item: Any) -> Job | None:
        try:
            return scan.kind.observe(item)
        except ItemError as error:
            if error.arn is not None:
                scan.unseen.pop(error.arn, None)
                # The list may leave out the status, which its model does not require; the Get has it.
                try:
                    return scan.kind.observe({**item, **scan.api.get(error.arn)})
                except (AwsError, ItemError):
                    pass
            self._metrics.quarantined.labels(error.reason).inc()
            key = error.arn or error.reason
            self._warn_once("item.quarantined", scan, key, reason=error.reason, error=str(error))
            return None

    def _take(self, scan: _Scan, jobs: Sequence[Job]) -> None:
        """Diff observations and record them, ended jobs with their details and a few at a time."""
        self._alive(scan.claim.target)
        for job in jobs:
            missed = scan.unseen.pop(job.arn, None)
            if missed is not None and missed.missed:
                scan.returned.add(job.arn)
        known = self._ledger.known({job.arn for job in jobs}) if jobs else {}
        changes = diff(known, jobs, announce_new=scan.announce)
        if not changes:
            self._ledger.renew(scan.claim)
        plain = [change for change in changes if not self._wants_details(scan, change)]
        self._record(scan, plain)
        ended = [change for change in changes if self._wants_details(scan, change)]
        for start in range(0, len(ended), _ENDED_AT_ONCE):
            chunk = [self._detailed(scan, change.job) for change in ended[start : start + _ENDED_AT_ONCE]]
            self._record(scan, diff(known, chunk, announce_new=scan.announce))

    def _wants_details(self, scan: _Scan, change: Change) -> bool:
        return scan.details and change.event_type is not None and change.job.terminal

    def _detailed(self, scan: _Scan, job: Job) -> Job:
        """The ended job with what only Get tells; as it is if the Get fails or shows an older state."""
        try:
            self._alive(scan.claim.target)
            self._ledger.renew(scan.claim)
            detailed = scan.kind.observe({**job.raw, **scan.api.get(job.arn)})
        except (AwsError, ItemError) as error:
            reason = error.reason
            self._warn_once("job.details_unavailable", scan, str(reason), job_arn=job.arn, error=str(error))
            return job
        return detailed if detailed.arn == job.arn and supersedes(detailed, job) else job

    def _record(self, scan: _Scan, changes: Sequence[Change]) -> None:
        if not changes and not scan.returned:
            return
        target = scan.claim.target
        observed_at = self._now()
        observations = []
        for change in changes:
            if change.event_type is None:
                observations.append(Observation(change))
                continue
            event = job_event(change, change.event_type, target, observed_at)
            observations.append(Observation(change, event, self._route(event.data)))
        self._ledger.record(scan.claim, observations, seen=scan.returned)
        scan.returned.clear()
        scan.report.changes += len(observations)
        self._count(scan, [item for item in observations if item.event is not None], observed_at)

    def _count(self, scan: _Scan, published: Sequence[Observation], observed_at: datetime) -> None:
        for item in published:
            job, event_type = item.change.job, item.change.event_type
            scan.report.events += 1
            self._metrics.events.labels(event_type).inc()
            if event_type is not None and not item.change.gone:
                self._metrics.transitions.labels(job.kind, _label(scan.kind, job)).inc()
                at = happened_at(job, event_type)
                if at is not None and scan.claim.baselined:
                    self._metrics.detection_delay.observe(max(0.0, (observed_at - at).total_seconds()))
            if not item.sinks:
                self._metrics.events_unrouted.inc()
                _log.info("event.unrouted", event_id=item.event.id if item.event else None, job_arn=job.arn)
        if published:
            self._recorded()

    def _get_older(self, scan: _Scan, plan: ScanPlan) -> None:
        """Look at the open jobs that the listing could not show, one by one."""
        for arn in plan.gets:
            if arn not in scan.unseen:
                continue
            self._ledger.renew(scan.claim)
            try:
                job = self._observe(scan, scan.api.get(arn))
            except AwsError as error:
                if error.reason is AwsReason.ACCESS_DENIED:
                    self._warn_once("job.get_denied", scan, "", error=str(error))
                    self._list_older(scan, plan)
                    return
                if error.reason is not AwsReason.NOT_FOUND:
                    raise
                self._missed(scan, [arn])
                continue
            scan.unseen.pop(arn, None)
            if job is not None and job.arn == arn:
                self._take(scan, [job])

    def _list_older(self, scan: _Scan, plan: ScanPlan) -> None:
        """Look at the same jobs by a wider listing, for want of the permission to get them."""
        older = [scan.unseen[arn] for arn in plan.gets if arn in scan.unseen]
        times = [job.submitted_at for job in older if job.submitted_at is not None]
        for page in scan.api.pages(min(times) - MARGIN if len(times) == len(older) else None):
            self._page(scan, page)
        self._missed(scan, [job.arn for job in older if job.arn in scan.unseen])

    def _absent(self, scan: _Scan, plan: ScanPlan) -> None:
        """Count the open jobs that a complete listing should have shown and did not."""
        gets = set(plan.gets)
        missing = [arn for arn in scan.unseen if arn not in gets]
        self._missed(scan, missing)
        if scan.returned:
            self._record(scan, [])

    def _missed(self, scan: _Scan, arns: Collection[str]) -> None:
        for arn, count in self._ledger.mark_missed(scan.claim, arns).items():
            _log.warning("job.missing", job_arn=arn, target=scan.claim.target.id, scans=count)
            if count >= MISSES_BEFORE_GONE:
                self._confirm_gone(scan, arn)

    def _confirm_gone(self, scan: _Scan, arn: str) -> None:
        try:
            job = self._observe(scan, scan.api.get(arn))
        except AwsError as error:
            if error.reason is AwsReason.ACCESS_DENIED:
                self._warn_once("job.get_denied", scan, "", error=str(error))
                return
            if error.reason is not AwsReason.NOT_FOUND:
                raise
            known = self._ledger.known([arn])[arn]
            _log.warning(
                "job.disappeared", job_arn=arn, target=scan.claim.target.id, last_status=known.status
            )
            self._record(scan, [disappearance(known, self._ledger.remembered(arn))])
            return
        if job is not None and job.arn == arn:
            scan.returned.add(arn)
            self._take(scan, [job])

    def _warn_once(self, event: str, scan: _Scan, key: str, **fields: object) -> None:
        """Log a warning the first time, so that one bad item does not fill the log poll after poll."""
        seen = (event, f"{scan.claim.target.id} {key}")
        if seen not in self._warned and len(self._warned) < _MOST_WARNINGS:
            self._warned.add(seen)
            _log.warning(event, target=scan.claim.target.id, **fields)


def _label(kind: Kind, job: Job) -> str:
    # A label's values stay bounded: a status that nobody declared is counted as one.
    return job.status if job.status in kind.statuses else "unknown"
