"""How soon endings are announced that come all at once, when a Get for each takes its time."""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING

from benchmarks.table import Figures, Row, percentile
from benchmarks.watched import LOOP, OURS, daemon, get_loop, watched
from poller.kinds import DEFAULT_KINDS, KINDS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from benchmarks.bench import Bench

_PER_SECOND = 5
"""The default of `aws.requests_per_second`."""
_LONGEST_INTERVAL = 4.0
_PATIENCE = 300.0
_BARS = {
    ("async_invoke", 0.5): None,
    ("async_invoke", 0.99): 3.0,
    ("model_invocation_job", 0.5): 6.0,
    ("model_invocation_job", 0.99): 12.0,
}


def rows(bench: Bench) -> Iterator[Row]:
    """Median and 99th percentile, for each kind."""
    jobs = dict.fromkeys(DEFAULT_KINDS, bench.sizes.storm)
    ours: dict[str, list[list[float]]] = {kind: [] for kind in jobs}
    theirs: dict[str, list[list[float]]] = {kind: [] for kind in jobs}
    chance = random.Random(_PER_SECOND)  # noqa: S311 - the same moments in every run
    for run in range(bench.sizes.runs):
        bench.say(f"{bench.sizes.storm} jobs of each kind end at once, run {run + 1}")
        with (
            watched([OURS, LOOP], jobs) as place,
            daemon(bench, place, OURS),
            get_loop(place, _at_most(_PER_SECOND)),
        ):
            # At any moment between two polls.
            time.sleep(chance.uniform(0, _LONGEST_INTERVAL))
            for number in range(sum(jobs.values())):
                place.end(number)
            place.calls_until_all_posted([OURS, LOOP], _PATIENCE)
            for kind in jobs:
                ours[kind].append(place.delays(OURS, kind))
                theirs[kind].append(place.delays(LOOP, kind))
    for (kind, share), limit in _BARS.items():
        yield Row(
            f"from the end to the webhook's receiver, {bench.sizes.storm} jobs of each kind ending at once, "
            f"defaults: {KINDS[kind].noun}, p{share * 100:.0f}",
            "s",
            Figures([percentile(run, share) for run in ours[kind]]),
            f"a Get for each open job in turn, {_PER_SECOND} a second",
            Figures([percentile(run, share) for run in theirs[kind]]),
            inverse=True,
            limit=limit,
        )


def _at_most(per_second: float) -> Callable[[], int]:
    began = time.monotonic()
    return lambda: int((time.monotonic() - began) * per_second) + 1
