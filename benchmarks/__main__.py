"""Measures how fast it is against named rivals, prints one table, and writes it down.

Each row runs ours and the rival in turn, several times. Ratios are of medians; the spread stands beside them.
A bar that is missed is printed like one that is met: what is measured is not a test.
"""

from __future__ import annotations

import argparse
import os
import platform
import shlex
import signal
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks import (
    budget,
    calls,
    deliveries,
    endings,
    hostile,
    idle,
    latency,
    memory,
    scans,
    startup,
    storm,
)
from benchmarks.bench import Bench, Sizes
from benchmarks.table import table
from poller import __version__, logs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from types import FrameType

    from benchmarks.table import Row

GROUPS: dict[str, Callable[[Bench], Iterator[Row]]] = {
    "scans": scans.rows,
    "calls": calls.rows,
    "cpu": calls.processor_rows,
    "deliveries": deliveries.rows,
    "memory": memory.rows,
    "latency": latency.rows,
    "endings": endings.rows,
    "storm": storm.rows,
    "budget": budget.rows,
    "idle": idle.rows,
    "hostile": hostile.rows,
    "startup": startup.rows,
}
"""In the order of the table."""
_FIRST = "memory"
"""Leaves a store of the longest history behind, which the others use."""
_RESULTS = Path(__file__).with_name("RESULTS.md")


def _groups(text: str) -> list[str]:
    names = text.split(",")
    if unknown := set(names) - GROUPS.keys():
        raise argparse.ArgumentTypeError(
            f"no such group: {', '.join(unknown)}; there are {', '.join(GROUPS)}"
        )
    return names


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure speed against rivals.")
    add = parser.add_argument
    add("--only", type=_groups, metavar="NAME[,NAME]", help=f"only these groups of rows: {', '.join(GROUPS)}")
    add("--runs", type=_positive, default=5, help="how often each row is run (5)")
    add("--jobs", type=_positive, default=100_000, help="jobs of the scans (100000)")
    add("--history", type=_positive, default=1_000_000, help="jobs of the longest history (1000000)")
    add("--events", type=_positive, default=10_000, help="events to deliver (10000)")
    add("--cycles", type=_positive, default=20, help="polls of a run of calls and cpu (20)")
    add("--transitions", type=_positive, default=60, help="jobs that begin and end, a run of latency (60)")
    add("--idle-seconds", type=float, default=120, help="how long an idle daemon is watched (120)")
    add("--settle-seconds", type=float, default=15, help="how long it is left alone before that (15)")
    add("--startups", type=_positive, default=10, help="starts of the command (10)")
    add("--lease", type=float, default=15, help="seconds for which a killed process's claim stands (15)")
    add("--minutes", type=float, default=10, help="over how long the jobs end whose endings are timed (10)")
    add("--endings", type=_positive, default=200, help="how many these are (200)")
    add("--storm", type=_positive, default=40, help="jobs of each kind that end at once (40)")
    add("--budget-seconds", type=float, default=120, help="how long a daemon's calls are counted (120)")
    add("--airflow", action=argparse.BooleanOptionalAction, default=True, help="Airflow as a rival, 400 MB")
    add("--output", type=Path, help="the file to write; without --only it is benchmarks/RESULTS.md")
    return parser.parse_args()


def _measure(bench: Bench, names: list[str], rows: dict[str, list[Row]]) -> None:
    """Measure these groups, and put each one's rows into `rows` when it is done."""
    for name in sorted(names, key=lambda name: name != _FIRST):
        rows[name] = list(GROUPS[name](bench))


def _table(rows: Mapping[str, list[Row]]) -> str:
    return table(row for name in GROUPS if name in rows for row in rows[name])


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())


def _page(text: str, taken: float) -> str:
    """The table with what made it."""
    python = Path(sys.executable)
    if python.is_relative_to(Path.cwd()):
        python = python.relative_to(Path.cwd())
    gigabytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    kernel = f"{platform.system()} {platform.release()}"
    return f"""# Results

- Command: `{shlex.join([str(python), "-m", "benchmarks", *sys.argv[1:]])}`, {taken / 60:.0f} minutes
- Machine: {os.cpu_count()} cores, {_processor()}, {gigabytes:.0f} GB, {kernel}
- Version: bedrock-poller {__version__}, Python {platform.python_version()}
- Date: {datetime.now(UTC):%Y-%m-%d}

Figures are medians (least to most). Ratios are of medians. Everything runs on this one machine, over
loopback. [Benchmarks](README.md) says what is measured, and how.

{text}
"""


def _end(_number: int, _frame: FrameType | None) -> None:
    # As Ctrl-C does: every block that holds a process is left, and ends it.
    raise KeyboardInterrupt


def main() -> int:
    """Measure, print, and write the table down."""
    asked = _arguments()
    signal.signal(signal.SIGTERM, _end)
    logs.configure(level="error", form="console")
    sizes = Sizes(
        runs=asked.runs,
        jobs=asked.jobs,
        history=asked.history,
        events=asked.events,
        cycles=asked.cycles,
        transitions=asked.transitions,
        idle_seconds=asked.idle_seconds,
        settle_seconds=asked.settle_seconds,
        startups=asked.startups,
        lease=asked.lease,
        minutes=asked.minutes,
        endings=asked.endings,
        storm=asked.storm,
        budget_seconds=asked.budget_seconds,
        airflow=asked.airflow,
    )
    output = asked.output or (None if asked.only else _RESULTS)
    began = datetime.now(UTC)
    rows: dict[str, list[Row]] = {}
    try:
        with tempfile.TemporaryDirectory(prefix="bedrock-poller-bench-") as folder:
            _measure(Bench(sizes, Path(folder)), asked.only or list(GROUPS), rows)
    except KeyboardInterrupt:
        print(_table(rows))
        print("interrupted; every process that was started has been ended", file=sys.stderr)
        return 130
    text = _table(rows)
    print(text)
    if output is not None:
        output.write_text(_page(text, (datetime.now(UTC) - began).total_seconds()))
        print(f"written to {output}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
