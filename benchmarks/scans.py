"""Full listings: a first run, which records everything, and a scan of what is known already."""

from __future__ import annotations

import gc
import json
import os
import time
from typing import TYPE_CHECKING

from benchmarks import rivals
from benchmarks.bench import OPEN_JOBS
from benchmarks.pages import PAGE, Account, PageServer
from benchmarks.polls import Poller
from benchmarks.processes import environment
from benchmarks.serving import serving
from benchmarks.table import Figures, Row

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from benchmarks.bench import Bench

# Every poll is a full one.
ALWAYS_FULL = {"interval": "100ms", "idle_interval": "100ms", "full_scan_interval": "100ms"}


def seconds(work: Callable[[], object]) -> float:
    """How long something takes."""
    gc.collect()
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def rows(bench: Bench) -> Iterator[Row]:
    """A scan of unchanged jobs and a first run, against pagination that does nothing with its items."""
    jobs = bench.sizes.jobs
    first, unchanged, theirs, floor = [], [], [], []
    with serving(PageServer(Account(jobs, OPEN_JOBS))) as url:
        os.environ |= environment(url)
        for run in range(bench.sizes.runs):
            bench.say(f"scans of {jobs:,} jobs, run {run + 1}")
            store = bench.new_store()
            with Poller(url, store) as poller:
                first.append(seconds(poller.poll))
            with Poller(url, store, poll=ALWAYS_FULL) as poller:
                unchanged.append(seconds(poller.poll))
            theirs.append(seconds(rivals.list_everything))
            floor.append(_loading(Account(jobs, OPEN_JOBS)))
    yield Row(
        f"full scan of {jobs:,} unchanged jobs: list, parse, diff, persist",
        "s",
        Figures(unchanged),
        "boto3 pagination that does nothing with the items",
        Figures(theirs),
        most=0.06,
        floor="json.loads of the bodies",
        floor_figures=Figures(floor),
    )
    yield Row(
        f"first run over {jobs:,} jobs, every one inserted and durable",
        "s",
        Figures(first),
        "boto3 pagination that does nothing with the items",
        Figures(theirs),
        most=0.15,
        floor="json.loads of the bodies",
        floor_figures=Figures(floor),
    )


def _loading(account: Account) -> float:
    """How long the bodies of all pages take to parse, and nothing else."""
    gc.collect()
    total = 0.0
    for start in range(0, account.jobs, PAGE):
        body = account.page(start)
        began = time.perf_counter()
        json.loads(body)
        total += time.perf_counter() - began
    return total
