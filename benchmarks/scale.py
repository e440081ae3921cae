"""Measures replicas of the real program over one real PostgreSQL: `python -m benchmarks.scale`.

Thousands of targets, by a role in each account, are polled by one, two and more processes. AWS is simulated
in a process of its own, with a latency. First all are polled at an ordinary interval, and it is seen how late
polls are, how far apart, and what they cost. Then the interval is so short that the replicas do nothing but
wait for the service, and it is seen what each further one adds.

A bar that is missed is printed; only what no machine may do is an error: a target that was polled twice in an
interval, or not at all.
"""

from __future__ import annotations

import argparse
import math
import os
import platform
import shlex
import signal
import sys
import tempfile
import time
from collections import defaultdict
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks import scale_fleet as fleets
from benchmarks.scale_aws import simulated
from benchmarks.scale_figures import JITTER, Figures, histogram, quantile, table, verdict
from benchmarks.serving import ask
from poller import __version__
from poller.times import parse_duration

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.scale_fleet import Load, Replica, Watch
    from tests.harness.postgres import Server

_LATENESS = "bedrock_poller_poll_lateness_seconds"
_LATENCY = (0.05, 0.2)
_RUSHED_CONCURRENCY = 2
_RUSHED_TARGETS = 1000
_RUSHED = 2.0
"""So many times more polls are due than all replicas together can make."""
_RARE = 0.005
"""Statements that run less often for each poll than this are not shown."""
_PATIENCE = 900.0


class StuckError(Exception):
    """The replicas did not get where they were to get."""


class Scale:
    """One run of the benchmark.

    Args:
        server: The database.
        aws: The simulated AWS: its address and its process.
        folder: Where files may be kept until the end.
    """

    def __init__(self, server: Server, aws: tuple[str, int], folder: Path) -> None:
        self._server = server
        self._url, self._aws = aws
        self._folder = folder
        self._began = time.monotonic()

    def say(self, text: str) -> None:
        """Tell how far it is; on standard error, because standard output is for the tables."""
        print(f"{time.monotonic() - self._began:6.0f} s  {text}", file=sys.stderr, flush=True)

    def measure(self, count: int, load: Load, *, settle: float, seconds: float) -> Figures:
        """Let so many replicas work, and watch them for some seconds once all targets are known.

        Raises:
            StuckError: The targets were not all seen in time.
        """
        self.say(f"{count} replicas over {load.exactly} targets begin")
        store = self._server.fresh()
        ask(self._url, "forget")
        with fleets.fleet(count, load, store, self._url, self._folder) as replicas:
            self._wait(lambda: fleets.baselined(self._server, store) > 0, replicas)
            with fleets.Watch(store, load.interval, load.interval * (1 - JITTER)) as watch:
                self._wait(lambda: fleets.baselined(self._server, store) == load.exactly, replicas)
                self.say(f"every target is known; {settle:.0f} s to settle")
                time.sleep(settle)
                self.say(f"watched for {seconds:.0f} s")
                figures = self._window(watch, load, replicas, seconds)
        self._server.drop(store)
        self.say(f"{figures.rate:.1f} polls a second, lateness p99 {figures.late_most:.2f} s")
        return figures

    def _wait(self, happened: Callable[[], bool], replicas: list[Replica]) -> None:
        late = time.monotonic() + _PATIENCE
        while not happened():
            if any(replica.command.ended for replica in replicas) or time.monotonic() > late:
                raise StuckError("the replicas did not see every target")
            time.sleep(0.2)

    def _window(self, watch: Watch, load: Load, replicas: list[Replica], seconds: float) -> Figures:
        pids = [replica.command.pid for replica in replicas]
        log = self._server.folder / "log"

        def used() -> list[float]:
            ours = fleets.processor_seconds([os.getpid(), self._aws])
            server = fleets.server_seconds(self._server)
            each = (fleets.processor_seconds([pid]) for pid in pids)
            return [fleets.machine_seconds(), ours, server, *each]

        before = _summed(replicas)
        read, written, busy, began = log.stat().st_size, fleets.logged(self._server), used(), time.monotonic()
        time.sleep(seconds)
        ended = time.monotonic()
        machine, ours, database, *each = (now - then for now, then in zip(used(), busy, strict=True))
        written = fleets.logged(self._server) - written
        with log.open(errors="replace") as file:
            file.seek(read)
            found = fleets.statements(file.read())
        after = _summed(replicas)
        late = histogram(before, after, _LATENESS)
        polls, gaps, seen = self._seen(began, ended, load.interval)
        took = ended - began
        cores = (os.cpu_count() or 1) * took
        claims, claim = found.get("claim", (0.0, math.nan))
        return Figures(
            replicas=len(replicas),
            targets=load.exactly,
            interval=load.interval,
            seconds=took,
            polls=polls,
            late_half=quantile(late, 0.5),
            late_most=quantile(late, 0.99),
            gaps=gaps,
            twice=watch.twice,
            watched=watch.longest < load.interval * (1 - JITTER),
            unpolled=load.exactly - seen,
            failures=after["bedrock_poller_poll_failures_total"],
            claim=claim,
            claims=claims / max(1, polls),
            connections=watch.connections,
            database=database / took * 60,
            log=written / max(1, polls),
            processor=[one / took * 60 for one in each],
            memory=[fleets.megabytes(pid) for pid in pids],
            machine=machine / cores,
            others=max(0.0, machine - ours - database - sum(each)) / cores,
            statements={name: (count / max(1, polls), mean) for name, (count, mean) in found.items()},
        )

    def _seen(self, began: float, ended: float, interval: float) -> tuple[int, list[float], int]:
        """The polls in a window, the gaps that ended in it, and how many targets were polled of late."""
        listed = ask(self._url, "listed")["listed"].values()
        polls = sum(began <= at < ended for times in listed for at in times)
        gaps = [late - early for times in listed for early, late in pairwise(times) if began <= late < ended]
        return polls, gaps, sum(times[-1] >= began - interval for times in listed)


