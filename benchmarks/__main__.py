"""Prints how fast scans and deliveries are, as ratios against rivals measured in the same run.

Each row runs ours and the rival in turn, several times. Ratios are of medians; the spread stands beside them.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import platform
import statistics
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks import rivals
from benchmarks.pages import History, PageServer
from benchmarks.serving import no_answer, serving
from poller.aws import Access, JobsApi, Sessions
from poller.delivery import SinkWorker
from poller.diff import diff
from poller.envelope import job_event
from poller.kinds import MODEL_INVOCATION_JOB
from poller.metrics import Metrics
from poller.model import EventType, Target
from poller.polling import Cycle, Rules
from poller.progress import Progress
from poller.sinks import registry
from poller.sinks.webhook import WebhookSettings
from poller.store import Database, Observation, Outbox, Snapshot

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from poller.model import Event

TARGET = Target("bench", "us-east-1", "model_invocation_job")
SECRET = "whsec_" + "A" * 32
CONCURRENCY = 32
FOREVER = 3600.0


class Store:
    """A fresh store in a folder of its own."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="bedrock-poller-bench-")
        self.database = Database(f"sqlite:///{self._folder.name}/poller.db")
        self.database.prepare()
        self.database.migrate()
        self.snapshot = Snapshot(self.database, owner="bench", lease=FOREVER)
        self.snapshot.register([TARGET])

    def close(self) -> None:
        """Remove it."""
        self.database.close()
        self._folder.cleanup()


def seconds(work: Callable[[], object]) -> float:
    """How long something takes."""
    gc.collect()
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def scan(store: Store) -> None:
    """One full scan: list, parse, diff, persist."""
    metrics = Metrics()
    sessions = Sessions(metrics, requests_per_second=1e6, max_attempts=1, pool_size=4, stop=threading.Event())
    cycle = Cycle(
        ledger=store.snapshot,
        api=lambda _: JobsApi(sessions.client(Access(), "us-east-1", "bedrock"), MODEL_INVOCATION_JOB),
        kind=lambda _: MODEL_INVOCATION_JOB,
        rules=Rules(timedelta(minutes=10), timedelta(0)),
        route=lambda _: ("log",),
        metrics=metrics,
    )
    report = cycle.poll(TARGET)
    sessions.close()
    if report.failure is not None:
        raise report.failure


def scans(jobs: int, runs: int) -> Iterator[tuple[str, list[float], list[float]]]:
    """A first run and a full scan of unchanged jobs, against pagination that does nothing with them."""
    first, unchanged, rival = [], [], []
    with serving(PageServer(History(jobs, open_jobs=200))) as url:
        os.environ["AWS_ENDPOINT_URL_BEDROCK"] = url
        rivals.list_everything()  # the server renders its pages once
        for _ in range(runs):
            store = Store()
            first.append(seconds(lambda: scan(store)))  # noqa: B023 - called at once
            unchanged.append(seconds(lambda: scan(store)))  # noqa: B023 - called at once
            rival.append(seconds(rivals.list_everything))
            store.close()
    yield f"first run over {jobs:,} jobs / bare boto3 pagination", first, rival
    yield f"full scan of {jobs:,} unchanged jobs / bare boto3 pagination", unchanged, rival


def owe(store: Store, count: int) -> list[Event]:
    """Record that many events, each owed to the sink `hook`."""
    claim = store.snapshot.claim(TARGET)
    assert claim is not None  # noqa: S101 - nobody else is there
    history = History(count, count)
    made = []
    for start in range(0, count, 1000):
        numbers = range(start, min(start + 1000, count))
        jobs = [MODEL_INVOCATION_JOB.observe(json.loads(history.summary(number))) for number in numbers]
        seen = [
            Observation(
                change, job_event(change, EventType.STATUS_CHANGED, TARGET, datetime.now(UTC)), ("hook",)
            )
            for change in diff({}, jobs, announce_new=True)
        ]
        store.snapshot.record(claim, seen)
        made += [item.event for item in seen if item.event is not None]
    return made


def deliver(store: Store, url: str) -> None:
    """Deliver all that is owed, signed, durable, in order for each job."""
    settings = WebhookSettings.model_validate(
        {"type": "webhook", "url": url, "secrets": [SECRET], "concurrency": CONCURRENCY}
    )
    with ThreadPoolExecutor(4) as threads:
        worker = SinkWorker(
            sink=registry.build("hook", settings),
            outbox=Outbox(store.database),
            lease=FOREVER,
            threads=threads,
            metrics=Metrics(),
            progress=Progress(),
        )
        asyncio.run(worker.run(grace=5, until_idle=True))


def deliveries(count: int, runs: int) -> Iterator[tuple[str, list[float], list[float]]]:
    """Durable delivery to one webhook, against loops that store nothing."""
    ours, bare, loop = [], [], []
    with serving(no_answer) as url:
        for _ in range(runs):
            store = Store()
            events = owe(store, count)
            ours.append(seconds(lambda: deliver(store, url)))  # noqa: B023 - called at once
            bare.append(seconds(lambda: rivals.post_with_aiohttp(url, events, CONCURRENCY)))  # noqa: B023
            loop.append(seconds(lambda: rivals.post_with_requests(url, events, SECRET)))  # noqa: B023
            store.close()
    yield f"{count:,} deliveries / bare aiohttp loop", ours, bare
    yield f"{count:,} deliveries / signing requests loop", ours, loop


def table(rows: Sequence[tuple[str, list[float], list[float]]]) -> list[str]:
    """The rows as Markdown: seconds as median (least to most), and the ratio of the medians."""
    lines = ["| what / rival | ours, s | rival, s | ours / rival |", "|---|---|---|---|"]
    for name, ours, rival in rows:
        cells = [
            f"{statistics.median(runs):.2f} ({min(runs):.2f} to {max(runs):.2f})" for runs in (ours, rival)
        ]
        ratio = statistics.median(ours) / statistics.median(rival)
        lines.append(f"| {name} | {cells[0]} | {cells[1]} | {ratio:.3f} |")
    return lines


def main() -> None:
    """Measure, print, and write the table down."""
    parser = argparse.ArgumentParser(prog="make bench", description="Measure speed against rivals.")
    parser.add_argument("--runs", type=int, default=5, help="how often each is run")
    parser.add_argument("--jobs", type=int, default=100_000, help="jobs in the history")
    parser.add_argument("--events", type=int, default=10_000, help="events to deliver")
    parser.add_argument("--output", type=Path, help="also write the table to this file")
    asked = parser.parse_args()
    os.environ |= {"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x", "AWS_DEFAULT_REGION": "us-east-1"}
    rows = [*scans(asked.jobs, asked.runs), *deliveries(asked.events, asked.runs)]
    lines = table(rows)
    print("\n".join(lines))
    if asked.output is not None:
        machine = f"{os.cpu_count()} cores, Python {platform.python_version()}, {datetime.now(UTC):%Y-%m-%d}"
        command = f"python -m benchmarks --runs {asked.runs} --jobs {asked.jobs} --events {asked.events}"
        head = ["# Results", "", f"`{command}` on {machine}. Seconds as median (least to most).", ""]
        asked.output.write_text("\n".join([*head, *lines, ""]))


if __name__ == "__main__":
    main()
