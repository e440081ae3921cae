"""Follows in the store what other replicas poll, so that no target is polled twice in an interval.

Every replica plans every target, and the first one polls it. The others learn of it here and plan the
target from then on; they also learn where open jobs are and what polls cost, because busy targets share a
budget of calls. What a replica left lying when it was killed is polled as soon as its lease is over.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from poller import logs
from poller.errors import StoreError

if TYPE_CHECKING:
    from poller.polling.scheduler import PollScheduler
    from poller.store import Snapshot, TargetActivity

_log = logs.get(__name__)

_SHARED_SECONDS = 1.0
_ALONE_SECONDS = 5.0
_OPEN_JOBS_SECONDS = 10.0
_OVERLAP_SECONDS = 2.0
"""How much longer ago each look reaches back than the one before, for transactions that were under way."""


class ReplicaWatcher:
    """Looks again and again.

    Args:
        snapshot: The store.
        scheduler: Told what is seen.
        shared: Whether there may be other replicas; without them only what was left lying is of interest.
    """

    def __init__(self, snapshot: Snapshot, scheduler: PollScheduler, *, shared: bool) -> None:
        self._snapshot = snapshot
        self._scheduler = scheduler
        self._shared = shared
        self._looked: float | None = None
        self._counted = float("-inf")

    async def run(self) -> None:
        """Start the scheduler once it is known what others have just polled; then follow until canceled."""
        if self._shared:
            await self._look()
        self._scheduler.start()
        while True:
            await asyncio.sleep(_SHARED_SECONDS if self._shared else _ALONE_SECONDS)
            await self._look()

    async def _look(self) -> None:
        began = time.monotonic()
        within = None if self._looked is None else began - self._looked + _OVERLAP_SECONDS
        if not self._shared:
            within = 0.0
        try:
            found = await asyncio.to_thread(self._snapshot.leases.sightings, within)
            if self._shared and began - self._counted >= _OPEN_JOBS_SECONDS:
                self._counted = began
                self._scheduler.cadence.note_open_jobs(await asyncio.to_thread(self._open_places))
        except StoreError as error:
            _log.error("following.failed", error=str(error))
            return
        self._looked = began
        for sighting in found:
            self._tell(sighting)

    def _open_places(self) -> set[tuple[str, str, str]]:
        rows = self._snapshot.counts.open_totals()
        return {(row.account_id, row.region, row.kind) for row in rows}

    def _tell(self, sighting: TargetActivity) -> None:
        if sighting.cut_off:
            self._scheduler.poll_soon(sighting.target_id)
        elif self._shared:
            self._scheduler.seen(sighting.target_id, sighting.age, sighting.calls)
