"""What one poll does with what it is shown: observe, diff, record; and notice what was not shown.

A page is diffed, committed and forgotten, so memory does not grow with the number of jobs; only the open
jobs, which quotas keep few, are held to notice what a complete listing did not show. What a page shows is
recorded even if the next page never comes.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from poller import logs
from poller.diff import diff, disappearance, supersedes
from poller.envelope import happened_at, job_event
from poller.errors import AwsError, AwsReason, ItemError
from poller.model import Details
from poller.plan import MARGIN, MISSES_BEFORE_GONE
from poller.store import Observation

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence
    from datetime import datetime

    from poller.aws import JobsApi, Page
    from poller.kinds import Kind
    from poller.metrics import Metrics
    from poller.model import Change, Job, Known, Target
    from poller.plan import OpenJob, ScanPlan
    from poller.polling.ledger import Ledger
    from poller.store import Claim

_log = logs.get(__name__)

_ENDED_AT_ONCE = 20
"""How many ended jobs wait for their details before they are recorded; bounds what a kill repeats."""

_SKEW_SECONDS = 60.0
_NO_DATE = timedelta(days=1)
"""How much later than the local clock a time may be, where the service's answer has no `Date`."""
_MOST_BYTES = 16 * 1024 * 1024
"""Bytes of events that are recorded at once."""

_OF_THE_ACCOUNT = (AwsReason.CREDENTIALS, AwsReason.THROTTLED)
"""Why a Get fails for every job, so that the next one would fail as well."""
_MOST_IN_A_ROW = 3
"""Gets of different jobs that fail one after the other, until the other jobs are left to the next poll."""
_DETAIL_ATTEMPTS = 3

_MOST_WARNINGS = 10_000


@dataclass(slots=True)
class Report:
    """What one poll found.

    Args:
        target: The target.
        claimed: False if another replica is polling it.
        known: The target has been seen whole before.
        full: The listing had no window.
        jobs: Items seen.
        changes: Rows of the snapshot written.
        events: Events recorded.
        open_jobs: Open jobs at the end.
        carried: Jobs that were left to the next poll, because the budget of calls was spent.
        strained: AWS throttled the poll, or had to be asked more than once.
        failure: Why the poll is incomplete; `None` if the target was seen whole.
        account_id: The account whose jobs are listed, if it was unknown; the poll ended there.
        begun: When it had claimed the target, in monotonic seconds; `None` if it did not.
    """

    target: Target
    claimed: bool = True
    known: bool = False
    full: bool = False
    jobs: int = 0
    changes: int = 0
    events: int = 0
    open_jobs: int = 0
    carried: int = 0
    strained: bool = False
    failure: AwsError | None = None
    account_id: str | None = None
    begun: float | None = None


@dataclass(frozen=True, slots=True)
class Tools:
    """What every scan works with.

    Args:
        ledger: The snapshot.
        route: The sinks an event is owed to, by its `data`.
        metrics: Where it is counted.
        now: The local clock; only for `observed_at`.
        recorded: Called after a commit that owes deliveries.
        alive: Called whenever the poll of a target has got further.
    """

    ledger: Ledger
    route: Callable[[Mapping[str, Any]], tuple[str, ...]]
    metrics: Metrics
    now: Callable[[], datetime]
    recorded: Callable[[], None]
    alive: Callable[[Target], None]
    _warned: set[tuple[str, str]] = field(default_factory=set)

    def warn_once(self, event: str, target: Target, key: str, **fields: object) -> None:
        """Log a warning the first time, so that one bad item does not fill the log poll after poll."""
        seen = (event, f"{target.id} {key}")
        if seen not in self._warned and len(self._warned) < _MOST_WARNINGS:
            self._warned.add(seen)
            _log.warning(event, target=target.id, **fields)


