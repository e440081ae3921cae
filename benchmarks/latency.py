"""How long a new status takes from the list response that shows it to an idle webhook.

A real daemon polls the page server, which notes when it writes each such response; the receiver, another
process, notes when each event arrives. Both read the one monotonic clock of the machine.
"""

from __future__ import annotations

import asyncio
import signal
import time
from typing import TYPE_CHECKING

import aiohttp

from benchmarks.deliveries import SECRET
from benchmarks.pages import PAGE, Account, PageServer
from benchmarks.polls import configuration
from benchmarks.processes import PROGRAM, environment, running, wait_until
from benchmarks.serving import Arrivals, ask, serving
from benchmarks.table import Figures, Row, percentile

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from benchmarks.bench import Bench

_QUICK = {"interval": "100ms", "idle_interval": "100ms"}
_PATIENCE = 60.0
_EVENT_SIZE = 1600
_SHARES = (0.5, 0.99)
_WHAT = {
    "InProgress": "to a status that is not the last",
    "Completed": "to a last one, with a Get for its details",
}


def rows(bench: Bench) -> Iterator[Row]:
    """Median and 99th percentile, for jobs that begin and for jobs that end."""
    ours: dict[str, list[list[float]]] = {status: [] for status in _WHAT}
    floor: list[list[float]] = []
    for run in range(bench.sizes.runs):
        bench.say(f"latency of {bench.sizes.transitions} jobs, run {run + 1}")
        with serving(Arrivals()) as receiver:
            delays = _delays(bench, receiver)
            for status, each in ours.items():
                each.append(delays[status])
            floor.append(asyncio.run(_round_trips(receiver, bench.sizes.transitions)))
    for status, what in _WHAT.items():
        for share in _SHARES:
            counted = sum(len(run) for run in ours[status])
            yield Row(
                f"from the list response to the webhook's receiver, {what}: "
                f"p{share * 100:.0f} of {counted}, range over the runs",
                "ms",
                _figures(ours[status], share),
                floor="round trip of a bare aiohttp POST",
                floor_figures=_figures(floor, share),
            )


def _figures(runs: Sequence[Sequence[float]], share: float) -> Figures:
    pooled = percentile([value for run in runs for value in run], share)
    return Figures([percentile(run, share) for run in runs], middle=pooled)


def _delays(bench: Bench, receiver: str) -> dict[str, list[float]]:
    """Milliseconds of each transition, by the status entered."""
    changing = bench.sizes.transitions
    server = PageServer(Account(PAGE, open_jobs=changing, waiting=changing))
    sections: dict[str, object] = {
        "poll": _QUICK,
        "sinks": {"hook": {"type": "webhook", "url": receiver, "secrets": [SECRET]}},
    }
    with serving(server) as url:
        environ = environment(url, **configuration(bench.new_store(), sections))
        with running((PROGRAM, "run"), environ, bench.folder) as daemon:
            # The first listing is the baseline, and the one after that has begun from its end.
            wait_until("the first polls", lambda: ask(url, "count")["lists"] >= 10, _PATIENCE)  # noqa: PLR2004
            ask(url, "arm")
            wait_until("the transitions", lambda: not ask(url, "count")["armed"], _PATIENCE)
            wait_until("the last event", lambda: len(ask(receiver, "arrivals")) >= 2 * changing, _PATIENCE)
            daemon.send(signal.SIGTERM)
            daemon.cost()
        shown = ask(url, "shown")
    came: dict[tuple[str, str], float] = {}
    for arn, status, moment in ask(receiver, "arrivals"):
        came.setdefault((arn, status), moment)
    delays: dict[str, list[float]] = {status: [] for status in _WHAT}
    for arn, status, moment in shown:
        delays[status].append((came[arn, status] - moment) * 1000)
    return delays


async def _round_trips(receiver: str, count: int) -> list[float]:
    """Milliseconds of one POST after another, over a kept connection."""
    body = b'{"data":{"job_arn":"","status":"","more":"%b"}}' % (b"x" * _EVENT_SIZE)
    taken = []
    async with aiohttp.ClientSession() as session:
        for _ in range(count):
            began = time.monotonic()
            async with session.post(receiver, data=body) as response:
                await response.read()
            taken.append((time.monotonic() - began) * 1000)
            await asyncio.sleep(0.01)
    return taken
