"""The peak memory of real processes over a long history, and what a kill half-way through it costs."""

from __future__ import annotations

import signal
import sqlite3
import time
from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from benchmarks.bench import OPEN_JOBS, SMALL
from benchmarks.pages import Account, PageServer
from benchmarks.polls import configuration
from benchmarks.processes import PROGRAM, CommandError, Cost, cost_of, environment, running
from benchmarks.scans import ALWAYS_FULL
from benchmarks.serving import ask, serving
from benchmarks.table import Bar, Figures, Row

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from benchmarks.bench import Bench

_MEGABYTES = 200
_ONCE = (PROGRAM, "once")


@dataclass(slots=True)
class _Measured:
    first: list[Cost] = field(default_factory=list)
    first_small: list[Cost] = field(default_factory=list)
    full: list[Cost] = field(default_factory=list)
    full_small: list[Cost] = field(default_factory=list)
    killed: list[Cost] = field(default_factory=list)
    continued: list[Cost] = field(default_factory=list)
    tracked: list[int] = field(default_factory=list)
    announced: list[int] = field(default_factory=list)


def rows(bench: Bench) -> Iterator[Row]:
    """First runs and full scans by `bedrock-poller once`, and a first run that is killed half-way."""
    measured = _Measured()
    history = bench.sizes.history
    for run in range(bench.sizes.runs):
        bench.say(f"memory over {SMALL:,} jobs, run {run + 1}")
        store = bench.new_store()
        with serving(PageServer(Account(SMALL, OPEN_JOBS))) as url:
            measured.first_small.append(cost_of(_ONCE, _environ(url, store), bench.folder))
            _full_scan(bench, SMALL, url, store, measured.full_small)
        bench.say(f"first runs over {history:,} jobs, one of them killed half-way, run {run + 1}")
        store = bench.new_store()
        with serving(PageServer(Account(history, OPEN_JOBS))) as url:
            _first_runs(bench, url, store, measured)
            bench.say(f"full scan of {history:,} jobs, run {run + 1}")
            _full_scan(bench, history, url, store, measured.full)
    rival = bench.listed(history)[1]
    yield from _peaks(history, measured, rival)
    yield from _kills(history, bench.sizes.lease, measured)


def _environ(url: str, store: Path, lease: float | None = None) -> dict[str, str]:
    if lease is None:
        return environment(url, **configuration(store, {}))
    return environment(url, **configuration(store, {}, lease=f"{lease:g}s"))


def _full_scan(bench: Bench, jobs: int, url: str, store: Path, costs: list[Cost]) -> None:
    """Scan a store that a first run has left; unchanged by it, it serves other groups as well."""
    bench.keep_baseline(jobs, OPEN_JOBS, store)
    environ = environment(url, **configuration(store, {"poll": ALWAYS_FULL}))
    costs.append(cost_of(_ONCE, environ, bench.folder))


def _first_runs(bench: Bench, url: str, store: Path, measured: _Measured) -> None:
    """One that is let alone, and at the same time one that is killed half-way and started again.

    Both at once, because what is compared with a bar is memory, which does not depend on the speed.
    """
    half = Account(bench.sizes.history).pages() // 2
    killed_store = bench.new_store()
    environ = _environ(url, killed_store, bench.sizes.lease)
    with running(_ONCE, _environ(url, store), bench.folder) as whole:
        # Its listing does not go on, so that the kill comes half-way however busy the machine is.
        with serving(PageServer(Account(bench.sizes.history, OPEN_JOBS))) as held:
            ask(held, f"hold?after={half}")
            with running(_ONCE, environ | environment(held), bench.folder) as command:
                while ask(held, "count")["lists"] <= half:
                    if command.ended:
                        raise CommandError("it ended before it could be killed half-way")
                    time.sleep(0.005)
                command.send(signal.SIGKILL)
                measured.killed.append(command.cost(expected=-signal.SIGKILL))
        measured.continued.append(cost_of(_ONCE, environ, bench.folder))
        measured.first.append(whole.cost())
    with closing(sqlite3.connect(killed_store)) as database:
        measured.tracked.append(database.execute("SELECT count(*) FROM jobs").fetchone()[0])
        measured.announced.append(database.execute("SELECT count(*) FROM events").fetchone()[0])
    killed_store.unlink()


def _megabytes(costs: list[Cost]) -> Figures:
    return Figures([cost.megabytes for cost in costs])


def _peaks(history: int, measured: _Measured, rival: Cost) -> Iterator[Row]:
    for what, costs, small in (
        ("a first run over", measured.first, measured.first_small),
        ("a full scan of", measured.full, measured.full_small),
    ):
        yield Row(
            f"peak memory of {what} {history:,} jobs, by `bedrock-poller once`",
            "MB",
            _megabytes(costs),
            f"the same with {SMALL:,} jobs",
            _megabytes(small),
            most=1.3,
            limit=_MEGABYTES,
        )
    yield Row(
        f"peak memory of a full scan of {history:,} jobs",
        "MB",
        _megabytes(measured.full),
        "script without SDK that holds the status of everything in a dictionary, once",
        _megabytes([rival]),
    )


def _kills(history: int, lease: float, measured: _Measured) -> Iterator[Row]:
    what = f"a first run over {history:,} jobs, killed half-way and started again"
    announced = max(measured.announced)
    yield Row(
        f"jobs tracked by {what}",
        "jobs",
        Figures(measured.tracked),
        exactly=history,
        further=Bar(f"no event announced ({announced})", announced == 0),
    )
    yield Row(
        f"peak memory of {what}: of the two processes the one that continued",
        "MB",
        _megabytes(measured.continued),
        "the one that was killed",
        _megabytes(measured.killed),
        limit=_MEGABYTES,
        further=Bar(f"the killed one ≤ {_MEGABYTES}", _megabytes(measured.killed).median <= _MEGABYTES),
    )
    both = [
        killed.seconds + continued.seconds
        for killed, continued in zip(measured.killed, measured.continued, strict=True)
    ]
    yield Row(
        f"wall time of {what}, the wait for the dead one's lease included (at most {lease:g} s)",
        "s",
        Figures(both),
        "uninterrupted, at the same time",
        Figures([cost.seconds for cost in measured.first]),
    )
