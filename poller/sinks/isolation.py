"""A loop of its own for a sink that we did not write.

A third party's code may call something that blocks. On the daemon's loop that would hold up every other sink,
the scheduler and the probes; here it holds up its own sink, whose attempts then end at their deadline.
"""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

from poller import logs
from poller.errors import DeliveryError, DeliveryReason
from poller.sinks.contract import Sink

if TYPE_CHECKING:
    from collections.abc import Sequence

    from poller.model import Event

_log = logs.get(__name__)

_CLOSE_SECONDS = 5.0


class IsolatedSink(Sink[Any]):
    """Runs another sink in a daemon thread with a loop of its own.

    Args:
        inner: The sink.
    """

    def __init__(self, inner: Sink[Any]) -> None:
        super().__init__(inner.name, inner.settings)
        self.inner = inner
        self.batch_size = inner.batch_size  # type: ignore[misc] # of this instance's own kind
        self._loop: asyncio.AbstractEventLoop | None = None

    async def send(self, events: Sequence[Event]) -> None:
        """As the inner sink's; if it is cancelled before the inner one has begun, that never begins.

        Raises:
            BaseException: Whatever the inner one raises.
        """
        given_up = threading.Event()

        async def begin() -> None:
            if given_up.is_set():
                return
            try:
                await self.inner.send(events)
            except (SystemExit, KeyboardInterrupt, GeneratorExit) as error:
                # They would end the loop, and with it every later attempt.
                message = f"the sink raised {type(error).__name__}"
                raise DeliveryError(message, reason=DeliveryReason.SINK) from None

        running = asyncio.run_coroutine_threadsafe(begin(), self._started())
        try:
            await asyncio.wrap_future(running)
        except asyncio.CancelledError:
            given_up.set()
            raise

    async def close(self) -> None:
        """Close the inner sink, unless it is stuck, and end its loop. Repeating it does no harm."""
        loop, self._loop = self._loop, None
        if loop is None:
            await self.inner.close()
            return
        closing = asyncio.run_coroutine_threadsafe(self.inner.close(), loop)
        try:
            async with asyncio.timeout(_CLOSE_SECONDS):
                await asyncio.wrap_future(closing)
        except TimeoutError:
            _log.warning("sink.stuck", sink=self.name)
        finally:
            loop.call_soon_threadsafe(self._end.set)

    def _started(self) -> asyncio.AbstractEventLoop:
        if self._loop is None:
            begun: Future[asyncio.AbstractEventLoop] = Future()
            thread = threading.Thread(
                target=asyncio.run, args=(self._live(begun),), name=f"sink-{self.name}", daemon=True
            )
            thread.start()
            self._loop = begun.result()
        return self._loop

    async def _live(self, begun: Future[asyncio.AbstractEventLoop]) -> None:
        self._end = asyncio.Event()
        begun.set_result(asyncio.get_running_loop())
        await self._end.wait()
