"""One poll of one target: lease, plan, list, stragglers, absences, finish.

Blocking; runs in a thread.
"""

from __future__ import annotations

import sys
import threading
import time
from collections import defaultdict
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from poller import logs
from poller.errors import AwsError, AwsReason
from poller.plan import ScanPlan, choose, full_scan, narrowest
from poller.polling.endings import DetailsPolicy
from poller.polling.gets import Get, Gets
from poller.polling.lease_keeper import LeaseKeeper
from poller.polling.page import JobRecorder, PollReport
from poller.polling.stragglers import Stragglers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from poller.aws import JobsApi, Page
    from poller.kinds import Kind
    from poller.metrics import Metrics
    from poller.model import Target
    from poller.plan import OpenJob
    from poller.settings.schema import PollSettings
    from poller.store import Claim, Snapshot

_log = logs.get(__name__)

_MOST_WARNINGS = 10_000


def unlimited(_target: Target) -> int:
    """A budget that nothing exceeds."""
    return sys.maxsize


class Poller:
    """Polls targets; one instance serves all of them, from several threads.

    Args:
        snapshot: The jobs, and the leases on targets; a `DryRun` writes nothing.
        api: Makes the calls for a target.
        kind: The declaration of a target's kind.
        settings: The `poll` section of the configuration.
        route: The sinks an event is owed to, by its `data`.
        metrics: Where it is counted.
        gets: How many Gets one poll of a target may make.
        stop: Set to make running polls give up.
        now: The local clock; only for `observed_at`.
        on_progress: Called whenever the poll of a target has got further.
        on_failure: Called with a target and the failure that ended its poll.
        listens: Whether native events about a target's jobs are listened for.
    """

    def __init__(
        self,
        *,
        snapshot: Snapshot,
        api: Callable[[Target], JobsApi],
        kind: Callable[[Target], Kind],
        settings: PollSettings,
        route: Callable[[Mapping[str, Any]], tuple[str, ...]],
        metrics: Metrics,
        gets: Callable[[Target], int] = unlimited,
        stop: threading.Event | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        on_progress: Callable[[Target], None] = lambda _: None,
        on_failure: Callable[[Target, AwsError], None] = lambda *_: None,
        listens: Callable[[Target], bool] = lambda _: False,
    ) -> None:
        self.snapshot = snapshot
        self.route = route
        self.metrics = metrics
        self.now = now
        self.listens = listens
        self._api = api
        self._kind = kind
        self._settings = settings
        self.first_scan = settings.first_scan
        self.details = DetailsPolicy(settings.details, settings.details_wait.total_seconds())
        self._budget = gets
        self._stop = stop or threading.Event()
        self._unanswered = defaultdict[str, set[Get]](set)
        self._on_progress = on_progress
        self._on_failure = on_failure
        self._keeper = LeaseKeeper(snapshot.leases.renew, lease=snapshot.leases.lease)
        self._deferred: dict[str, list[str]] = {}
        self._warned: set[tuple[str, str, str]] = set()

    def poll(self, target: Target, *, after: float = 0.0) -> PollReport:
        """Look at a target once.

        Args:
            target: The target.
            after: Skip if any replica began a poll within this many seconds.

        Raises:
            StoreError: The database failed; what was recorded before stays recorded.
            StoppedError: The process is shutting down.
        """
        claim = self.snapshot.leases.claim(target, after=after)
        if claim is None:
            return PollReport(target, claimed=False)
        report = PollReport(target, known=claim.baselined, begun=time.monotonic())
        try:
            with self._keeper.holding(claim):
                self._poll_claimed(claim, report)
        except AwsError as error:
            report.failure = error
            report.throttled = report.throttled or error.reason is AwsReason.THROTTLED
            self._on_failure(target, error)
            self.snapshot.leases.release(claim)
        except BaseException:
            self.snapshot.leases.release(claim)
            raise
        if report.changes:
            report.open_jobs = len(self.snapshot.open_jobs(target))
        return report

    def _poll_claimed(self, claim: Claim, report: PollReport) -> None:
        target = claim.target
        open_jobs = self.snapshot.open_jobs(target)
        report.open_jobs = len(open_jobs)
        plan = self._plan(claim, open_jobs)
        report.full = plan.full
        self.metrics.scans.labels("full" if plan.full else "window").inc()
        api = self._api(target)
        gets = Gets(
            api.get,
            most=self._settings.details_concurrency,
            stop=self._stop,
            unanswered=self._unanswered[target.id],
        )
        recorder = JobRecorder(
            self,
            claim=claim,
            api=api,
            gets=gets,
            kind=self._kind(target),
            report=report,
            open_jobs=open_jobs,
            budget=self._budget(target),
            reserved=len(plan.gets),
        )
        stragglers = Stragglers(recorder, plan, open_jobs, first=self._deferred.pop(target.id, []))
        try:
            if not self._list(plan, recorder, report):
                self.snapshot.leases.release(claim)
                return
            stragglers.get_unlisted()
            stragglers.count_absences()
            recorder.record_endings()
        except AwsError:
            # What was shown is recorded, whatever came after it.
            recorder.record_endings()
            raise
        finally:
            gets.close()
            report.throttled = api.throttled
        self._finish(claim, recorder, stragglers, report)

    def _list(self, plan: ScanPlan, recorder: JobRecorder, report: PollReport) -> bool:
        """List and record the jobs; false if the pages show an account that was unknown, and nothing is."""
        pages = recorder.api.pages
        for page in prefetch(pages(plan.since), recorder.record_meanwhile):
            if self._shows_unknown_account(page, report):
                return False
            recorder.record_page(page)
        if not report.known and not report.jobs:
            # Taken at its word, an empty first list would make news of a whole history later.
            for page in pages(plan.since):
                recorder.record_page(page)
        return True

    def _plan(self, claim: Claim, open_jobs: Sequence[OpenJob]) -> ScanPlan:
        age, interval = claim.full_scan_age, self._settings.full_scan_interval.total_seconds()
        # A clock that was ahead leaves an age below zero.
        due = age is None or not 0 <= age < interval
        if due or not claim.baselined or claim.high_water is None:
            return full_scan()
        overlap = self._settings.overlap
        narrow = narrowest(high_water=claim.high_water, overlap=overlap, open_jobs=open_jobs)
        return choose(
            narrow=narrow,
            open_jobs=open_jobs,
            page_edges=self.snapshot.page_edges(claim.target),
            page_cost=self._settings.page_cost,
            get_cost=self._settings.get_cost,
        )

    def _shows_unknown_account(self, page: Page, report: PollReport) -> bool:
        """Whether a page shows the account of a target whose account was unknown; nothing is recorded before.

        A target whose account is known has it from its role or from STS. Jobs of another account mean that
        the credentials are not those of the configured account, which is logged and counted.
        """
        target = report.target
        found = self._kind(target).account_in(page.items)
        if found is None or found == target.account_id:
            return False
        if target.account_id is None:
            report.account_id = found
            return True
        self.metrics.account_mismatches.labels(target.name, target.region, target.kind).inc()
        self.warn_once(
            "target.account_mismatch", target, found, account_id=target.account_id, listed_account_id=found
        )
        return False

    def _finish(
        self, claim: Claim, recorder: JobRecorder, stragglers: Stragglers, report: PollReport
    ) -> None:
        """Record that the target was seen whole; or what was not, so that the next poll begins with it."""
        unrecorded = recorder.deferred + recorder.endings.left
        report.deferred = unrecorded + len(stragglers.deferred)
        self._deferred[claim.target.id] = stragglers.deferred
        if report.deferred:
            self.metrics.carried.inc(report.deferred)
        # A deferred ending is found again only if the window does not move past it.
        whole = not unrecorded
        high_water = recorder.high_water if whole else None
        calls = None if report.full else report.calls
        full = report.full and whole
        self.snapshot.leases.finish(claim, high_water=high_water, full=full, calls=calls)

    def progressed(self, target: Target) -> None:
        """Take note that the poll of a target has got further."""
        self._on_progress(target)
        self._keeper.progressed(target)

    def warn_once(self, event: str, target: Target, key: str, **fields: object) -> None:
        """Log a warning the first time, so that one bad item does not fill the log poll after poll."""
        seen = (event, target.id, key)
        if seen not in self._warned and len(self._warned) < _MOST_WARNINGS:
            self._warned.add(seen)
            _log.warning(event, target=target.id, **fields)


def prefetch(
    pages: Iterator[Page], meanwhile: Callable[[Future[Page | None]], None] = lambda _: None
) -> Iterator[Page]:
    """Yield the same pages; one more is being fetched meanwhile, in a thread, and never two.

    Args:
        pages: The pages.
        meanwhile: Called before a page is waited for; may return once it has come.

    A listing of a single page, the usual case, needs no thread. Whatever the fetch raises is raised in its
    turn, after the pages before it.
    """
    page = next(pages, None)
    if page is None or page.token is None:
        if page is not None:
            yield page
        return
    with ThreadPoolExecutor(1, thread_name_prefix="fetch") as thread:
        while page is not None:
            following = thread.submit(next, pages, None)
            yield page
            meanwhile(following)
            page = following.result()
