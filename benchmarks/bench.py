"""What every group of rows works with: the sizes, a place for files, and stores that know a whole history."""

from __future__ import annotations

import shutil
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmarks.pages import Account, PageServer
from benchmarks.polls import Poller
from benchmarks.processes import Cost, cost_of, environment
from benchmarks.serving import ask, serving

if TYPE_CHECKING:
    from pathlib import Path

_DICTIONARY = (sys.executable, "-m", "benchmarks.dictionary")

OPEN_JOBS = 200
SMALL = 1000
"""The history that a long one is compared with."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much is measured.

    Args:
        runs: How often each row is run.
        jobs: The history of the scans.
        history: The longest history.
        events: Events to deliver.
        cycles: Polls of a run whose calls are counted, or whose processor time is taken.
        transitions: New statuses of a run of the latency rows: so many that begin, and so many that end.
        idle_seconds: How long an idle daemon is watched.
        settle_seconds: How long it is left alone before.
        startups: Starts of the command.
        lease: Seconds for which a killed process's claim stands, as `store.lease` sets it.
        minutes: Over how long the jobs end whose endings are timed.
        endings: How many these are.
        storm: Jobs of each kind that end at once.
        budget_seconds: How long the calls of a daemon are counted.
        airflow: Whether Airflow is among the rivals.
    """

    runs: int
    jobs: int
    history: int
    events: int
    cycles: int
    transitions: int
    idle_seconds: float
    settle_seconds: float
    startups: int
    lease: float
    minutes: float
    endings: int
    storm: int
    budget_seconds: float
    airflow: bool


class Bench:
    """One run of the benchmark.

    Args:
        sizes: How much is measured.
        folder: Where files may be kept until its end.
    """

    def __init__(self, sizes: Sizes, folder: Path) -> None:
        self.sizes = sizes
        self.folder = folder
        self._began = time.monotonic()
        self._names = 0
        self._baselines: dict[tuple[int, int], Path] = {}
        self._listed: dict[int, tuple[int, Cost]] = {}

    def say(self, text: str) -> None:
        """Tell how far it is; on standard error, because standard output is for the table."""
        print(f"{time.monotonic() - self._began:6.0f} s  {text}", file=sys.stderr, flush=True)

    def new_store(self) -> Path:
        """The path of a store that is not there yet."""
        self._names += 1
        return self.folder / f"{self._names}.db"

    def keep_baseline(self, jobs: int, open_jobs: int, store: Path) -> None:
        """Take over a closed store that has recorded such an account, in place of an earlier one."""
        if (jobs, open_jobs) in self._baselines:
            self._baselines[jobs, open_jobs].unlink()
        self._baselines[jobs, open_jobs] = store

    def baseline(self, jobs: int, open_jobs: int = OPEN_JOBS) -> Path:
        """A new copy of a store that has recorded such an account; made the first time."""
        if (jobs, open_jobs) not in self._baselines:
            self.say(f"recording {jobs:,} jobs, {open_jobs} of them open")
            store = self.new_store()
            with serving(PageServer(Account(jobs, open_jobs))) as url, Poller(url, store) as poller:
                poller.poll()
            self.keep_baseline(jobs, open_jobs, store)
        return self.copy(self._baselines[jobs, open_jobs])

    def copy(self, store: Path) -> Path:
        """A copy of a closed store."""
        return shutil.copyfile(store, self.new_store())

    def listed(self, jobs: int) -> tuple[int, Cost]:
        """Let the rival list a history into a dictionary, once; returns its calls and its cost."""
        if jobs not in self._listed:
            self.say(f"the rival lists all {jobs:,} jobs")
            with serving(PageServer(Account(jobs, OPEN_JOBS))) as url:
                cost = cost_of(_DICTIONARY, environment(url), self.folder)
                self._listed[jobs] = ask(url, "count")["lists"], cost
        return self._listed[jobs]
