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

    from poller.app.parts import Parts
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
    parts: Parts, *, drain: bool = True, show: Callable[[Observation], None] | None = None
) -> Outcome:
    """Poll every target once.

    Args:
        parts: The parts.
        drain: Deliver what is due afterwards.
        show: Called with what would be recorded, and nothing is written: a dry run.

    Raises:
        StoreError: The store cannot be used.
    """
    await asyncio.to_thread(parts.open_store if show is None else parts.find_accounts)
    scheduler = PollScheduler(
        poller=parts.poller(show=show),
        targets=list(parts.targets),
        interval=parts.settings.poll.interval,
        idle_interval=parts.settings.poll.idle_interval,
        concurrency=parts.settings.poll.concurrency,
        stop=parts.stop,
        metrics=parts.metrics,
        progress=parts.progress,
    )
    try:
        reports = await _poll_all(parts, scheduler)
        learned = [report for report in reports if report.account_id is not None]
        if any(parts.learn(report.target, str(report.account_id)) for report in learned):
            # Nothing was recorded of these, and with their accounts they are other targets.
            await asyncio.to_thread(parts.find_accounts if show else partial(parts.announce, look=False))
            reports = await _poll_all(parts, scheduler)
    finally:
        await scheduler.stop(0)
    if drain and show is None:
        await _deliver(parts)
    seen = {report.target.id for report in reports if report.claimed and not report.failure}
    return Outcome(
        jobs=sum(report.changes for report in reports),
        events=sum(report.events for report in reports),
        failed=tuple(target.id for target in parts.targets if target.id not in seen),
        pending={} if show is not None else _pending(parts),
    )


async def _poll_all(parts: Parts, scheduler: PollScheduler) -> list[PollReport]:
    """Poll every target once; the reports of those that left one."""
    reports = await asyncio.gather(*(_poll(parts, scheduler, target) for target in parts.targets))
    return [report for report in reports if report is not None]


async def _poll(parts: Parts, scheduler: PollScheduler, target: Target) -> PollReport | None:
    # A process that was killed keeps its lease until it runs out.
    patience = time.monotonic() + 2 * parts.settings.store.lease.total_seconds()
    while True:
        report = await scheduler.poll(target)
        if report is None or report.claimed or time.monotonic() > patience:
            return report
        await asyncio.sleep(0.5)


async def _deliver(parts: Parts) -> None:
    grace = parts.settings.shutdown.grace.total_seconds()
    await asyncio.gather(*(worker.run(grace=grace, until_idle=True) for worker in parts.workers()))


def _pending(parts: Parts) -> dict[str, int]:
    backlog = parts.outbox.backlog()
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
