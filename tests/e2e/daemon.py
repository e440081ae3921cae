"""The real program as a subprocess, and what it says."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from typing import TYPE_CHECKING, Any, Self

import sqlalchemy as sa

from poller.store import Database
from poller.store.tables import deliveries

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

PATIENCE = 25.0


def eventually(true: Callable[[], Any], what: str = "", seconds: float = PATIENCE) -> Any:
    """Wait until something is true, and return it.

    Raises:
        TimeoutError: It did not come true.
    """
    limit = time.monotonic() + seconds
    while not (found := true()):
        if time.monotonic() > limit:
            raise TimeoutError(what or "it never came true")
        time.sleep(0.02)
    return found


def environment(url: str, folder: Path, **settings: str) -> dict[str, str]:
    """Variables for a program that takes the simulator for AWS; settings are `POLL__INTERVAL="1s"`."""
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("AWS_", "BEDROCK_POLLER_", "CHAOS_", "STATE_DIRECTORY", "XDG_"))
    }
    own = {
        "POLL__INTERVAL": "200ms",
        "POLL__IDLE_INTERVAL": "200ms",
        "STORE__LEASE": "1s",
        "AWS__REQUESTS_PER_SECOND": "200",
        "WEB__LISTEN": "127.0.0.1:0",
        **settings,
    }
    return {
        **inherited,
        "HOME": str(folder),
        "AWS_ACCESS_KEY_ID": "AKIDE2E",
        "AWS_SECRET_ACCESS_KEY": "not-a-secret",
        "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_ENDPOINT_URL_BEDROCK": url,
        "AWS_ENDPOINT_URL_BEDROCK_RUNTIME": url,
        "AWS_ENDPOINT_URL_STS": url,
        **{f"BEDROCK_POLLER_{name}": value for name, value in own.items()},
    }


def pass_time(url: str) -> None:
    """Let every lease on a delivery run out, as it does some time after a kill."""
    leased = sa.update(deliveries).where(deliveries.c.lease_until.is_not(None))
    with contextlib.closing(Database(url)) as database:
        database.write(lambda connection: connection.execute(leased.values(lease_until=1)))


class Daemon:
    """One run of the daemon; a context manager that leaves no process behind.

    Args:
        folder: Where its output goes.
        environ: Its environment.
        arguments: The command line.
        code: The folder of the program, if it is not this checkout.
    """

    runs = 0

    def __init__(
        self, folder: Path, environ: Mapping[str, str], *arguments: str, code: Path | None = None
    ) -> None:
        Daemon.runs += 1
        self._out = folder / f"out-{Daemon.runs}"
        self._err = folder / f"err-{Daemon.runs}"
        self._environ = environ
        self._arguments = arguments or ("run",)
        self._code = code
        self.process: subprocess.Popen[bytes]

    def __enter__(self) -> Self:
        with self._out.open("wb") as out, self._err.open("wb") as err:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "poller", *self._arguments],
                env=dict(self._environ),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                cwd=self._code,
            )
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    @property
    def output(self) -> str:
        """Standard output so far."""
        return self._out.read_text()

    @property
    def errors(self) -> str:
        """Standard error so far."""
        return self._err.read_text()

    def events(self) -> list[dict[str, Any]]:
        """The events on standard output so far."""
        return [json.loads(line) for line in self.output.splitlines(keepends=True) if line.endswith("\n")]

    def log(self, event: str) -> list[dict[str, Any]]:
        """The lines of the log about something."""
        lines = [json.loads(line) for line in self.errors.splitlines(keepends=True) if line.endswith("}\n")]
        return [line for line in lines if line["event"] == event]

    def said(self, event: str, times: int = 1) -> list[dict[str, Any]]:
        """Wait until the log has spoken of something so many times."""

        def enough() -> list[dict[str, Any]]:
            assert self.process.poll() is None or self.log(event), self.errors
            found = self.log(event)
            return found if len(found) >= times else []

        found: list[dict[str, Any]] = eventually(enough, f"{event} x {times}")
        return found

    def polled(self, times: int = 2) -> None:
        """Wait for polls that begin from now on to be finished."""
        self.said("poll.finished", len(self.log("poll.finished")) + 2 * times)

    @property
    def url(self) -> str:
        """Where its web server listens."""
        return str(self.said("web.listening")[0]["url"])

    def get(self, path: str) -> str:
        """Get a page of it."""
        with urllib.request.urlopen(self.url + path, timeout=10) as answer:  # noqa: S310
            return str(answer.read().decode())

    def kill(self) -> None:
        """SIGKILL it, if it still runs."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(10)

    def terminate(self) -> int:
        """SIGTERM it, and return its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE)
