"""Keeps the gauges that describe the store."""

from __future__ import annotations

from typing import TYPE_CHECKING

from poller.metrics import DELIVERY_STATES
from poller.store.snapshot import RECORD_STATES

if TYPE_CHECKING:
    from collections.abc import Iterable

    from poller.metrics import Metrics
    from poller.store import Outbox, Snapshot


def refresh_jobs(metrics: Metrics, snapshot: Snapshot) -> None:
    """Set the gauges of jobs; a status that no job has any more goes to zero."""
    counts = snapshot.status_counts()
    metrics.jobs.clear()
    for labels, count in counts.items():
        metrics.jobs.labels(*labels).set(count)
    metrics.oldest_open_job.clear()
    metrics.job_records.clear()
    for row in snapshot.open_totals():
        place = (row.account_id, row.region, row.kind)
        if row.oldest is not None:
            metrics.oldest_open_job.labels(*place).set(row.oldest / 1e6)
        for state in RECORD_STATES:
            total = getattr(row, state)
            if total is not None:
                metrics.job_records.labels(*place, state).set(total)


def refresh_outbox(metrics: Metrics, outbox: Outbox, sinks: Iterable[str]) -> None:
    """Set the gauges of what is owed."""
    backlog = outbox.backlog()
    parked = outbox.parked()
    for sink in {*sinks, *backlog}:
        owed = backlog.get(sink)
        for state in DELIVERY_STATES:
            metrics.outbox.labels(sink, state).set(owed.states.get(state, 0) if owed else 0)
        metrics.outbox_oldest.labels(sink).set((owed.oldest_pending if owed else None) or 0)
        metrics.sink_parked.labels(sink).set(sink in parked)
