"""A cadence of fixed intervals, for schedulers whose tests are not about it."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from poller.polling import Cadence

if TYPE_CHECKING:
    from collections.abc import Iterable

    from poller.metrics import Metrics
    from poller.model import Target


def fixed_cadence(
    targets: Iterable[Target], metrics: Metrics, *, interval: float, idle: float | None = None
) -> Cadence:
    """Polls every `interval` seconds; idle targets every `idle` seconds, if that is another time."""
    return Cadence(
        targets,
        interval=timedelta(seconds=interval),
        idle_interval=timedelta(seconds=interval if idle is None else idle),
        full_scan_interval=timedelta(hours=24),
        calls_per_second=1,
        threads=1,
        metrics=metrics,
    )
