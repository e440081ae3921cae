"""Keeps the gauges that describe the store, and removes what is past its retention."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import asdict
from typing import TYPE_CHECKING

from poller import logs
from poller.kinds import KINDS
from poller.metrics import DELIVERY_STATES
from poller.store.jobs import RECORD_STATES

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from prometheus_client import Gauge

    from poller.metrics import Metrics
    from poller.model import Target
    from poller.store import Outbox, Snapshot
    from poller.store.outbox import Backlog

_log = logs.get(__name__)

_Labels = tuple[str, ...]

_REMOVED_SECONDS = 300.0


class StoreGauges:
    """Reads the store and sets the gauges; blocking.

    Args:
        metrics: Where the gauges are.
        snapshot: The jobs.
        outbox: What is owed.
    """

    def __init__(self, metrics: Metrics, snapshot: Snapshot, outbox: Outbox) -> None:
        self._metrics = metrics
        self._snapshot = snapshot
        self._outbox = outbox
        self._shown: dict[Gauge, set[_Labels]] = {}
        self._removed: dict[str, Backlog] = {}
        self._dropped: dict[str, int] = {}
        self._removed_at = float("-inf")

    def refresh_jobs(self, targets: Iterable[Target]) -> None:
        """Set the gauges of jobs; those of targets that were removed are left out.

        Args:
            targets: What is configured now.
        """
        removed = self._snapshot.rows.identities() - {target.identity for target in targets}
        jobs: Counter[_Labels] = Counter()
        for (account, region, kind, status), count in self._snapshot.counts.by_status().items():
            if (account, region, kind) in removed:
                continue
            # An undeclared status comes from outside, and labels have to stay bounded.
            declared = kind in KINDS and status in KINDS[kind].statuses
            jobs[account, region, kind, status if declared else "unknown"] += count
        self._show(self._metrics.jobs, jobs)
        oldest: dict[_Labels, float] = {}
        records: dict[_Labels, float] = {}
        for row in self._snapshot.counts.open_totals():
            place = (row.account_id, row.region, row.kind)
            if place in removed:
                continue
            if row.oldest is not None:
                oldest[place] = row.oldest / 1e6
            counts = {state: getattr(row, state) for state in RECORD_STATES}
            records |= {(*place, state): count for state, count in counts.items() if count is not None}
        self._show(self._metrics.oldest_open_job, oldest)
        self._show(self._metrics.job_records, records)

    def refresh_outbox(self, sinks: Iterable[str]) -> int:
        """Set the gauges of what is owed, and return how much of it waits for the configured sinks.

        Args:
            sinks: The configured sinks, whose gauges are there even if nothing is owed. What is owed to
                others is counted rarely: the large backlog of a removed sink must not become the main work.
        """
        configured = set(sinks)
        if time.monotonic() - self._removed_at > _REMOVED_SECONDS:
            found = self._outbox.backlog()
            self._removed = {name: owed for name, owed in found.items() if name not in configured}
            self._dropped = {name: owed.states.get("dropped", 0) for name, owed in found.items()}
            self._removed_at = time.monotonic()
        else:
            found = self._outbox.backlog(configured)
        removed = {name: owed for name, owed in self._removed.items() if name not in configured}
        backlog, parked = {**removed, **found}, self._outbox.parked()
        shown = {*configured, *backlog}
        states: dict[_Labels, float] = {}
        for sink in shown:
            owed = dict(backlog[sink].states) if sink in backlog else {}
            owed["dropped"] = self._dropped.get(sink, 0)
            states |= {(sink, state): owed.get(state, 0) for state in DELIVERY_STATES}
        oldest = {sink: backlog[sink].oldest_pending if sink in backlog else None for sink in shown}
        self._show(self._metrics.outbox, states)
        self._show(self._metrics.outbox_oldest, {(sink,): since or 0 for sink, since in oldest.items()})
        self._show(self._metrics.sink_parked, {(sink,): sink in parked for sink in shown})
        return sum(owed.states.get("pending", 0) for name, owed in backlog.items() if name in configured)

    def _show(self, gauge: Gauge, values: Mapping[_Labels, float]) -> None:
        """Set a gauge's series and remove those that are gone; never clears what a scrape might miss."""
        for labels, value in values.items():
            gauge.labels(*labels).set(value)
        for labels in self._shown.get(gauge, set()) - values.keys():
            gauge.remove(*labels)
        self._shown[gauge] = set(values)


class Retention:
    """Removes what is past its retention, in short transactions, and logs what went.

    What is still owed is never removed, and neither is its event. A dead letter that is removed is an event
    that a sink never got, so that is a warning.

    Args:
        outbox: Where events and deliveries are.
        metrics: Where the removed ones are counted.
        older_than: The retention, in seconds.
    """

    def __init__(self, outbox: Outbox, metrics: Metrics, *, older_than: float) -> None:
        self._outbox = outbox
        self._metrics = metrics
        self._older_than = older_than

    def keep(self) -> None:
        """Remove everything that is past its retention.

        Raises:
            StoreError: The store failed; what was removed until then is counted and logged all the same.
        """
        began = time.monotonic()
        total: dict[str, int] = {}
        try:
            while any((removed := asdict(self._outbox.prune(older_than=self._older_than))).values()):
                for what, count in removed.items():
                    self._metrics.retention_removed.labels(what).inc(count)
                    total[what] = total.get(what, 0) + count
        finally:
            if total:
                _log.info("retention.pruned", **total, seconds=round(time.monotonic() - began, 3))
            if total.get("dead_letters"):
                _log.warning(
                    "retention.dead_letters_removed",
                    dead_letters=total["dead_letters"],
                    remedy="replay dead letters before store.retention runs out, or lengthen it",
                )
