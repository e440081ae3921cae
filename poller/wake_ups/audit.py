"""Counts the endings that a list has shown and no native event told of in time.

EventBridge delivers Bedrock's own events at best effort. This says how often they did not come, which only a
program that hears them and lists the jobs as well can know.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from poller import logs
from poller.errors import StoreError

if TYPE_CHECKING:
    from poller.metrics import Metrics
    from poller.store import NativeEvents

_log = logs.get(__name__)

_SECONDS = 30.0


class Audit:
    """Looks again and again; of several replicas, one counts each ending.

    Args:
        native_events: What was told of, and what was shown.
        metrics: Where it is counted.
    """

    def __init__(self, native_events: NativeEvents, metrics: Metrics) -> None:
        self._native_events = native_events
        self._metrics = metrics

    async def run(self) -> None:
        """Look until canceled."""
        while True:
            await self.look()
            await asyncio.sleep(_SECONDS)

    async def look(self) -> None:
        """Count what is over."""
        try:
            missed = await asyncio.to_thread(self._native_events.audit)
        except StoreError as error:
            _log.error("wake_ups.audit_failed", error=str(error))
            return
        for kind, count in missed.items():
            self._metrics.native_events_missed.labels(kind).inc(count)
            _log.warning("native_events.missed", kind=kind, endings=count)
