"""Durable delivery to one webhook, against loops that store nothing."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from benchmarks import rivals
from benchmarks.pages import PAGE, Account
from benchmarks.polls import Poller
from benchmarks.scans import seconds
from benchmarks.serving import no_answer, serving
from benchmarks.table import Figures, Row
from poller.diff import diff
from poller.events import job_event
from poller.kinds import MODEL_INVOCATION_JOB
from poller.model import EventType
from poller.store import Observation

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.bench import Bench
    from poller.app import Components
    from poller.model import Event

SECRET = "whsec_" + "A" * 32
CONCURRENCY = 32


def rows(bench: Bench) -> Iterator[Row]:
    """The rates of delivery, signed, durable, and in order for each job."""
    count = bench.sizes.events
    ours, bare, loop = [], [], []
    with serving(no_answer) as url:
        hook = {"type": "webhook", "url": url, "secrets": [SECRET], "concurrency": CONCURRENCY}
        for run in range(bench.sizes.runs):
            bench.say(f"{count:,} deliveries, run {run + 1}")
            with Poller(url, bench.new_store(), sinks={"hook": hook}) as poller:
                events = _owe(poller, count)
                ours.append(count / seconds(lambda: _deliver(poller.components)))
                _expect_none(poller.components)
            bare.append(count / seconds(lambda: rivals.post_with_aiohttp(url, events, CONCURRENCY)))  # noqa: B023 - called at once
            loop.append(count / seconds(lambda: rivals.post_with_requests(url, events, SECRET)))  # noqa: B023
    what = f"{count:,} events to one webhook: durable, signed, in order for each job"
    for rival, rates, least in (
        ("bare aiohttp loop that stores nothing", bare, 0.4),
        ("signing requests loop", loop, 3),
    ):
        yield Row(
            what,
            "events/s",
            Figures(ours),
            rival,
            Figures(rates),
            least=least,
            floor="bare aiohttp loop",
            floor_figures=Figures(bare),
        )


def _owe(poller: Poller, count: int) -> list[Event]:
    """Record that many events, each of another job, and each owed to the sink `hook`."""
    snapshot = poller.components.snapshot
    claim = snapshot.leases.claim(poller.target)
    assert claim is not None  # noqa: S101 - nobody else is there
    account = Account(count, count)
    made = []
    for start in range(0, count, PAGE):
        numbers = range(start, min(start + PAGE, count))
        jobs = [MODEL_INVOCATION_JOB.observe(json.loads(account.summary(number))) for number in numbers]
        now = datetime.now(UTC)
        seen = [
            Observation(change, job_event(change, EventType.STATUS_CHANGED, poller.target, now), ("hook",))
            for change in diff({}, jobs, is_news=lambda _: True)
        ]
        snapshot.record(claim, seen)
        made += [item.event for item in seen if item.event is not None]
    return made


def _deliver(components: Components) -> None:
    (worker,) = components.workers()
    asyncio.run(worker.run(grace=5, until_idle=True))


class UndeliveredError(Exception):
    """Something is still owed, so the time that it took means nothing."""


def _expect_none(components: Components) -> None:
    owed = components.outbox.backlog()
    if owed:
        raise UndeliveredError(f"still owed: {owed}")
