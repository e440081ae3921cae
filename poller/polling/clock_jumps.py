"""Notices jumps of the wall clock.

APScheduler compares wall-clock times. After a jump back by an hour it would begin no poll for an hour, and
what it planned while the clock was ahead would wait as long. So the wall clock is held against the monotonic
clock, and after a jump every target is polled at once.
"""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from poller import logs
from poller.polling.cadence import JITTER

if TYPE_CHECKING:
    from collections.abc import Callable

    from apscheduler.schedulers.asyncio import AsyncIOScheduler

_log = logs.get(__name__)

_CHECK_SECONDS = 5.0
_JUMP_SECONDS = 2.0


async def watch_clock(
    scheduler: AsyncIOScheduler, shortest: Callable[[], float], poll_now: Callable[[], None]
) -> None:
    """Poll every target when the wall clock jumps; runs until canceled.

    Args:
        scheduler: Has a job for each target, with a `PaceTrigger`.
        shortest: The shortest interval of any target, in seconds.
        poll_now: Makes every target due.
    """
    before = time.time() - time.monotonic()
    while True:
        await asyncio.sleep(_CHECK_SECONDS)
        offset = time.time() - time.monotonic()
        if abs(offset - before) > _JUMP_SECONDS:
            _log.warning("clock.jumped", seconds=round(offset - before, 3))
            poll_now()
        elif late := _planned_too_late(scheduler, shortest()):
            # A jump there and back between two looks; what was planned in between is wrong.
            _log.warning("clock.jumped", seconds=0.0, targets=late)
            poll_now()
        elif scheduler.running:
            # While the clock was behind, APScheduler may have begun to sleep until it is right.
            scheduler.wakeup()
        before = offset


def _planned_too_late(scheduler: AsyncIOScheduler, shortest: float) -> list[str]:
    """The targets whose next poll is later than their interval explains."""
    now, late = datetime.now(UTC), []
    # Ordered by when they run, so that nearly all of many thousands need no look.
    for job in reversed(scheduler.get_jobs()):
        ahead = job.next_run_time - now
        if ahead <= _explained(shortest):
            break
        if ahead > _explained(job.trigger.pace.interval):
            late.append(job.id)
    return late


def _explained(interval: float) -> timedelta:
    """How long before a poll its target may have been planned."""
    return timedelta(seconds=interval * (1 + JITTER) + _JUMP_SECONDS)
