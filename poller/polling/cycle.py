"""One poll of one target, from its lease to its end: plan, list, get, notice what is missing.

Blocking; runs in a thread.
"""

from __future__ import annotations

import sys
import time
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from poller.errors import AwsError, AwsReason
from poller.plan import ScanPlan, choose, full_scan, narrowest
from poller.polling.ahead import one_ahead
from poller.polling.lease_keeper import LeaseKeeper
from poller.polling.scan import Report, Scan, Tools

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import timedelta

    from poller.aws import JobsApi, Page
    from poller.kinds import Kind
    from poller.metrics import Metrics
    from poller.model import Target
    from poller.plan import OpenJob
    from poller.polling.ledger import Ledger
    from poller.store import Claim


def unlimited(_target: Target) -> int:
    """A budget that nothing exceeds."""
    return sys.maxsize


@dataclass(frozen=True, slots=True)
class Rules:
    """How a target is polled: the `poll` section of the configuration."""

    overlap: timedelta
    full_scan_interval: timedelta
    emit_first_scan: bool = False
    page_cost: float = 1.0
    get_cost: float = 1.0
    gets: Callable[[Target], int] = unlimited


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
        failed: Called with a target and the failure that ended its poll.
        lease: Seconds that a lease lasts, to be renewed while a call takes longer; `None` for no lease.
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
        failed: Callable[[Target, AwsError], None] = lambda *_: None,
        lease: float | None = None,
    ) -> None:
        self._failed = failed
        self._ledger = ledger
        self._api = api
        self._kind = kind
        self._rules = rules
        self._metrics = metrics
        self._keeper = LeaseKeeper(ledger.renew, lease=lease) if lease is not None else None

        def progressed(target: Target) -> None:
            alive(target)
            if self._keeper is not None:
                self._keeper.progressed(target)

        self._tools = Tools(ledger, route, metrics, now, recorded, progressed)
        self._carried: dict[str, list[str]] = {}

    def poll(self, target: Target, *, after: float = 0.0) -> Report:
        """Look at a target once.

        Args:
            target: The target.
            after: Not if anybody has begun to in the last so many seconds.

        Raises:
            StoreError: The database failed; what was recorded before stays recorded.
            StoppedError: The process is shutting down.
        """
        report = Report(target)
        claim = self._ledger.claim(target, after=after)
        if claim is None:
            report.claimed = False
            return report
        report.begun = time.monotonic()
        report.known = claim.baselined
        try:
            with self._keeper.holding(claim) if self._keeper else nullcontext():
                self._look(claim, report)
        except AwsError as error:
            report.failure = error
            report.strained = report.strained or error.reason is AwsReason.THROTTLED
            self._failed(target, error)
            self._ledger.release(claim)
        except BaseException:
            self._ledger.release(claim)
            raise
        if report.changes:
            report.open_jobs = len(self._ledger.open_jobs(target))
        return report

    def _look(self, claim: Claim, report: Report) -> None:
        target = claim.target
        open_jobs = self._ledger.open_jobs(target)
        report.open_jobs = len(open_jobs)
        api = self._api(target)
        plan = self._plan(claim, open_jobs)
        report.full = plan.full
        self._metrics.scans.labels("full" if plan.full else "window").inc()
        scan = Scan(
            self._tools,
            claim=claim,
            api=api,
            kind=self._kind(target),
            report=report,
            open_jobs=open_jobs,
            announce=claim.baselined or self._rules.emit_first_scan,
            # A first scan finds history; a Get for each job of it would cost more than all that follows.
            details=claim.baselined,
            gets=self._rules.gets(target),
            first=self._carried.pop(target.id, []),
        )
        scan.reserve(len(plan.gets))
        try:
            for page in one_ahead(api.pages(plan.since)):
                if self._is_of_new_account(page, report):
                    self._ledger.release(claim)
                    return
                scan.page(page)
            if not claim.baselined and not report.jobs:
                # Taken at its word, an empty first list would make news of a whole history later.
                for page in api.pages(plan.since):
                    scan.page(page)
            scan.get_older(plan)
            scan.absent(plan)
        finally:
            report.strained = api.throttled
        self._finish(claim, scan, report)

    def _is_of_new_account(self, page: Page, report: Report) -> bool:
        """Whether a page tells the account of a target, which was unknown; nothing is recorded before it is.

        A target whose account is known has been given it by its role or by STS; jobs of another one mean that
        what answers is not what the configuration speaks of, and that is said.
        """
        target = report.target
        found = self._kind(target).account_in(page.items)
        if found is None or found == target.account_id:
            return False
        if target.account_id is None:
            report.account_id = found
            return True
        self._metrics.account_mismatches.labels(target.name, target.region, target.kind).inc()
        self._tools.warn_once(
            "target.account_mismatch", target, found, account_id=target.account_id, listed_account_id=found
        )
        return False

    def _finish(self, claim: Claim, scan: Scan, report: Report) -> None:
        """Record that all was seen; or what was not, so that the next poll begins with it."""
        report.carried = scan.carried_ends + len(scan.carried_gets)
        self._carried[claim.target.id] = scan.carried_gets
        if report.carried:
            self._metrics.carried.inc(report.carried)
        # An ended job that was left is found again only if the window does not move past it.
        whole = not scan.carried_ends
        self._ledger.finish(claim, high_water=scan.high_water if whole else None, full=report.full and whole)

    def _plan(self, claim: Claim, open_jobs: Sequence[OpenJob]) -> ScanPlan:
        age, interval = claim.full_scan_age, self._rules.full_scan_interval.total_seconds()
        # An age below zero was written by a clock that was ahead.
        due = age is None or not 0 <= age < interval
        if due or not claim.baselined or claim.high_water is None:
            return full_scan()
        narrow = narrowest(high_water=claim.high_water, overlap=self._rules.overlap, open_jobs=open_jobs)
        return choose(
            narrow=narrow,
            open_jobs=open_jobs,
            page_edges=self._ledger.page_edges(claim.target),
            page_cost=self._rules.page_cost,
            get_cost=self._rules.get_cost,
        )
