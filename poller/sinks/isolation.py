"""Loops away from the daemon's own, for sinks whose code or whose receivers are a stranger's.

A third party's code may block, and a hostile receiver may keep a parser busy. On the daemon's loop that would
hold up every other sink, the scheduler and the probes. So a third party's sink has a loop to itself, and the
sinks that speak HTTP share one: there a receiver holds up other receivers at most, within their deadlines.

To wake another thread's loop costs as much as a good part of a POST. So what is handed over while a loop has
not woken yet goes along with what was handed over before.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from concurrent.futures import Future
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from poller import logs
from poller.errors import DeliveryError, DeliveryReason
from poller.sinks.sink import Sink

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from poller.model import Event


_log = logs.get(__name__)


class _Handover:
    """Lets another thread's loop call functions.

    Args:
        loop: The loop.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._calls: deque[Callable[[], None]] = deque()
        self._waking = False

    def hand(self, call: Callable[[], None]) -> None:
        """Call `call` there soon.

        Raises:
            RuntimeError: The loop has ended.
        """
        self._calls.append(call)
        if not self._waking:
            self._waking = True
            try:
                self.loop.call_soon_threadsafe(self._take)
            except RuntimeError:
                self._waking = False
                raise

    def _take(self) -> None:
        # First this, or what is handed over now would wait for the next call.
        self._waking = False
        while self._calls:
            self.loop.call_soon(self._calls.popleft())


class _Call:
    """Work on a sink's loop, and who waits for it on another.

    Args:
        work: Makes what is awaited.
        done: Of the loop that waits.
        back: Leads there.
    """

    def __init__(
        self, work: Callable[[], Awaitable[None]], done: asyncio.Future[None], back: _Handover
    ) -> None:
        self.done = done
        self.given_up = False
        self._work = work
        self._back = back
        self._task: asyncio.Task[None] | None = None

    def begin(self) -> None:
        """Begin, on the sink's loop."""
        if not self.given_up:
            self._task = asyncio.create_task(_contained(self._work))
            self._task.add_done_callback(self._end)

    def cancel(self) -> None:
        """End it, on the sink's loop."""
        if self._task is not None:
            self._task.cancel()

    def _end(self, task: asyncio.Task[None]) -> None:
        with suppress(RuntimeError):
            self._back.hand(lambda: self._tell(task))

    def _tell(self, task: asyncio.Task[None]) -> None:
        """Tell who waits, on its loop."""
        if self.done.done():
            return
        if task.cancelled():
            self.done.cancel()
        elif error := task.exception():
            self.done.set_exception(error)
        else:
            self.done.set_result(None)


class SinkLoop:
    """A loop in a daemon thread, which starts at its first use and ends with the last of its sinks.

    All methods are called from the daemon's own loop.

    Args:
        name: What the thread is called in a stack dump.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._sinks = 0
        self._thread: threading.Thread | None = None
        self._back: _Handover | None = None

    def join(self) -> None:
        """Let one more sink use it."""
        self._sinks += 1

    def leave(self) -> None:
        """Let one sink less use it; without any, it ends as soon as nothing blocks it."""
        self._sinks -= 1
        if not self._sinks and self._is_running:
            self._there.hand(self._end.set)

    async def run(self, work: Callable[[], Awaitable[None]]) -> None:
        """Await `work()` there; if this is canceled before that has begun, it never begins.

        Raises:
            BaseException: Whatever it raises.
        """
        if not self._is_running:
            self._start()
        here = asyncio.get_running_loop()
        if self._back is None or self._back.loop is not here:
            self._back = _Handover(here)
        call = _Call(work, here.create_future(), self._back)
        self._there.hand(call.begin)
        try:
            await call.done
        except asyncio.CancelledError:
            call.given_up = True
            with suppress(RuntimeError):
                self._there.hand(call.cancel)
            raise

    @property
    def _is_running(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def _start(self) -> None:
        begun: Future[asyncio.AbstractEventLoop] = Future()
        self._thread = threading.Thread(target=self._run, args=(begun,), name=self._name, daemon=True)
        self._thread.start()
        self._there = _Handover(begun.result())

    def _run(self, begun: Future[asyncio.AbstractEventLoop]) -> None:
        try:
            asyncio.run(self._live(begun))
        except RuntimeError as error:
            # A third party's code may have stopped it; the next call begins another.
            _log.warning("sink.loop_stopped", thread=self._name, error=str(error))

    async def _live(self, begun: Future[asyncio.AbstractEventLoop]) -> None:
        self._end = asyncio.Event()
        begun.set_result(asyncio.get_running_loop())
        await self._end.wait()


class IsolatedSink(Sink[Any]):
    """Runs another sink on a loop that is not the daemon's.

    Args:
        inner: The sink.
        loop: The loop, if it shares one with others.
    """

    def __init__(self, inner: Sink[Any], loop: SinkLoop | None = None) -> None:
        super().__init__(inner.name, inner.settings)
        self.inner = inner
        self.batch_size = inner.batch_size  # type: ignore[misc] # of this instance's own kind
        self._loop = loop or SinkLoop(f"sink-{inner.name}")
        self._loop.join()
        self._closed = False

    async def send(self, events: Sequence[Event]) -> None:
        """As the inner sink's; if it is canceled before the inner one has begun, that never begins.

        Raises:
            BaseException: Whatever the inner one raises.
        """
        await self._loop.run(lambda: self.inner.send(events))

    async def close(self) -> None:
        """Close the inner sink, once, and leave its loop.

        Raises:
            BaseException: Whatever the inner one raises.
        """
        if self._closed:
            return
        self._closed = True
        try:
            await self._loop.run(self.inner.close)
        finally:
            self._loop.leave()


async def _contained(work: Callable[[], Awaitable[None]]) -> None:
    """Await `work()`, and let nothing that it raises end the loop, and with it every later call.

    Raises:
        DeliveryError: It raised what would.
        BaseException: Whatever else it raised.
    """
    try:
        await work()
    except (SystemExit, KeyboardInterrupt, GeneratorExit) as error:
        raise DeliveryError(f"the sink raised {type(error).__name__}", reason=DeliveryReason.SINK) from None
