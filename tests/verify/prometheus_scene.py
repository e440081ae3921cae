"""Daemons and what goes wrong with them: each fault with the alert that has to tell it.

Every daemon is a job of its own, with an AWS and a store of its own, so that the alert of each fault is told
from those of the others. Faults happen outside of them: in AWS, in receivers, in files, in the store.
"""

from __future__ import annotations

import contextlib
import json
import signal
import sqlite3
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Self

from poller.simulator import Simulator, SimulatorServer, Workload, faults
from tests.harness.daemon import Daemon, environment
from tests.harness.receiver import SECRET, Receiver

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

Alert = tuple[str, str]
"""An alert's name, and the job that it is about."""

_LATE_JOBS = 40
_MANY_JOBS = 200


class Clock:
    """The time of a simulated AWS, which can be moved."""

    def __init__(self) -> None:
        self.ahead = timedelta()

    def __call__(self) -> datetime:
        """The time there."""
        return datetime.now(UTC) + self.ahead


@dataclass(frozen=True)
class Fault:
    """Something that goes wrong, and the alert that has to tell it."""

    what: str
    alert: Alert
    begin: Callable[[], None]


class Scene:
    """The daemons, their AWS and their receivers; a context manager.

    Args:
        folder: Where everything is kept.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._stack: contextlib.ExitStack
        self.daemons: dict[str, Daemon] = {}
        self.clock = Clock()
        busy = Workload(per_minute=30, jobs=8, history=20)
        self.well = Simulator(seed=1, speed=120, workload=busy)
        self.aws = Simulator(seed=2, speed=120, workload=busy, clock=self.clock)
        self.throttling = Simulator(seed=3, speed=120, workload=busy)
        self.flood = Simulator(seed=4, speed=120, workload=busy)
        self.ops = Receiver(name="ops")
        self.strict = Receiver()
        self.gone = Receiver()
        self.fine = Receiver()

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            self._stack = stack
            self._begin()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _begin(self) -> None:
        for receiver in (self.ops, self.strict, self.gone, self.fine):
            self._stack.enter_context(receiver)
        self._start("well", self.well, {"ops": self.fine.url})
        self._start("aws", self.aws, {}, regions=["us-east-1", "eu-west-1"])
        self._start("throttled", self.throttling, {})
        urls = {"ops": self.ops.url, "strict": self.strict.url, "gone": self.gone.url}
        self._start("sinks", self.flood, urls)

    def addresses(self) -> dict[str, str]:
        """Where each daemon is scraped."""
        return {job: daemon.url.removeprefix("http://") for job, daemon in self.daemons.items()}

    def faults(self) -> list[Fault]:
        """What goes wrong, in this order."""
        eu = faults.AccessDenied(region="eu-west-1")
        us = faults.Throttle(probability=0.4)
        return [
            Fault(
                "a region is denied to a daemon that had seen it",
                ("BedrockPollerPollsFailing", "aws"),
                lambda: self.aws.faults.add(eu),
            ),
            Fault(
                "a daemon starts that may see nothing",
                ("BedrockPollerTargetStale", "blind"),
                self._start_blind,
            ),
            Fault(
                "4 of 10 requests are throttled",
                ("BedrockPollerThrottled", "throttled"),
                lambda: self.throttling.faults.add(us),
            ),
            Fault(
                f"{_LATE_JOBS} jobs show only an hour after they ended",
                ("BedrockPollerDetectionSlow", "aws"),
                self._late,
            ),
            Fault(
                "a job is listed without a status",
                ("BedrockPollerItemsQuarantined", "aws"),
                self._malformed,
            ),
            Fault(
                "an invocation of two days ago is still open",
                ("BedrockPollerJobOpenTooLong", "aws"),
                self._old,
            ),
            Fault("AWS is two minutes ahead", ("BedrockPollerClockSkew", "aws"), self._skew),
            Fault(
                "somebody else takes the leases in the middle of polls",
                ("BedrockPollerLeasesLost", "aws"),
                self._steal,
            ),
            Fault(
                f"a receiver is down while {_MANY_JOBS} jobs come",
                ("BedrockPollerOutboxGrowing", "sinks"),
                self._down,
            ),
            Fault(
                "what it is owed is made two hours older, in the store",
                ("BedrockPollerOutboxOld", "sinks"),
                self._age,
            ),
            Fault(
                "a receiver refuses everything with 400",
                ("BedrockPollerDeadLetters", "sinks"),
                lambda: setattr(self.strict, "answer", lambda _: 400),
            ),
            Fault(
                "a receiver answers 410",
                ("BedrockPollerSinkParked", "sinks"),
                lambda: setattr(self.gone, "answer", lambda _: 410),
            ),
            Fault(
                "SIGHUP, and a mistake in the configuration",
                ("BedrockPollerConfigReloadFailed", "sinks"),
                self._mistake,
            ),
        ]

    def _start(
        self,
        job: str,
        simulator: Simulator,
        hooks: Mapping[str, str],
        regions: Iterable[str] = ("us-east-1",),
        **settings: str,
    ) -> None:
        server = self._stack.enter_context(SimulatorServer(simulator))
        folder = self._folder / job
        folder.mkdir()
        (folder / "config.yaml").write_text("log: {level: info}\n")
        retry = {"initial": "50ms", "max": "2s"}
        sinks: dict[str, Any] = {"log": {"type": "log"}} | {
            name: {"type": "webhook", "url": url, "secrets": [SECRET], "timeout": "2s", "retry": retry}
            for name, url in hooks.items()
        }
        own = {
            "STORE__URL": f"sqlite:///{folder / 'poller.db'}",
            "TARGETS": json.dumps([{"name": job, "regions": list(regions)}]),
            "SINKS": json.dumps(sinks),
            "POLL__INTERVAL": "500ms",
            "POLL__IDLE_INTERVAL": "500ms",
            "POLL__FULL_SCAN_INTERVAL": "5s",
            **settings,
        }
        environ = environment(server.url, folder, **own)
        daemon = Daemon(folder, environ, "run", "--config", str(folder / "config.yaml"))
        self.daemons[job] = self._stack.enter_context(daemon)

    def _start_blind(self) -> None:
        simulator = Simulator(seed=5)
        simulator.faults.add(faults.AccessDenied())
        self._start("blind", simulator, {})

    def _late(self) -> None:
        for _ in range(_LATE_JOBS):
            self.aws.submit_async(
                submitted_at=self.clock() - timedelta(hours=2),
                script=[("InProgress", 0.0), ("Completed", 3600.0)],
            )

    def _malformed(self) -> None:
        arn = self.aws.submit_async(script=[("InProgress", 0.0)])
        self.aws.faults.add(faults.Change(lambda item: {**item, "status": None}, arn=arn))

    def _old(self) -> None:
        self.aws.submit_async(submitted_at=self.clock() - timedelta(days=2), script=[("InProgress", 0.0)])

    def _skew(self) -> None:
        self.clock.ahead = timedelta(minutes=2)

    def _steal(self) -> None:
        with self.aws.faults.active(faults.Latency(region="us-east-1", seconds=0.3)):
            for _ in range(30):
                self._in_store("aws", "UPDATE targets SET epoch = epoch + 1 WHERE region = 'us-east-1'")
                time.sleep(0.15)

    def _down(self) -> None:
        self.ops.shut()
        self.flood.populate(jobs=_MANY_JOBS, spread=8.0)

    def _age(self) -> None:
        # What is recorded only now stays as young as it is.
        time.sleep(2.0)
        self._in_store(
            "sinks",
            "UPDATE deliveries SET created_at = created_at - 7200 WHERE sink = 'ops' AND state = 'pending'",
        )

    def _mistake(self) -> None:
        (self._folder / "sinks" / "config.yaml").write_text("sink: {}\n")
        self.daemons["sinks"].process.send_signal(signal.SIGHUP)

    def _in_store(self, job: str, statement: str) -> None:
        with (
            contextlib.closing(sqlite3.connect(self._folder / job / "poller.db", timeout=10)) as store,
            store,
        ):
            store.execute(statement)
