"""Runs the demo and judges it.

The verdict is not the daemon's own: at the end the simulator's time stands still, every target is polled once
more, and what the receiver got is compared with what the simulator knows to be true.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import signal
import socket
import tempfile
import time
from base64 import b64encode
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from poller.app import Components, Daemon, load_settings
from poller.demo.receiver import Receiver
from poller.demo.show import Show
from poller.simulator import Simulator, SimulatorServer
from poller.store.queries import Browser

if TYPE_CHECKING:
    from collections.abc import Mapping

_REGION = "us-east-1"
_PREFERRED_PORT = 9477
_SETTLE_SECONDS = 30.0
_HISTORY = 20
_SUBMITTING = 0.5
"""Which part of the time new jobs are submitted in, so that some of them end before the demo does."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """How the demo ended.

    Args:
        transitions: Changes of status that scans saw.
        delivered: How many of them the receiver got, with a right signature.
        lost: Transitions not delivered, and jobs whose present status was never seen.
        duplicates: Copies the receiver dropped.
    """

    transitions: int
    delivered: int
    lost: int
    duplicates: int

    @property
    def lossless(self) -> bool:
        """Whether there was something to deliver, and all of it arrived."""
        return self.lost == 0 and self.transitions > 0

    @property
    def line(self) -> str:
        """The last line of the demo, for people and scripts."""
        return (
            f"demo: transitions={self.transitions} delivered={self.delivered} "
            f"lost={self.lost} duplicates={self.duplicates}"
        )


class _Clock:
    """The simulator's time, which can be made to stand still."""

    def __init__(self) -> None:
        self._stopped: datetime | None = None

    def __call__(self) -> datetime:
        return self._stopped or datetime.now(UTC)

    def stop(self) -> None:
        self._stopped = datetime.now(UTC)


class Demo:
    """One demo.

    Args:
        seconds: How long; 0 until SIGINT or SIGTERM.
        jobs: Jobs to submit, of both kinds.
        speed: How much faster than real jobs.
        seed: Decides what the jobs do.
    """

    def __init__(self, *, seconds: float, jobs: int, speed: float, seed: int) -> None:
        self._seconds = seconds
        self._jobs = jobs
        self._clock = _Clock()
        self._simulator = Simulator(seed=seed, speed=speed, clock=self._clock)

    async def run(self) -> Verdict:
        """Run it to its end."""
        secret = "whsec_" + b64encode(secrets.token_bytes(24)).decode()
        show = Show(Console())
        receiver = Receiver(secret, show.arrived)
        with (
            tempfile.TemporaryDirectory(prefix="bedrock-poller-demo-") as folder,
            SimulatorServer(self._simulator) as server,
        ):
            await receiver.start()
            try:
                _use(server.url)
                components = Components(load_settings(None, _settings(Path(folder), receiver.url, secret)))
                return await self._watch(Daemon(components, signals=False), receiver, show)
            finally:
                await receiver.stop()

    async def _watch(self, daemon: Daemon, receiver: Receiver, show: Show) -> Verdict:
        self._simulator.populate(history=_HISTORY, region=_REGION)
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        running = asyncio.create_task(daemon.run())
        started = asyncio.create_task(daemon.started.wait())
        await asyncio.wait({running, started}, return_when=asyncio.FIRST_COMPLETED)
        if running.done():
            started.cancel()
            await running
        await self._seen_by_all(daemon, receiver, since=time.monotonic())
        spread = (self._seconds or 60.0) * _SUBMITTING
        self._simulator.populate(jobs=self._jobs, region=_REGION, spread=spread)
        show.begin(self._jobs, daemon.web.url if daemon.web else None, self._seconds)
        try:
            async with asyncio.timeout(self._seconds or None):
                await stop.wait()
        except TimeoutError:
            pass
        self._clock.stop()
        show.judging()
        await self._seen_by_all(daemon, receiver, since=time.monotonic())
        verdict = self._judge(daemon.components, receiver)
        daemon.stop()
        await running
        return verdict

    async def _seen_by_all(self, daemon: Daemon, receiver: Receiver, *, since: float) -> None:
        """Wait until a poll that began after `since` has seen each target whole, and all is delivered."""
        components = daemon.components
        waiting = set(components.targets)
        while waiting and time.monotonic() < since + _SETTLE_SECONDS:
            for target in tuple(waiting):
                report = await daemon.pipeline.scheduler.poll(target)
                if report is not None and report.claimed and report.failure is None:
                    waiting.discard(target)
            await asyncio.sleep(0.05)
        browser = Browser(components.database)
        while time.monotonic() < since + _SETTLE_SECONDS:
            if not await asyncio.to_thread(browser.event_ids) - receiver.bodies.keys():
                return
            await asyncio.sleep(0.1)

    def _judge(self, components: Components, receiver: Receiver) -> Verdict:
        browser = Browser(components.database)
        recorded = browser.event_ids()
        delivered = recorded & receiver.bodies.keys()
        known = dict(browser.statuses())
        unseen = sum(known.get(job.arn) != job.status for job in self._simulator.jobs())
        return Verdict(
            transitions=len(recorded),
            delivered=len(delivered),
            lost=len(recorded) - len(delivered) + unseen + receiver.forged + receiver.altered,
            duplicates=receiver.duplicates,
        )


def _use(url: str) -> None:
    """Point the SDK at the simulator, and away from whatever is configured on this machine."""
    for name in ("AWS_PROFILE", "AWS_DEFAULT_PROFILE", "AWS_SESSION_TOKEN", "AWS_BEARER_TOKEN_BEDROCK"):
        os.environ.pop(name, None)
    os.environ.update(
        {
            "AWS_ACCESS_KEY_ID": "demo",
            "AWS_SECRET_ACCESS_KEY": "demo",
            "AWS_REGION": _REGION,
            "AWS_DEFAULT_REGION": _REGION,
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "AWS_ENDPOINT_URL_BEDROCK": url,
            "AWS_ENDPOINT_URL_BEDROCK_RUNTIME": url,
            "AWS_ENDPOINT_URL_STS": url,
        }
    )


def _settings(folder: Path, url: str, secret: str) -> Mapping[str, str]:
    """The configuration, as environment variables would give it."""
    secret_file = folder / "secret"
    secret_file.touch(mode=0o600)
    secret_file.write_text(secret)
    sink: dict[str, Any] = {
        "type": "webhook",
        "url": url,
        "secret_files": [str(secret_file)],
        "retry": {"initial": "500ms", "max": "5s"},
    }
    return {
        "BEDROCK_POLLER_POLL__INTERVAL": "1s",
        "BEDROCK_POLLER_POLL__IDLE_INTERVAL": "1s",
        "BEDROCK_POLLER_AWS__REQUESTS_PER_SECOND": "50",
        "BEDROCK_POLLER_STORE__URL": f"sqlite:///{folder / 'poller.db'}",
        "BEDROCK_POLLER_SINKS": json.dumps({"receiver": sink}),
        "BEDROCK_POLLER_WEB__LISTEN": f"127.0.0.1:{_port()}",
    }


def _port() -> int:
    """The usual port if it is free, otherwise any."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", _PREFERRED_PORT))
        except OSError:
            return 0
    return _PREFERRED_PORT
