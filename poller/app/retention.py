"""Removes what its retention has run out for, and says what went.

What is still owed is never removed, and neither is its event. A dead letter that goes is the end of an event
that a sink never got, so that is a warning; the rest is housekeeping.
"""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import TYPE_CHECKING

from poller import logs

if TYPE_CHECKING:
    from poller.metrics import Metrics
    from poller.store import Outbox

_log = logs.get(__name__)


class Retention:
    """Prunes the store, in short transactions.

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
