"""A worker over a real store, in a time that the test can move, and sinks that do as they are told."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa

from poller.delivery import SinkWorker
from poller.events import job_event
from poller.heartbeats import Heartbeats
from poller.kinds import KINDS
from poller.metrics import Metrics
from poller.model import Change, Event, EventType, Target
from poller.settings.sinks import SinkSettings
from poller.sinks.contract import Sink
from poller.store import Database, Outbox
from poller.store.outbox import Enqueue
from poller.store.tables import deliveries

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Sequence

NOW = datetime(2026, 11, 20, 10, tzinfo=UTC)


def event_of(job: int, number: int) -> Event:
    """The given event of a job; later ones have higher numbers."""
    arn = f"arn:aws:bedrock:us-east-1:123456789012:async-invoke/{job:012d}"
    observed = KINDS["async_invoke"].observe({"invocationArn": arn, "status": f"Status{number}"})
    change = Change(observed, None, {}, EventType.STATUS_CHANGED)
    return job_event(change, EventType.STATUS_CHANGED, Target("t", "us-east-1", "async_invoke"), NOW)


def place(event: Event) -> tuple[int, int]:
    """The inverse of `event_of`."""
    return int(event.data["job_id"]), int(event.data["status"].removeprefix("Status"))


class Told(Sink[SinkSettings]):
    """Does what the test says, and remembers what was sent.

    Args:
        does: Called with the events of each send; may wait, raise, or return.
    """

    batch_size = 1

    def __init__(
        self,
        does: Callable[[Sequence[Event]], Awaitable[None]] | None = None,
        *,
        name: str = "told",
        **settings: Any,
    ) -> None:
        retry = {"initial": "30s", "max": "1h", "give_up_after": "10h", **settings.pop("retry", {})}
        super().__init__(name, SinkSettings.model_validate({"type": "told", "retry": retry, **settings}))
        self._does = does
        self.sent: list[tuple[int, int]] = []
        self.at: list[float] = []
        self.now = self.most = 0
        self.closed = 0

    async def send(self, events: Sequence[Event]) -> None:
        """Send."""
        self.sent += [place(event) for event in events]
        self.at.append(time.monotonic())
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            if self._does is not None:
                await self._does(events)
        finally:
            self.now -= 1

    async def close(self) -> None:
        """Count it."""
        self.closed += 1


class Bench:
    """A store, and workers over it."""

    def __init__(self, url: str) -> None:
        self.ahead = 0.0
        self.database = Database(url, now=self._now)
        self.database.prepare()
        self.database.migrate()
        self.outbox = Outbox(self.database)
        self.metrics = Metrics()
        self.heartbeats = Heartbeats()
        self.threads = ThreadPoolExecutor(4)

    def _now(self) -> sa.ColumnElement[float]:
        time_of_day: sa.BindParameter[float] = sa.bindparam(
            "clock", callable_=lambda: time.time() + self.ahead, type_=sa.Double(), unique=True
        )
        return sa.cast(time_of_day, sa.Double())

    def owe(self, *places: tuple[int, int], sinks: tuple[str, ...] = ("told",)) -> None:
        """Record events that are owed."""
        owed = [(event_of(*each), sinks) for each in places]
        enqueue = Enqueue(self.database)
        self.database.write(lambda connection: enqueue(connection, owed))

    def worker(self, sink: Sink[Any], draw: float = 0.5, lease: float = 15) -> SinkWorker:
        """A worker whose jitter is known."""
        return SinkWorker(
            sink=sink,
            outbox=self.outbox,
            lease=lease,
            threads=self.threads,
            metrics=self.metrics,
            heartbeats=self.heartbeats,
            draw=lambda: draw,
        )

    def drain(self, *sinks: Sink[Any], draw: float = 0.5, grace: float = 5) -> None:
        """Deliver what is due."""

        async def main() -> None:
            async with asyncio.timeout(20):
                await asyncio.gather(
                    *(self.worker(sink, draw).run(grace=grace, until_idle=True) for sink in sinks)
                )

        asyncio.run(main())

    def run(
        self,
        sink: Sink[Any],
        until: Callable[[], bool],
        *,
        grace: float = 5,
        during: Callable[[], None] = lambda: None,
    ) -> SinkWorker:
        """Let a worker run until something is true, then stop it."""

        async def main() -> SinkWorker:
            worker = self.worker(sink)
            running = asyncio.create_task(worker.run(grace=grace))
            during()
            async with asyncio.timeout(20):
                while not until():  # noqa: ASYNC110 - until() may be anything
                    await asyncio.sleep(0.005)
                worker.stop()
                await running
            return worker

        return asyncio.run(main())

    def rows(self) -> list[Any]:
        """Every delivery."""
        with self.database.read() as connection:
            return list(connection.execute(sa.select(deliveries).order_by(deliveries.c.id)).all())

    def states(self) -> list[str]:
        """The state of every delivery, in the order they were owed."""
        return [row.state for row in self.rows()]

    def count(self, metric: str, **labels: str) -> float:
        """A metric's value."""
        labels = {"sink": "told", **labels} if metric != "leases_lost_total" else {}
        return self.metrics.registry.get_sample_value(f"bedrock_poller_{metric}", labels) or 0.0


@pytest.fixture
def bench(empty: Callable[[], str]) -> Iterator[Bench]:
    """A bench with an empty store, on both databases."""
    found = Bench(empty())
    yield found
    found.threads.shutdown()
    found.database.close()
