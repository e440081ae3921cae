"""A dispatcher before real polls of the simulator, whose targets are otherwise polled once an hour."""

from __future__ import annotations

import asyncio
import json
import threading
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from poller.heartbeats import Heartbeats
from poller.polling import PollScheduler
from poller.wake_ups import Dispatcher
from poller.wake_ups.sqs import Message
from tests.harness.cadence import fixed_cadence
from tests.polling.conftest import ASYNC, BATCH, baselined, bench, calls, credentials, log, simulator

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.polling.conftest import Bench

__all__ = ["baselined", "bench", "calls", "credentials", "log", "simulator"]

HOUR = 3600.0


class Stage:
    """Messages on the one hand, polls on the other."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.metrics = bench.metrics
        self.deleted: list[str] = []
        self.left: list[str] = []
        self.scheduler: PollScheduler
        self.dispatcher: Dispatcher

    def run(self, during: Callable[[], Awaitable[Any]]) -> None:
        """Let something happen while the scheduler runs; its first polls are over then."""

        async def main() -> None:
            poller = self.bench.poller()
            poller.listens = lambda _: True
            self.scheduler = PollScheduler(
                poller=poller,
                targets=[BATCH, ASYNC],
                cadence=fixed_cadence([BATCH, ASYNC], self.metrics, interval=HOUR),
                concurrency=4,
                stop=threading.Event(),
                metrics=self.metrics,
                heartbeats=Heartbeats(),
            )
            self.dispatcher = Dispatcher(
                targets=[BATCH, ASYNC],
                wake=self.scheduler.wake,
                snapshot=self.bench.snapshot,
                metrics=self.metrics,
            )
            self.scheduler.start()
            await self.until(lambda: self.polls(BATCH) == self.polls(ASYNC) == 1)
            await during()
            self.dispatcher.close()
            await self.scheduler.stop(5)

        asyncio.run(main())

    async def take(self, *bodies: Any) -> None:
        """Let messages come, in tens, as a queue gives them."""
        messages = [Message(each if isinstance(each, str) else json.dumps(each), "r") for each in bodies]
        for start in range(0, len(messages), 10):
            await self.dispatcher.take(messages[start : start + 10], self._settle)

    async def settled(self, *bodies: Any) -> None:
        """Let messages come, and wait until each is done with."""
        before = len(self.deleted) + len(self.left)
        await self.take(*bodies)
        await self.until(lambda: len(self.deleted) + len(self.left) == before + len(bodies))

    async def until(self, true: Callable[[], bool]) -> None:
        """Wait until something is true."""
        async with asyncio.timeout(20):
            while not true():  # noqa: ASYNC110 - what it waits for happens in a thread
                await asyncio.sleep(0.005)

    def _settle(self, message: Message, *, delete: bool) -> None:
        (self.deleted if delete else self.left).append(message.body)

    def polls(self, target: Any = BATCH) -> int:
        """How often a target was polled."""
        labels = {"target": target.name, "region": target.region, "kind": target.kind}
        return int(self.bench.count("polls_total", **labels))

    def results(self) -> dict[tuple[str, str], int]:
        """What came of the messages, by type and result."""
        found: Counter[tuple[str, str]] = Counter()
        for sample in next(iter(self.metrics.wake_ups.collect())).samples:
            if sample.name.endswith("_total") and sample.value:
                found[sample.labels["type"], sample.labels["result"]] += int(sample.value)
        return dict(found)


@pytest.fixture(params=["sqlite"])
def empty(request: pytest.FixtureRequest, tmp_path: Any) -> Callable[[], str]:
    """One database will do: what is asked of the store is tried on both by the store's own tests."""
    path = tmp_path / "poller.db"
    path.write_bytes(request.getfixturevalue("migrated"))
    return lambda: f"sqlite:///{path}"


@pytest.fixture
def stage(baselined: Bench, monkeypatch: pytest.MonkeyPatch) -> Stage:
    """The stage, where a second between two polls is a shorter time."""
    for module in ("pace", "scheduler"):
        monkeypatch.setattr(f"poller.polling.{module}.WAKE_SECONDS", 0.1)
    monkeypatch.setattr("poller.wake_ups.dispatcher.DELAYS_SECONDS", (0.01, 0.02, 0.03))
    return Stage(baselined)
