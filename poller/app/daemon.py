"""The daemon: starts the loops, reloads the configuration, and stops them in order.

The order of a stop: no new polls and no new sends; polls under way end at their next page, sends under way
get the grace period; then the web server, so that probes and a last scrape are answered; then the store.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from functools import partial
from typing import TYPE_CHECKING

from poller import __version__, logs
from poller.app.housekeeping import Retention, StoreGauges
from poller.app.pipeline import Pipeline
from poller.app.runtime import Components
from poller.app.systemd import SystemdNotifier
from poller.errors import ConfigError, LostStoreError, PollerError, StoreError
from poller.store import Outbox
from poller.store.queries import Browser
from poller.web import api, page, poll, reload
from poller.web.auth import AuthMiddleware
from poller.web.server import Health, WebServer, application, exposure
from poller.web.tls import CurrentCertificates

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Mapping

    from starlette.types import ASGIApp

    from poller.polling import PollReport
    from poller.settings.schema import Settings

_log = logs.get(__name__)

_GAUGES_SECONDS = 5.0
_JOBS_SECONDS = 60.0
"""How old the gauges of jobs may be, though this process has changed no job."""
_PAUSE_FACTOR = 20
_PRUNE_SECONDS = 3600.0
_ACCOUNTS_SECONDS = 1.0
_UNKNOWN_SECONDS = 60.0
"""Between two attempts to learn an account that could not be learned."""
_SIGNS = 3
"""Signs of life in each period of the watchdog."""
_FIXED = ("store", "web")
"""Sections that a reload leaves as they are, apart from `web.auth`: what they name is in use until the
process ends."""


class Daemon:
    """Runs until it is told to stop.

    Args:
        components: Built from the configuration.
        signals: Whether SIGTERM and SIGINT stop it; the caller may handle them.
        read: Reads the configuration again, blocking; `None` for a daemon that is never reloaded.
        systemd: Sends notifications to systemd.
    """

    def __init__(
        self,
        components: Components,
        *,
        signals: bool = True,
        read: Callable[[], Settings] | None = None,
        systemd: SystemdNotifier | None = None,
    ) -> None:
        self.components = components
        self._read = read
        self._systemd = systemd or SystemdNotifier()
        self._handlers: dict[signal.Signals, Callable[[], object]] = {}
        if signals:
            self._handlers |= {signal.SIGTERM: self.stop, signal.SIGINT: self.stop}
        if read is not None:
            self._handlers[signal.SIGHUP] = self._begin_reload
        self.web: WebServer | None = None
        self._guard: AuthMiddleware | None = None
        self.restart_needed: tuple[str, ...] = ()
        """Sections of the configuration that have changed and count after a restart only."""
        self.started = asyncio.Event()
        self._pipeline: Pipeline | None = None
        self._reload: asyncio.Task[str] | None = None
        self._reload_again = False
        self._switched = False
        self._read_again = False
        self._stop = asyncio.Event()
        self._running = False
        self._jobs_changed = True
        self._waiting = 0

    @property
    def pipeline(self) -> Pipeline:
        """What works now; there is one from the start on."""
        assert self._pipeline is not None  # noqa: S101 - the daemon has started
        return self._pipeline

    def stop(self) -> None:
        """Begin to stop; `run` returns when everything has ended. Call it from the loop's thread."""
        self._stop.set()

    async def run(self) -> bool:
        """Run until `stop`, SIGTERM or SIGINT.

        Returns:
            Whether everything ended in time. If not, a call to AWS is still under way in a thread, which
            the caller should not wait for.

        Raises:
            StoreError: The store cannot be used at the start.
            PollerError: The web server cannot listen.
        """
        with _handled(asyncio.get_running_loop(), self._handlers):
            try:
                await asyncio.to_thread(self.components.open_store)
                self._pipeline = self._build_pipeline(self.components)
                self.web = self._build_web()
                _log.info("daemon.starting", version=__version__, **_described(self.components))
                return await self._loops()
            finally:
                self._running = False
                self.components.stop.set()
                await asyncio.to_thread(self.components.close)
                _log.info("daemon.stopped")

    def _wake_workers(self, loop: asyncio.AbstractEventLoop) -> None:
        """Let every sink's worker look for due deliveries; called in the thread of a poll."""
        # The loop may have ended while a poll's thread was still at its last page.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(self.pipeline.wake)

    async def _loops(self) -> bool:
        self.components.snapshot.on_owed = partial(self._wake_workers, asyncio.get_running_loop())
        async with asyncio.TaskGroup() as group:
            if self.web is not None:
                group.create_task(self.web.serve(), name="web")
            keepers = [
                group.create_task(self._keep_gauges(), name="gauges"),
                group.create_task(self._keep_retention(), name="retention"),
                group.create_task(self._keep_watchdog(), name="watchdog"),
                group.create_task(self._keep_accounts(), name="accounts"),
            ]
            self._group = group
            self.pipeline.start(group)
            self._running = True
            self.components.metrics.reload_successful.set(1)
            self._systemd.ready(self._told)
            self.started.set()
            await self._stop.wait()
            self._running = False
            self._systemd.stopping()
            _log.info(
                "daemon.stopping", grace_seconds=self.components.settings.shutdown.grace.total_seconds()
            )
            # Side by side, so that the whole takes the grace period once.
            given_up, ended = await asyncio.gather(self._end_reload(), self.pipeline.stop())
            for keeper in keepers:
                keeper.cancel()
            if self.web is not None:
                self.web.stop()
        return ended and not given_up

    def _build_web(self) -> WebServer | None:
        components = self.components
        address = components.settings.web.address
        if address is None:
            return None
        health = Health(components.heartbeats.overdue, components.database.probe, lambda: self._running)
        browser = Browser(components.runtime.pages)
        further = [
            page.route(
                browser, Outbox(components.runtime.pages), lambda: tuple(self.components.settings.sinks)
            ),
            *api.routes(browser),
            poll.route(self._wake_target, lambda: self.components.settings.web.is_guarded),
        ]
        if self._read is not None and components.settings.web.reload:
            further.append(reload.route(self.reload, lambda: self.restart_needed))
        settings = components.settings.web
        app: ASGIApp = application(components.metrics.registry, health, further)
        self._guard = app = AuthMiddleware(app, settings.auth, components.metrics)
        certificates = CurrentCertificates(settings.tls, components.metrics) if settings.tls else None
        web = WebServer(app, *address, certificates)
        _log.info("web.listening", url=web.url)
        if why := exposure(web, settings):
            _log.warning("web.open", url=web.url, why=why)
        return web

    def _wake_target(self, target_id: str) -> Awaitable[object] | None:
        """Have a target polled, by the id that any of its names gives; `None` if there is no such target."""
        for target in self.components.targets:
            if target_id in {f"{name}/{target.region}/{target.kind}" for name in target.names}:
                return self.pipeline.scheduler.wake(target.id)
        return None

    def _build_pipeline(self, components: Components) -> Pipeline:
        return Pipeline(
            components,
            reported=self._reported,
            is_backlogged=lambda: self._waiting > self.components.settings.poll.backlog_limit,
        )

    async def reload(self) -> str:
        """Read the configuration again and work by it; if it is wrong, all stays as it is.

        Returns:
            What is wrong with it, and nothing if it is in force now.
        """
        self._begin_reload()
        if self._reload is None:
            return "the program is starting or stopping"
        try:
            return await asyncio.shield(self._reload)
        except asyncio.CancelledError:
            if self._running:
                raise
            return "the program is stopping"

    async def _end_reload(self) -> bool:
        """Give up a reload that is under way, or wait for its last step: the old pipeline's end.

        Returns:
            Whether it was given up: a thread of it may still wait for AWS.
        """
        if self._reload is None or self._reload.done():
            return False
        given_up = not self._switched
        if given_up:
            self._reload.cancel()
        await asyncio.wait([self._reload])
        return given_up

    def _begin_reload(self) -> None:
        if self._running:
            self._read_again = True
            self._begin_change()

    def _begin_change(self) -> None:
        if self._reload is not None and not self._reload.done():
            # The file may have changed since the one under way has read it.
            self._reload_again = True
        else:
            self._reload = self._group.create_task(self._reloaded(), name="reload")

    async def _reloaded(self) -> str:
        while True:
            self._reload_again, read_again, self._read_again = False, self._read_again, False
            self._systemd.reloading()
            if self.web is not None:
                self.web.refresh()
            wrong = await self._reload_once(self._read if read_again else None)
            if read_again:
                self.components.metrics.reload_successful.set(not wrong)
            self._systemd.ready(self._told)
            if not self._reload_again:
                return wrong

    async def _reload_once(self, read: Callable[[], Settings] | None) -> str:
        """Let a new pipeline take over; returns what is wrong with the configuration.

        Args:
            read: Reads it; `None` if it is still the same, and only the accounts have changed.
        """
        old = self.pipeline
        self._switched = False
        settings, fixed = old.components.settings, list[str]()
        try:
            if read is not None:
                settings = await asyncio.to_thread(read)
                kept = {name: getattr(old.components.settings, name) for name in _FIXED}
                kept["web"] = kept["web"].model_copy(update={"auth": settings.web.auth})
                fixed = [name for name in _FIXED if getattr(settings, name) != kept[name]]
                settings = settings.model_copy(update=kept)
            # The new configuration may come with other credentials.
            known = old.components.account_ids.known if read is None else None
            components = await asyncio.to_thread(
                Components,
                settings,
                runtime=old.components.runtime,
                accounts=old.components.accounts,
                account_ids=known,
            )
            await asyncio.to_thread(components.announce, discover=read is not None)
            pipeline = self._build_pipeline(components)
        except ConfigError as error:
            for problem in error.problems:
                _log.error("config.problem", problem=str(problem))
            _log.error("config.reload_failed", problems=len(error.problems))
            return str(error)
        except PollerError as error:
            _log.error("config.reload_failed", error=str(error))
            return str(error)
        except Exception as error:  # noqa: BLE001 - whatever is wrong with the new must not end the old
            _log.exception("config.reload_failed", error=type(error).__name__)
            return f"the new configuration cannot be used: {type(error).__name__}; the log has the traceback"
        stopping = asyncio.create_task(old.stop())
        self.components, self._pipeline = components, pipeline
        self._switched = True
        components.take_over()
        if self._guard is not None:
            self._guard.settings = settings.web.auth
        components.metrics.restart_needed.set(len(fixed))
        self.restart_needed = tuple(fixed)
        self._jobs_changed = True
        pipeline.start(self._group, after=old)
        await stopping
        await asyncio.to_thread(old.components.close, components)
        if fixed:
            _log.warning("config.restart_needed", sections=fixed)
        _log.info("config.reloaded", **_described(components))
        return ""

    def _reported(self, report: PollReport) -> None:
        self._jobs_changed = self._jobs_changed or report.changes > 0
        # The report of a poll that began before a reload may be about targets that are gone.
        known = report.target in self.components.targets
        if (
            known
            and report.account_id is not None
            and self.components.learn(report.target, report.account_id)
        ):
            self._begin_change()

    @property
    def _told(self) -> str:
        """One line on how it goes, for `systemctl status`."""
        return f"{len(self.components.targets)} targets, {self._waiting} deliveries waiting"

    async def _keep_watchdog(self) -> None:
        """Send signs of life while everything makes progress; without them systemd restarts the process."""
        period = self._systemd.watchdog
        while period:
            if overdue := self.components.heartbeats.overdue():
                _log.error(
                    "watchdog.withheld",
                    overdue_seconds={name: round(late, 1) for name, late in overdue.items()},
                )
            else:
                self._systemd.alive()
            await asyncio.sleep(period / _SIGNS)

    async def _keep_accounts(self) -> None:
        """Look at the organizations again and again; other accounts make another pipeline."""
        looked = asked = time.monotonic()
        while True:
            await asyncio.sleep(_ACCOUNTS_SECONDS)
            if self.components.unknown_accounts and time.monotonic() - asked >= _UNKNOWN_SECONDS:
                asked = time.monotonic()
                if await self._asked_for_accounts(self.components):
                    self._begin_change()
            refresh = self.components.refresh
            if refresh is None or time.monotonic() - looked < refresh:
                continue
            looked = time.monotonic()
            components = self.components
            found = await asyncio.to_thread(components.discover_accounts)
            if components is self.components and found != components.accounts:
                components.accounts = found
                self._begin_change()

    async def _asked_for_accounts(self, components: Components) -> bool:
        """Ask for the accounts that are unknown; whether there is news for the components that work now."""
        try:
            return await asyncio.to_thread(components.ask_for_accounts) and components is self.components
        except StoreError as error:
            _log.error("accounts.store_failed", error=str(error))
            return False

    async def _keep_gauges(self) -> None:
        components = self.components
        gauges = StoreGauges(components.metrics, components.snapshot, components.outbox)
        refreshed = float("-inf")
        while True:
            components.heartbeats.beat("gauges", within=_GAUGES_SECONDS)
            began = time.monotonic()
            # Other replicas change jobs too, without a report here.
            changed = self._jobs_changed or began - refreshed >= _JOBS_SECONDS
            self._jobs_changed = False
            try:
                if changed:
                    await asyncio.to_thread(gauges.refresh_jobs, self.components.targets)
                    refreshed = began
                self._waiting = await asyncio.to_thread(gauges.refresh_outbox, self.components.settings.sinks)
                self._systemd.status(self._told)
            except LostStoreError as error:
                # Nothing cures that but a restart, which an overdue loop asks the supervisor for.
                components.metrics.store_lost.set(1)
                components.heartbeats.beat("store", within=-components.heartbeats.patience)
                _log.error("store.lost", error=str(error))
            except StoreError as error:
                self._jobs_changed = True
                _log.error("gauges.failed", error=str(error))
            # Counting a backlog of a million takes a moment, and must not become the main work.
            pause = max(_GAUGES_SECONDS, _PAUSE_FACTOR * (time.monotonic() - began))
            components.heartbeats.beat("gauges", within=pause)
            await asyncio.sleep(pause)

    async def _keep_retention(self) -> None:
        components = self.components
        retention = Retention(
            components.outbox,
            components.metrics,
            older_than=components.settings.store.retention.total_seconds(),
        )
        while True:
            try:
                await asyncio.to_thread(retention.keep)
            except StoreError as error:
                _log.error("retention.failed", error=str(error))
            await asyncio.sleep(_PRUNE_SECONDS)


def _described(components: Components) -> dict[str, object]:
    return {
        "targets": [target.id for target in components.targets],
        "sinks": list(components.settings.sinks),
        "store": components.settings.store.display_url,
    }


@contextlib.contextmanager
def _handled(
    loop: asyncio.AbstractEventLoop, handlers: Mapping[signal.Signals, Callable[[], object]]
) -> Iterator[None]:
    for number, handler in handlers.items():
        loop.add_signal_handler(number, handler)
    try:
        yield
    finally:
        for number in handlers:
            loop.remove_signal_handler(number)
