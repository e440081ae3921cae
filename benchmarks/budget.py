"""What it costs to watch jobs that take their time: the calls of a daemon with its defaults."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from benchmarks.bench import OPEN_JOBS
from benchmarks.processes import wait_until
from benchmarks.table import Figures, Row
from benchmarks.watched import OURS, daemon, watched
from poller.kinds import MODEL_INVOCATION_JOB

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.bench import Bench

_HOUR = 3600
_LIST = MODEL_INVOCATION_JOB.list_operation
_PER_SECOND = 5
"""The default of `aws.requests_per_second`."""
_SHARE = 0.1
"""The default of `aws.poll_share`."""
_PATIENCE = 60.0


def rows(bench: Bench) -> Iterator[Row]:
    """Calls an hour, from those of a shorter time."""
    seconds = bench.sizes.budget_seconds
    with watched([OURS], {MODEL_INVOCATION_JOB.name: OPEN_JOBS}) as place, daemon(bench, place, OURS):
        bench.say(f"{OPEN_JOBS} open jobs are watched for {seconds:g} s")
        # From one poll on, or a part of an interval would count as a whole one.
        listed = place.calls(OURS, _LIST)
        wait_until("the next poll", lambda: place.calls(OURS, _LIST) > listed, _PATIENCE, every=0.01)
        before, listed = place.calls(OURS), place.calls(OURS, _LIST)
        began = time.monotonic()
        time.sleep(seconds)
        hours = (time.monotonic() - began) / _HOUR
        ours = (place.calls(OURS) - before) / hours
        polls = (place.calls(OURS, _LIST) - listed) / hours
    yield Row(
        f"calls an hour, {OPEN_JOBS} open batch jobs, defaults, from those of {seconds:g} s; the budget is "
        f"{_PER_SECOND * _HOUR:,}",
        "calls",
        Figures([ours]),
        "a Get for each open job as often as ours polls, counted",
        Figures([polls * OPEN_JOBS]),
        inverse=True,
        limit=_SHARE * _PER_SECOND * _HOUR,
    )
