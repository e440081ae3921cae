"""What a steady cycle costs: calls, counted by the server, and processor time.

Between two cycles a new job is submitted and the oldest open one ends, so each cycle records two changes.
"""

from __future__ import annotations

import gc
import os
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmarks import rivals
from benchmarks.bench import OPEN_JOBS, SMALL
from benchmarks.pages import Account, PageServer, arn_of
from benchmarks.polls import Poller
from benchmarks.processes import environment
from benchmarks.serving import ask, serving
from benchmarks.table import Bar, Figures, Row

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.bench import Bench

_LISTS = 2
_STRAGGLERS = 1
"""The job that ended since the last cycle, which is got for its details."""


@dataclass(frozen=True, slots=True)
class Steady:
    """An account that is polled again and again."""

    url: str
    poller: Poller

    def counted(self, cycles: int) -> float:
        """The calls of a cycle, on average."""
        before = self._calls()
        for _ in range(cycles):
            ask(self.url, "tick")
            report = self.poller.poll()
            _expect(report.events)
        return (self._calls() - before) / cycles

    def _calls(self) -> int:
        told = ask(self.url, "count")
        return int(told["lists"] + told["gets"])

    def processor_seconds(self, cycles: int) -> float:
        """The processor time of a cycle and of the gauges that follow it, on average."""
        gc.collect()
        total = 0.0
        for _ in range(cycles):
            ask(self.url, "tick")
            began = time.process_time()
            report = self.poller.poll()
            self.poller.refresh()
            total += time.process_time() - began
            _expect(report.events)
        return total / cycles


class UnseenError(Exception):
    """A poll did not see what had happened, so what it cost means nothing."""


def _expect(events: int) -> None:
    # One job began and one ended.
    if events != 2:  # noqa: PLR2004
        raise UnseenError(f"a poll recorded {events} events instead of 2")


@contextmanager
def steady(bench: Bench, jobs: int, open_jobs: int) -> Iterator[Steady]:
    """An account that has been recorded, and one cycle after that."""
    store = bench.baseline(jobs, open_jobs)
    with serving(PageServer(Account(jobs, open_jobs))) as url, Poller(url, store) as poller:
        account = Steady(url, poller)
        account.processor_seconds(1)
        yield account
    store.unlink()


def histories(longest: int) -> list[int]:
    """The histories whose calls are compared: each ten times the one before, and the longest."""
    sizes = [SMALL]
    while sizes[-1] < longest:
        sizes.append(min(sizes[-1] * 10, longest))
    return sizes


def rows(bench: Bench) -> Iterator[Row]:
    """Calls by the length of the history, and by the number of open jobs."""
    yield from _by_history(bench)
    for open_jobs, least in ((10, None), (100, None), (500, 100)):
        yield _by_open_jobs(bench, open_jobs, least)


def _by_history(bench: Bench) -> Iterator[Row]:
    ours = {}
    for jobs in histories(bench.sizes.history):
        bench.say(f"calls of a steady cycle, history of {jobs:,}")
        with steady(bench, jobs, OPEN_JOBS) as account:
            ours[jobs] = [account.counted(bench.sizes.cycles) for _ in range(bench.sizes.runs)]
    gets = _rival_gets(OPEN_JOBS)
    same = Bar("the same for every history", len({calls for runs in ours.values() for calls in runs}) == 1)
    for jobs, calls in ours.items():
        yield Row(
            f"calls of a steady cycle, {OPEN_JOBS} open jobs, history of {jobs:,}, one job just ended",
            "calls",
            Figures(calls),
            f"list everything every time, counted once (a Get for each open job: {gets})",
            Figures([bench.listed(jobs)[0]]),
            limit=_LISTS + _STRAGGLERS,
            further=same,
            floor="one page",
            floor_figures=Figures([1]),
        )


def _by_open_jobs(bench: Bench, open_jobs: int, least: float | None) -> Row:
    bench.say(f"calls with {open_jobs} open jobs")
    ours, theirs = [], []
    with steady(bench, SMALL, open_jobs) as account:
        for _ in range(bench.sizes.runs):
            ours.append(account.counted(bench.sizes.cycles))
            theirs.append(_rival_gets(open_jobs))
    return Row(
        f"calls of a steady cycle, {open_jobs} open jobs, one job just ended",
        "calls",
        Figures(ours),
        "a Get for each open job",
        Figures(theirs),
        inverse=True,
        least=least,
        floor="one page",
        floor_figures=Figures([1]),
    )


def _rival_gets(open_jobs: int) -> int:
    with serving(PageServer(Account(SMALL, open_jobs))) as url:
        os.environ |= environment(url)
        rivals.get_each([arn_of(number) for number in range(SMALL - open_jobs, SMALL)])
        return int(ask(url, "count")["gets"])


def processor_rows(bench: Bench) -> Iterator[Row]:
    """The processor time of a cycle with a long history and with a short one, in turn."""
    history, cycles = bench.sizes.history, bench.sizes.cycles
    figures: dict[int, list[float]] = {SMALL: [], history: []}
    with ExitStack() as stack:
        accounts = {jobs: stack.enter_context(steady(bench, jobs, OPEN_JOBS)) for jobs in figures}
        for run in range(bench.sizes.runs):
            bench.say(f"processor time of {cycles} cycles, run {run + 1}")
            for jobs, account in accounts.items():
                figures[jobs].append(account.processor_seconds(cycles) * 1000)
    yield Row(
        f"processor time of a steady cycle and its gauges, {OPEN_JOBS} open jobs, history of {history:,}",
        "ms",
        Figures(figures[history]),
        f"the same with a history of {SMALL:,}",
        Figures(figures[SMALL]),
        most=1.2,
    )