def _summed(replicas: list[Replica]) -> dict[str, float]:
    totals: dict[str, float] = defaultdict(float)
    for replica in replicas:
        for name, value in replica.metrics().items():
            totals[name] += value
    return totals


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number


def _seconds(text: str) -> float:
    try:
        return parse_duration(text).total_seconds()
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.scale", description="Measure replicas over one PostgreSQL."
    )
    add = parser.add_argument
    add("--targets", type=_positive, default=10_000, help="accounts x regions x 2 kinds (10000)")
    add("--regions", type=_positive, default=len(fleets.REGIONS), help="regions of each account (20)")
    add("--interval", type=_seconds, default=60.0, help="poll.interval (60s)")
    add("--replicas", type=_positive, nargs="+", default=[1, 2, 4], help="processes (1 2 4)")
    add("--minutes", type=float, default=3.0, help="how long each is watched (3); at least two intervals")
    add("--concurrency", type=_positive, default=32, help="poll.concurrency (32)")
    add("--connections", type=_positive, default=8, help="store.pool_size (8)")
    add("--only", choices=("steady", "rushed"), help="one of the two tables")
    add("--statements", action="store_true", help="also print what each statement took in the database")
    add("--output", type=Path, help="a file to write the tables to")
    return parser.parse_args()


def _run(asked: argparse.Namespace, scale: Scale) -> tuple[str, bool]:
    regions = min(asked.regions, len(fleets.REGIONS))
    load = fleets.Load(asked.targets, regions, asked.interval, asked.concurrency, asked.connections)
    most = max(asked.replicas)
    steady, rushed = [], []
    if asked.only != "rushed":
        seconds = max(2 * load.interval, 60 * asked.minutes)
        steady = [
            scale.measure(count, load, settle=load.interval, seconds=seconds) for count in asked.replicas
        ]
    if asked.only != "steady":
        targets = min(asked.targets, _RUSHED_TARGETS)
        possible = most * _RUSHED_CONCURRENCY / (sum(_LATENCY) / 2)
        interval = max(0.1, targets / possible / _RUSHED)
        short = fleets.Load(targets, regions, interval, _RUSHED_CONCURRENCY, asked.connections)
        seconds = min(60 * asked.minutes, 60.0)
        rushed = [
            scale.measure(count, short, settle=2 * interval, seconds=seconds) for count in asked.replicas
        ]
    parts = []
    for name, figures in (("steady", steady), ("waiting for the service", rushed)):
        if figures:
            head = f"{name}: {figures[0].targets:,} targets every {figures[0].interval:.3g} s"
            counts = [f"{each.replicas} replica{'s' * (each.replicas > 1)}" for each in figures]
            parts.append(table(head, list(zip(counts, [each.cells() for each in figures], strict=True))))
        if figures and asked.statements:
            last = figures[-1].statements.items()
            ordered = sorted(last, key=lambda item: -item[1][0] * item[1][1])
            rows = [f"| {n} | {count:.2f} | {mean:.3f} |" for n, (count, mean) in ordered if count > _RARE]
            parts.append("\n".join(["| statement | for each poll | mean ms |", "| --- | --- | --- |", *rows]))
    bars = verdict(steady, rushed)
    parts.append("\n".join(f"- {'met' if met else 'MISSED'}: {what}" for what, met, _ in bars))
    return "\n\n".join(parts), all(met or not strict for _, met, strict in bars)


def _page(text: str, taken: float) -> str:
    kernel = f"{platform.system()} {platform.release()}"
    return f"""# Replicas

- Command: `{shlex.join(["python", "-m", "benchmarks.scale", *sys.argv[1:]])}`, {taken / 60:.0f} minutes
- Machine: {os.cpu_count()} cores, {kernel}; load average {os.getloadavg()[2]:.1f}
- Version: bedrock-poller {__version__}, Python {platform.python_version()}
- Date: {datetime.now(UTC):%Y-%m-%d}

Everything runs on this one machine: the replicas, PostgreSQL (with `fsync` off, everything else as usual),
and a simulated AWS that answers after {_LATENCY[0] * 1000:g} to {_LATENCY[1] * 1000:g} ms.
[Performance and scale](../docs/performance.md#many-targets) interprets them.

{text}
"""


def _end(_number: int, _frame: object) -> None:
    # As Ctrl-C does: every block that holds a process is left, and ends it.
    raise KeyboardInterrupt


def main() -> int:
    """Measure, print, and tell whether what must be is."""
    asked = _arguments()
    signal.signal(signal.SIGTERM, _end)
    began = time.monotonic()
    try:
        with (
            tempfile.TemporaryDirectory(prefix="bedrock-poller-scale-") as folder,
            simulated(_LATENCY) as aws,
            fleets.postgres() as server,
        ):
            text, well = _run(asked, Scale(server, aws, Path(folder)))
    except KeyboardInterrupt:
        print("interrupted; every process that was started has been ended", file=sys.stderr)
        return 130
    except StuckError as error:
        print(error, file=sys.stderr)
        return 1
    print(text)
    if asked.output is not None:
        asked.output.write_text(_page(text, time.monotonic() - began))
        print(f"written to {asked.output}", file=sys.stderr)
    return 0 if well else 1


if __name__ == "__main__":
    sys.exit(main())