class Scan:
    """One poll of one target.

    Args:
        tools: What it works with.
        claim: The lease it writes under.
        api: Makes the calls.
        kind: The declaration of the target's kind.
        report: What it tells.
        open_jobs: The snapshot's open jobs, when it began.
        announce: Whether a job without a row is an event.
        details: Whether an ended job is got, for what the list does not tell.
        gets: How many Gets it may make for open jobs and for details.
        first: Jobs to get before others, because the last poll had to leave them.
    """

    def __init__(
        self,
        tools: Tools,
        *,
        claim: Claim,
        api: JobsApi,
        kind: Kind,
        report: Report,
        open_jobs: Sequence[OpenJob],
        announce: bool,
        details: bool,
        gets: int,
        first: Sequence[str] = (),
    ) -> None:
        self._tools = tools
        self._claim = claim
        self._api = api
        self._kind = kind
        self._report = report
        self._announce = announce
        self._details = details
        self._open = {job.arn: job for job in open_jobs}
        self._unseen = dict(self._open)
        self._returned: set[str] = set()
        self._pages = 0
        self._gets_left = gets
        self._reserved = 0
        self._first = first
        self._statusless: dict[str, ItemError] = {}
        self._failed: dict[str, int] = {}
        self._recovered: set[str] = set()
        self._denied: list[str] = []
        self._in_a_row = 0
        self.high_water: datetime | None = None
        self.carried_ends = 0
        """Jobs that were not recorded for want of calls."""
        self.carried_gets: list[str] = []
        """Open jobs that were not looked at for the same reason, in the order of their turn."""

    def reserve(self, gets: int) -> None:
        """Keep some Gets back from the details of ended jobs: at most half."""
        self._reserved = min(gets, self._gets_left // 2)

    def page(self, page: Page) -> None:
        """Take in one page of the listing."""
        if page.served_at is not None and not self._pages:
            self._compare_clocks(page.served_at)
        self._pages += 1
        self._report.jobs += len(page.items)
        # The list is ordered by submission, so its newest job stands at an edge of a page.
        for item in (*page.items[:1], *page.items[-1:]):
            submitted = self._kind.submission(item)
            # A submission later than the service's own clock says nothing about where to begin.
            if submitted is not None and page.served_at is not None and submitted <= page.served_at:
                self.high_water = max(submitted, self.high_water or submitted)
        # What is known to have ended as it is listed needs no second look: nearly all of a long history.
        glances = [self._kind.glance(item) for item in page.items]
        ended, others = self._tools.ledger.recall([arn for arn, _ in glances if arn is not None])
        fresh = [
            item
            for item, (arn, status) in zip(page.items, glances, strict=True)
            if arn is None or arn not in ended or status not in {None, ended[arn]}
        ]
        jobs = [job for item in fresh if (job := self._observe(item, page.served_at)) is not None]
        changed = [job.arn for job in jobs if job.arn in ended]
        known = {**others, **self._tools.ledger.known(changed)} if changed else others
        self._take(jobs, self._believed(known, page.served_at))

    def _compare_clocks(self, served_at: datetime) -> None:
        """Tell by how much the local clock is wrong; nothing but `observed_at` depends on it."""
        skew = (self._tools.now() - served_at).total_seconds()
        self._tools.metrics.clock_skew.set(skew)
        if abs(skew) > _SKEW_SECONDS:
            self._tools.warn_once("clock.skewed", self._claim.target, "", seconds=round(skew, 1))

    def _limit(self, served_at: datetime | None) -> datetime:
        """The latest time that an answer can speak of: the service's own when it answered."""
        return served_at or self._tools.now() + _NO_DATE

    def _believed(self, known: Mapping[str, Known], served_at: datetime | None) -> Mapping[str, Known]:
        """The rows, without times that are yet to come: an absurd one would outdo all that is seen later."""
        limit = self._limit(served_at)
        absurd = {
            arn: replace(row, modified_at=None)
            for arn, row in known.items()
            if row.modified_at is not None and row.modified_at > limit
        }
        return {**known, **absurd} if absurd else known

    def _observe(self, item: Any, served_at: datetime | None) -> Job | None:
        try:
            job = self._kind.observe(item, self._limit(served_at))
        except ItemError as error:
            if error.arn is not None:
                self._unseen.pop(error.arn, None)
                # The list may leave out the status, which its model does not require; the Get has it.
                self._statusless[error.arn] = error
            else:
                self._quarantine(error)
            return None
        if job.raw is not item:
            self._tools.metrics.quarantined.labels("depth").inc()
            self._tools.warn_once("item.cut", self._claim.target, job.arn, job_arn=job.arn, why="nesting")
        return job

    def _quarantine(self, error: ItemError) -> None:
        self._tools.metrics.quarantined.labels(error.reason).inc()
        key = error.arn or error.reason
        self._tools.warn_once(
            "item.quarantined", self._claim.target, key, reason=error.reason, error=str(error)
        )

    def _take(self, jobs: Sequence[Job], known: Mapping[str, Known]) -> None:
        """Diff observations and record them, ended jobs with their details and a few at a time."""
        self._tools.alive(self._claim.target)
        for job in jobs:
            missed = self._unseen.pop(job.arn, None)
            if missed is not None and missed.missed:
                self._returned.add(job.arn)
        changes = diff(known, jobs, announce_new=self._announce)
        if not changes:
            self._tools.ledger.renew(self._claim)
        plain = [change for change in changes if not self._wants_details(change)]
        self._record(plain)
        ended = [change for change in changes if self._wants_details(change)]
        affordable = max(0, min(len(ended), self._gets_left - self._reserved))
        # What is not recorded now is still news to the next poll, which begins where this one did.
        self.carried_ends += len(ended) - affordable
        self._gets_left -= affordable
        for start in range(0, affordable, _ENDED_AT_ONCE):
            chunk = [
                self._detailed(change.job) for change in ended[:affordable][start : start + _ENDED_AT_ONCE]
            ]
            self._record(diff(known, chunk, announce_new=self._announce))

    def _wants_details(self, change: Change) -> bool:
        wanted = self._details and change.event_type is not None and change.job.terminal
        return wanted and change.job.details is Details.NOT_REQUESTED

    def _detailed(self, job: Job) -> Job:
        """The ended job with what only Get tells; as it is if the Get fails or shows an older state."""
        for attempt in range(1, _DETAIL_ATTEMPTS + 1):
            try:
                self._tools.alive(self._claim.target)
                self._tools.ledger.renew(self._claim)
                answer = self._api.get(job.arn)
                detailed = self._kind.observe({**job.raw, **answer.item}, self._limit(answer.served_at))
            except (AwsError, ItemError) as error:
                throttled = isinstance(error, AwsError) and error.reason is AwsReason.THROTTLED
                if throttled and attempt < _DETAIL_ATTEMPTS and self._gets_left > self._reserved:
                    self._gets_left -= 1
                    continue
                self._count_failure(error)
                self._tools.warn_once(
                    "job.details_unavailable",
                    self._claim.target,
                    str(error.reason),
                    job_arn=job.arn,
                    error=str(error),
                )
                break
            detailed = replace(detailed, details=Details.COMPLETE)
            if detailed.arn == job.arn and supersedes(detailed, job):
                return detailed
            # The answer of a replica that lags tells nothing.
            break
        self._tools.metrics.details_unavailable.inc()
        return replace(job, details=Details.UNAVAILABLE)

    def _count_failure(self, error: AwsError | ItemError) -> None:
        reason = error.reason if isinstance(error, AwsError) else AwsReason.MALFORMED
        self._tools.metrics.get_failures.labels(reason).inc()

    def _record(self, changes: Sequence[Change]) -> None:
        if not changes and not self._returned:
            return
        target = self._claim.target
        observed_at = self._tools.now()
        observations: list[Observation] = []
        size = 0
        for change in changes:
            if change.event_type is None:
                observations.append(Observation(change))
                continue
            event = job_event(change, change.event_type, target, observed_at)
            observations.append(Observation(change, event, self._tools.route(event.data)))
            size += len(event.body)
            if size > _MOST_BYTES:
                self._write(observations, observed_at)
                observations, size = [], 0
        self._write(observations, observed_at)

    def _write(self, observations: Sequence[Observation], observed_at: datetime) -> None:
        if not observations and not self._returned:
            return
        self._tools.ledger.record(self._claim, observations, seen=self._returned)
        self._returned.clear()
        self._report.changes += len(observations)
        self._count([item for item in observations if item.event is not None], observed_at)

    def _count(self, published: Sequence[Observation], observed_at: datetime) -> None:
        for item in published:
            job, event_type = item.change.job, item.change.event_type
            self._report.events += 1
            self._tools.metrics.events.labels(event_type).inc()
            if event_type is not None and not item.change.gone:
                self._tools.metrics.transitions.labels(job.kind, _label(self._kind, job)).inc()
                at = happened_at(job, event_type)
                if at is not None and self._claim.baselined:
                    self._tools.metrics.detection_delay.observe(max(0.0, (observed_at - at).total_seconds()))
            if not item.sinks:
                self._tools.metrics.events_unrouted.inc()
                _log.info("event.unrouted", event_id=item.event.id if item.event else None, job_arn=job.arn)
        if published:
            self._tools.recorded()

    def get_older(self, plan: ScanPlan) -> None:
        """Look at the jobs of which the listing does not tell the status, one by one, as far as calls go.

        Raises:
            AwsError: A Get failed for a reason that is not the job's own.
        """
        try:
            # Those carried before go before others, in their turn, so that none waits for ever.
            # Those without a row first: nothing but the present window shows them.
            unknown = [arn for arn in self._statusless if arn not in self._open]
            wanted = dict.fromkeys([*plan.gets, *self._statusless])
            for arn in dict.fromkeys([*unknown, *(arn for arn in self._first if arn in wanted), *wanted]):
                if arn in self._unseen or arn in self._statusless:
                    self._get_or_carry(arn)
                if len(self._denied) >= _MOST_IN_A_ROW and not self._recovered:
                    break
            if self._denied and not self._recovered:
                self._list_older(plan)
        finally:
            self._tools.ledger.note_gets(self._claim, self._failed, self._recovered & self._troubled)

    @property
    def _troubled(self) -> set[str]:
        """The open jobs whose Get had failed before."""
        return {arn for arn, job in self._open.items() if job.get_failures}

    def _get_or_carry(self, arn: str) -> None:
        if arn in self._open and self._open[arn].waiting:
            return
        if self._gets_left >= 1 and self._in_a_row < _MOST_IN_A_ROW:
            self._gets_left -= 1
            self._get(arn)
        elif arn in self._open:
            self.carried_gets.append(arn)
        else:
            # Without a row, it is found again only if the window stays where it is.
            self.carried_ends += 1

    def _get(self, arn: str) -> None:
        self._tools.alive(self._claim.target)
        self._tools.ledger.renew(self._claim)
        try:
            answer = self._api.get(arn)
            job = self._kind.observe(answer.item, self._limit(answer.served_at))
        except ItemError as error:
            self._quarantine(error)
            self._get_failed(arn, error)
        except AwsError as error:
            if arn in self._statusless:
                self._quarantine(self._statusless[arn])
            if error.reason is not AwsReason.NOT_FOUND:
                self._get_failed(arn, error)
            elif arn in self._unseen:
                self._missed([arn])
        else:
            self._in_a_row = 0
            self._recovered.add(arn)
            self._unseen.pop(arn, None)
            if job.arn == arn:
                known = self._believed(self._tools.ledger.known([arn]), answer.served_at)
                self._take([replace(job, details=Details.COMPLETE)], known)

    def _get_failed(self, arn: str, error: AwsError | ItemError) -> None:
        """Let a job whose Get fails wait longer and longer, and go on with the others.

        Raises:
            AwsError: The reason is not the job's own.
        """
        self._count_failure(error)
        if isinstance(error, AwsError) and error.reason in _OF_THE_ACCOUNT:
            raise error
        before = self._open[arn].get_failures if arn in self._open else 0
        self._failed[arn] = before + 1
        self._tools.warn_once(
            "job.get_failed", self._claim.target, arn, job_arn=arn, reason=str(error.reason), error=str(error)
        )
        if not isinstance(error, AwsError):
            return
        if error.reason is AwsReason.ACCESS_DENIED:
            self._tools.warn_once("job.get_denied", self._claim.target, "", error=str(error))
            self._denied.append(arn)
            return
        # A service whose Gets all fail is not asked for each job; the list has told what it could.
        self._in_a_row += 1

    def _list_older(self, plan: ScanPlan) -> None:
        """Look at the same jobs by a wider listing, for want of the permission to get them."""
        # What several complete listings have not shown another one will not show.
        older = [
            self._unseen[arn]
            for arn in plan.gets
            if arn in self._unseen and self._unseen[arn].missed < MISSES_BEFORE_GONE
        ]
        if not older:
            return
        times = [job.submitted_at for job in older if job.submitted_at is not None]
        for page in self._api.pages(min(times) - MARGIN if len(times) == len(older) else None):
            self.page(page)
        self._missed([job.arn for job in older if job.arn in self._unseen])
        # The list tells of them as well as a Get would.
        for job in older:
            self._failed.pop(job.arn, None)

    def absent(self, plan: ScanPlan) -> None:
        """Count the open jobs that a complete listing should have shown and did not."""
        gets = set(plan.gets)
        self._missed([arn for arn, job in self._unseen.items() if arn not in gets and not job.waiting])
        if self._returned:
            self._record([])

    def _missed(self, arns: Collection[str]) -> None:
        for arn, count in self._tools.ledger.mark_missed(self._claim, arns).items():
            _log.warning("job.missing", job_arn=arn, target=self._claim.target.id, scans=count)
            if count >= MISSES_BEFORE_GONE:
                self._confirm_gone(arn)

    def _confirm_gone(self, arn: str) -> None:
        try:
            answer = self._api.get(arn)
            job = self._kind.observe(answer.item, self._limit(answer.served_at))
        except ItemError as error:
            self._quarantine(error)
            self._unconfirmed(arn, error)
            return
        except AwsError as error:
            if error.reason is not AwsReason.NOT_FOUND:
                self._unconfirmed(arn, error)
                return
            known = self._tools.ledger.known([arn])[arn]
            _log.warning(
                "job.disappeared", job_arn=arn, target=self._claim.target.id, last_status=known.status
            )
            self._record([disappearance(known, self._tools.ledger.remembered(arn))])
            return
        if job.arn == arn:
            self._returned.add(arn)
            known_rows = self._believed(self._tools.ledger.known([arn]), answer.served_at)
            self._take([replace(job, details=Details.COMPLETE)], known_rows)

    def _unconfirmed(self, arn: str, error: AwsError | ItemError) -> None:
        """Leave open whether a job is gone, as its Get does not say; ask again ever less often.

        Raises:
            AwsError: The reason is not the job's own.
        """
        self._tools.metrics.unconfirmed.inc()
        before = self._open[arn].get_failures if arn in self._open else 0
        self._tools.ledger.note_gets(self._claim, {arn: before + 1}, ())
        self._count_failure(error)
        if isinstance(error, AwsError) and error.reason is AwsReason.ACCESS_DENIED:
            self._tools.warn_once("job.get_denied", self._claim.target, "", error=str(error))
        self._tools.warn_once("job.unconfirmed", self._claim.target, arn, job_arn=arn, error=str(error))
        if isinstance(error, AwsError) and error.reason in _OF_THE_ACCOUNT:
            raise error


def _label(kind: Kind, job: Job) -> str:
    # A label's values stay bounded: all undeclared statuses are counted as one.
    return job.status if job.status in kind.statuses else "unknown"
