"""Loops away from the daemon's own, for sinks whose code or whose receivers are a stranger's.

A third party's code may block, and a hostile receiver may keep a parser busy. On the daemon's loop that would
hold up every other sink, the scheduler and the probes. So a third party's sink has a loop to itself, and the
sinks that speak HTTP share one: there a receiver holds up other receivers at most, within their deadlines.
"""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

from poller import logs
from poller.errors import DeliveryError, DeliveryReason
from poller.sinks.sink import Sink

if TYPE_CHECKING:
    from collections.abc import Awaitable, Coroutine, Sequence

    from poller.model import Event


_log = logs.get(__name__)


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

    def join(self) -> None:
        """Let one more sink use it."""
        self._sinks += 1

    def leave(self) -> None:
        """Let one sink less use it; without any, it ends as soon as nothing blocks it."""
        self._sinks -= 1
        if not self._sinks and self._is_running:
            self._loop.call_soon_threadsafe(self._end.set)

    def submit(self, work: Coroutine[Any, Any, None]) -> Future[None]:
        """Run `work` there."""
        if not self._is_running:
            self._start()
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    @property
    def _is_running(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def _start(self) -> None:
        begun: Future[asyncio.AbstractEventLoop] = Future()
        self._thread = threading.Thread(target=self._run, args=(begun,), name=self._name, daemon=True)
        self._thread.start()
        self._loop = begun.result()

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
        given_up = threading.Event()

        async def begin() -> None:
            if not given_up.is_set():
                await _contained(self.inner.send(events))

        try:
            await asyncio.wrap_future(self._loop.submit(begin()))
        except asyncio.CancelledError:
            given_up.set()
            raise

    async def close(self) -> None:
        """Close the inner sink, once, and leave its loop.

        Raises:
            BaseException: Whatever the inner one raises.
        """
        if self._closed:
            return
        self._closed = True
        try:
            await asyncio.wrap_future(self._loop.submit(_contained(self.inner.close())))
        finally:
            self._loop.leave()


async def _contained(call: Awaitable[None]) -> None:
    """Await `call`, and let nothing that it raises end the loop, and with it every later call.

    Raises:
        DeliveryError: It raised what would.
        BaseException: Whatever else it raised.
    """
    try:
        await call
    except (SystemExit, KeyboardInterrupt, GeneratorExit) as error:
        raise DeliveryError(f"the sink raised {type(error).__name__}", reason=DeliveryReason.SINK) from None
