"""One poll of every target, then whatever is due is delivered: for cron, for trying out, for tests."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from poller import logs
from poller.errors import StoreError
from poller.polling import PollScheduler
from poller.store import Database

if TYPE_CHECKING:
    from collections.abc import Callable

    from poller.app.runtime import Components
    from poller.model import Target
    from poller.polling import PollReport
    from poller.settings.schema import StoreSettings
    from poller.store import Observation

_log = logs.get(__name__)


@dataclass(frozen=True, slots=True)
class Outcome:
    """How it went.

    Args:
        jobs: Jobs whose row was written, or would have been; those of a first scan among them.
        events: Events recorded, likewise.
        failed: Targets that could not be seen whole.
        pending: Deliveries still owed afterwards, by sink.
    """

    jobs: int
    events: int
    failed: tuple[str, ...]
    pending: dict[str, int]


async def run_once(
    components: Components, *, drain: bool = True, show: Callable[[Observation], None] | None = None
) -> Outcome:
    """Poll every target once.

    Args:
        components: The components.
        drain: Deliver what is due afterwards.
        show: Called with what would be recorded, and nothing is written: a dry run.

    Raises:
        StoreError: The store cannot be used.
    """
    await asyncio.to_thread(components.open_store if show is None else components.find_accounts)
    scheduler = PollScheduler(
        poller=components.poller(show=show),
        targets=list(components.targets),
        cadence=components.cadence(),
        concurrency=components.settings.poll.concurrency,
        stop=components.stop,
        metrics=components.metrics,
        heartbeats=components.heartbeats,
    )
    try:
        reports = await _poll_all(components, scheduler)
        learned = [report for report in reports if report.account_id is not None]
        if any(components.learn(report.target, str(report.account_id)) for report in learned):
            # Nothing was recorded of these, and with their accounts they are other targets.
            await asyncio.to_thread(
                components.find_accounts if show else partial(components.announce, discover=False)
            )
            reports = await _poll_all(components, scheduler)
    finally:
        await scheduler.stop(0)
    if drain and show is None:
        await _deliver(components)
    seen = {report.target.id for report in reports if report.claimed and not report.failure}
    return Outcome(
        jobs=sum(report.changes for report in reports),
        events=sum(report.events for report in reports),
        failed=tuple(target.id for target in components.targets if target.id not in seen),
        pending={} if show is not None else _pending(components),
    )


async def _poll_all(components: Components, scheduler: PollScheduler) -> list[PollReport]:
    """Poll every target once; the reports of those that left one."""
    reports = await asyncio.gather(*(_poll(components, scheduler, target) for target in components.targets))
    return [report for report in reports if report is not None]


async def _poll(components: Components, scheduler: PollScheduler, target: Target) -> PollReport | None:
    # A process that was killed keeps its lease until it runs out.
    patience = time.monotonic() + 2 * components.settings.store.lease.total_seconds()
    while True:
        report = await scheduler.poll(target)
        if report is None or report.claimed or time.monotonic() > patience:
            return report
        await asyncio.sleep(0.5)


async def _deliver(components: Components) -> None:
    grace = components.settings.shutdown.grace.total_seconds()
    await asyncio.gather(*(worker.run(grace=grace, until_idle=True) for worker in components.workers()))


def _pending(components: Components) -> dict[str, int]:
    backlog = components.outbox.backlog()
    return {sink: owed.states["pending"] for sink, owed in backlog.items() if owed.states.get("pending")}


def dry_run_database(settings: StoreSettings) -> Database:
    """The store for a dry run: the real one to read from, or an empty one in memory if there is none yet.

    Raises:
        StoreError: The store exists and cannot be read, or its schema is not this program's.
    """
    database = Database.configured(settings)
    try:
        if database.exists() and database.revision() is not None:
            database.require()
            return database
    except StoreError:
        database.close()
        raise
    database.close()
    empty = Database("sqlite://")
    empty.migrate()
    return empty
