"""A third party's sink in a loop of its own."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import replace
from datetime import timedelta
from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal

import pytest

from poller.delivery import attempt, close_sink
from poller.errors import DeliveryError, DeliveryReason
from poller.settings.sinks import SinkSettings
from poller.sinks.isolation import IsolatedSink, SinkLoop
from poller.sinks.sink import Sink
from tests.sinks.samples import EVENT, in_loop

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from poller.model import Event


class StrangeSettings(SinkSettings):
    """Nothing of its own."""

    type: Literal["strange"] = "strange"
    """Which sink this is."""


class Strange(Sink[StrangeSettings]):
    """Does as it is told, without ever yielding to the loop."""

    settings_type = StrangeSettings
    batch_size = 3

    def __init__(self, does: Callable[[], object] = lambda: None, timeout: str = "10s") -> None:
        super().__init__("strange", StrangeSettings.model_validate({"timeout": timeout}))
        self.does = does
        self.sent: list[str] = []
        self.closed = 0
        self.threads: set[str] = set()

    async def send(self, events: Sequence[Event]) -> None:
        """Send."""
        self.threads.add(threading.current_thread().name)
        self.sent += [event.id for event in events]
        self.does()

    async def close(self) -> None:
        """Count it."""
        self.closed += 1


def refuse() -> None:
    """Say no."""
    raise DeliveryError("no", reason=DeliveryReason.CLIENT_ERROR, permanent=True)


@in_loop
async def test_what_it_raises_arrives_and_what_it_takes_is_taken() -> None:
    """Its errors are its own, and it runs where it can hold up nobody."""
    inner = Strange()
    sink = IsolatedSink(inner)
    assert sink.batch_size == 3
    assert await attempt(sink, [EVENT]) == {}
    inner.does = refuse
    assert (await attempt(sink, [EVENT]))[EVENT.id].permanent
    await sink.close()
    await sink.close()
    assert inner.sent == [EVENT.id] * 2
    assert inner.threads == {"sink-strange"}
    assert inner.closed == 1


@in_loop
async def test_one_that_blocks_holds_up_itself_alone() -> None:
    """Everybody else goes on, attempts end at their deadline, what never began never happens (fault 37)."""
    gate = threading.Event()
    inner = Strange(lambda: gate.wait(30), timeout="100ms")
    sink = IsolatedSink(inner)
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0.001)

    busy = asyncio.create_task(others())
    for _ in range(3):
        error = (await attempt(sink, [EVENT]))[EVENT.id]
        assert error.reason is DeliveryReason.TIMEOUT
    assert turns > 10
    gate.set()
    busy.cancel()
    inner.does = lambda: None
    assert await attempt(sink, [EVENT]) == {}
    assert len(inner.sent) == 2
    await sink.close()


@in_loop
async def test_what_comes_together_is_handed_over_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """The loops wake each other less often than once for each send; order and answers stay each one's own."""
    woken = 0
    wake = asyncio.SelectorEventLoop.call_soon_threadsafe

    def counting(loop: asyncio.SelectorEventLoop, *args: Any, **options: Any) -> asyncio.Handle:
        nonlocal woken
        woken += 1
        return wake(loop, *args, **options)

    inner = Strange()
    sink = IsolatedSink(inner)
    await attempt(sink, [EVENT])
    inner.does = lambda: refuse() if inner.sent[-1] in {"3", "5"} else None
    monkeypatch.setattr(asyncio.SelectorEventLoop, "call_soon_threadsafe", counting)
    events = [replace(EVENT, id=str(number)) for number in range(20)]
    failures = await asyncio.gather(*(attempt(sink, [event]) for event in events))
    monkeypatch.undo()
    assert inner.sent[1:] == [event.id for event in events]
    assert [number for number, failure in enumerate(failures) if failure] == [3, 5]
    assert woken < len(events)
    await sink.close()


@in_loop
async def test_one_that_never_comes_back_does_not_hold_up_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Closing waits a little and then leaves it behind."""
    monkeypatch.setattr(import_module("poller.delivery.attempt"), "_CLOSING", timedelta(milliseconds=50))
    gate = threading.Event()
    sink = IsolatedSink(Strange(lambda: gate.wait(30), timeout="50ms"))
    assert await attempt(sink, [EVENT])
    with pytest.raises(DeliveryError, match="no full answer within 50ms"):
        await close_sink(sink)
    gate.set()
    _ended("sink-strange")


@in_loop
async def test_sinks_share_a_loop_until_the_last_one_is_closed() -> None:
    """One thread serves them all, and ends with the last of them; what one raises is not the others' end."""
    loop = SinkLoop("shared")
    inner = [Strange(), Strange(exit_)]
    sinks = [IsolatedSink(each, loop) for each in inner]
    for _ in range(2):
        assert await attempt(sinks[0], [EVENT]) == {}
        assert (await attempt(sinks[1], [EVENT]))[EVENT.id].reason is DeliveryReason.SINK
    assert inner[0].threads == inner[1].threads == {"shared"}
    await sinks[1].close()
    assert await attempt(sinks[0], [EVENT]) == {}
    await sinks[0].close()
    _ended("shared")


@in_loop
async def test_a_loop_that_a_sink_has_stopped_is_begun_again() -> None:
    """The attempt ends at its deadline, and the next one works (fault 65)."""
    inner = Strange(lambda: asyncio.get_running_loop().stop(), timeout="200ms")
    sink = IsolatedSink(inner)
    await attempt(sink, [EVENT])
    _ended("sink-strange")
    inner.does = lambda: None
    assert await attempt(sink, [EVENT]) == {}
    await sink.close()


def exit_() -> None:
    """End the program, or try to."""
    raise SystemExit(3)


def _ended(name: str) -> None:
    for thread in threading.enumerate():
        if thread.name == name:
            thread.join(10)
            assert not thread.is_alive()
