"""Replicas as real processes over a real PostgreSQL, in front of one simulator and one receiver."""

from __future__ import annotations

import contextlib
import json
import os
import signal
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import make_url

from tests.chaos.link import Link
from tests.chaos.oracle import read
from tests.harness.daemon import Daemon, environment, eventually
from tests.harness.receiver import SECRET, SENDER, Receiver

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from poller.simulator import SimulatorServer
    from tests.harness.postgres import Databases

LEASE = 1.0
HOOK = "hook"


class Scene:
    """Replicas, what they watch, and what they share; every replica has its own way to the database.

    Args:
        folder: For what they say.
        bedrock: AWS.
        databases: The server of the store.
    """

    def __init__(self, folder: Path, bedrock: SimulatorServer, databases: Databases) -> None:
        self.receiver = Receiver(name=HOOK)
        self._folder = folder
        self._bedrock = bedrock
        self._databases = databases
        self.url = databases.fresh()
        self._stack = contextlib.ExitStack()
        self._stack.callback(databases.drop, self.url)
        self._stack.enter_context(self.receiver)
        self._count = 0

    def close(self) -> None:
        """End everything."""
        self._stack.close()

    def start(self, *, code: Path | None = None, **settings: str) -> tuple[Daemon, Link]:
        """Start a replica; the name that the receiver knows it by is the number of its process's run."""
        self._count += 1
        link = self._stack.enter_context(Link(self._databases))
        sink = {
            "type": "webhook",
            "url": self.receiver.url,
            "secrets": [SECRET],
            "timeout": "500ms",
            "concurrency": 1,
            "headers": {SENDER: str(self._count)},
            "retry": {"initial": "100ms", "max": "200ms"},
        }
        own = {
            "STORE__URL": link.by_way(self.url),
            "STORE__LEASE": "1s",
            "SINKS": json.dumps({HOOK: sink}),
            "TARGETS": json.dumps([{"name": "all", "kinds": ["model_invocation_job"]}]),
            "LOG__FORMAT": "json",
            **settings,
        }
        environ = environment(self._bedrock.url, self._folder, **own)
        return self._stack.enter_context(Daemon(self._folder, environ, code=code)), link

    def ask(self, sql: str) -> list[tuple[Any, ...]]:
        """Ask the store."""
        return self._databases.execute(sql, make_url(self.url).database)

    def baselined(self) -> None:
        """Wait for the first listing of the target to be recorded."""
        eventually(lambda: self._has("targets") and self.ask("SELECT 1 FROM targets WHERE baselined"))

    def told(self, taken: bool = True) -> list[tuple[str, str]]:
        """Who sent which status, in order of arrival."""
        return [
            (copy.sender, read(copy.body).status) for copy in self.receiver.copies if copy.taken or not taken
        ]

    def status(self, arn: str) -> str:
        """What the store says of a job."""
        return str(self.ask(f"SELECT status FROM jobs WHERE arn = '{arn}'")[0][0])  # noqa: S608 - our own

    def _has(self, table: str) -> bool:
        return self.ask(f"SELECT to_regclass('{table}')") != [(None,)]


def pause(daemon: Daemon) -> None:
    """SIGSTOP a replica."""
    os.kill(daemon.process.pid, signal.SIGSTOP)


def go_on(daemon: Daemon) -> None:
    """SIGCONT it."""
    os.kill(daemon.process.pid, signal.SIGCONT)


@pytest.fixture
def scene(tmp_path: Path, bedrock: SimulatorServer, databases: Databases) -> Iterator[Scene]:
    """A scene without a replica yet."""
    found = Scene(tmp_path, bedrock, databases)
    yield found
    found.close()
