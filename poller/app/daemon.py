"""The daemon: starts the loops, and stops them in order.

The order of a stop: no new polls and no new sends; polls under way end at their next page, sends under way
get the grace period; then the web server, so that probes and a last scrape are answered; then the store.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from typing import TYPE_CHECKING

from poller import __version__, logs
from poller.app.gauges import StoreGauges
from poller.app.retention import Retention
from poller.errors import StoreError
from poller.polling import PollScheduler
from poller.store.browse import Browser
from poller.web import api, page
from poller.web.server import Health, WebServer, application

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from poller.app.parts import Parts
    from poller.delivery import SinkWorker
    from poller.model import Target
    from poller.polling import Report

_log = logs.get(__name__)

_GAUGES_SECONDS = 5.0
_PAUSE_FACTOR = 20
_PRUNE_SECONDS = 3600.0
_LOOP_SECONDS = 60.0


class Daemon:
    """Runs until it is told to stop.

    Args:
        parts: The parts.
        signals: Whether SIGTERM and SIGINT stop it; somebody else may want them.
    """

    def __init__(self, parts: Parts, *, signals: bool = True) -> None:
        self.parts = parts
        self._signals = (signal.SIGTERM, signal.SIGINT) if signals else ()
        self.web: WebServer | None = None
        self.scheduler: PollScheduler | None = None
        self.started = asyncio.Event()
        self._stop = asyncio.Event()
        self._running = False
        self._jobs_changed = True
        self._waiting = 0
        self._workers: list[SinkWorker] = []

    def stop(self) -> None:
        """Begin to stop; `run` returns when everything has ended. Call it from the loop's thread."""
        self._stop.set()

    async def run(self) -> bool:
        """Run until `stop`, SIGTERM or SIGINT.

        Returns:
            Whether everything ended in time. If not, a call to AWS is still under way in a thread, whose end
            nobody should wait for.

        Raises:
            StoreError: The store cannot be used at the start.
            PollerError: The web server cannot listen.
        """
        parts = self.parts
        loop = asyncio.get_running_loop()
        with _handled(loop, self._signals, self._stop.set):
            try:
                await asyncio.to_thread(parts.open_store)
                self._workers = parts.workers()
                self.scheduler = self._build_scheduler(loop)
                self.web = self._build_web()
                _log.info(
                    "daemon.starting",
                    version=__version__,
                    targets=[target.id for target in parts.targets],
                    sinks=list(parts.settings.sinks),
                    store=parts.settings.store.display_url,
                )
                return await self._loops(self.scheduler)
            finally:
                self._running = False
                parts.stop.set()
                await asyncio.to_thread(parts.close)
                _log.info("daemon.stopped")

    async def _loops(self, scheduler: PollScheduler) -> bool:
        grace = self.parts.settings.shutdown.grace.total_seconds()
        async with asyncio.TaskGroup() as group:
            if self.web is not None:
                group.create_task(self.web.serve(), name="web")
            workers = [
                group.create_task(worker.run(grace=grace), name=worker.name) for worker in self._workers
            ]
            keepers = [
                group.create_task(scheduler.watch_clock(), name="clock"),
                group.create_task(self._keep_gauges(), name="gauges"),
                group.create_task(self._keep_retention(), name="retention"),
            ]
            scheduler.start()
            self._running = True
            self.parts.metrics.reload_successful.set(1)
            self.started.set()
            await self._stop.wait()
            self._running = False
            _log.info("daemon.stopping", grace_seconds=grace)
            # Side by side, so that the whole takes the grace period once.
            for worker in self._workers:
                worker.stop()
            ended, _ = await asyncio.gather(scheduler.stop(grace), asyncio.wait(workers))
            for keeper in keepers:
                keeper.cancel()
            if self.web is not None:
                self.web.stop()
        return ended

    def _build_web(self) -> WebServer | None:
        parts = self.parts
        address = parts.settings.web.address
        if address is None:
            return None
        health = Health(parts.progress.overdue, parts.database.probe, lambda: self._running)
        browser = Browser(parts.database)
        further = [page.route(browser, parts.outbox, tuple(parts.settings.sinks)), *api.routes(browser)]
        web = WebServer(application(parts.metrics.registry, health, further), *address)
        _log.info("web.listening", url=web.url)
        return web

    def _build_scheduler(self, loop: asyncio.AbstractEventLoop) -> PollScheduler:
        parts = self.parts
        poll = parts.settings.poll

        def recorded() -> None:
            # The loop may have ended while a poll's thread was still at its last page.
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(self._wake)

        def alive(target: Target) -> None:
            scheduler.expect(target)

        cycle = parts.cycle(bounded=True, recorded=recorded, alive=alive)
        scheduler = PollScheduler(
            cycle=cycle,
            targets=list(parts.targets),
            interval=poll.interval,
            idle_interval=poll.idle_interval,
            concurrency=poll.concurrency,
            stop=parts.stop,
            metrics=parts.metrics,
            progress=parts.progress,
            reported=self._reported,
            crowded=lambda: self._waiting > poll.backlog_limit,
        )
        return scheduler

    def _wake(self) -> None:
        for worker in self._workers:
            worker.wake()

    def _reported(self, report: Report) -> None:
        self._jobs_changed = self._jobs_changed or report.changes > 0

    async def _keep_gauges(self) -> None:
        parts = self.parts
        gauges = StoreGauges(parts.metrics, parts.snapshot, parts.outbox, parts.settings.sinks)
        pause = _GAUGES_SECONDS
        while True:
            parts.progress.beat("gauges", within=pause + _LOOP_SECONDS)
            changed, self._jobs_changed = self._jobs_changed, False
            began = time.monotonic()
            try:
                if changed:
                    await asyncio.to_thread(gauges.refresh_jobs)
                self._waiting = await asyncio.to_thread(gauges.refresh_outbox)
            except StoreError as error:
                self._jobs_changed = True
                _log.error("gauges.failed", error=str(error))
            # Counting a backlog of a million takes a moment, and must not become the main work.
            pause = max(_GAUGES_SECONDS, _PAUSE_FACTOR * (time.monotonic() - began))
            await asyncio.sleep(pause)

    async def _keep_retention(self) -> None:
        parts = self.parts
        retention = Retention(
            parts.outbox, parts.metrics, older_than=parts.settings.store.retention.total_seconds()
        )
        while True:
            try:
                await asyncio.to_thread(retention.keep)
            except StoreError as error:
                _log.error("retention.failed", error=str(error))
            await asyncio.sleep(_PRUNE_SECONDS)


@contextlib.contextmanager
def _handled(
    loop: asyncio.AbstractEventLoop, numbers: Iterable[signal.Signals], handler: Callable[[], None]
) -> Iterator[None]:
    for number in numbers:
        loop.add_signal_handler(number, handler)
    try:
        yield
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)
