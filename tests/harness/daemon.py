"""The real program as a process of its own, and what it says.

Programs are forked from a process that has imported everything, because a start from nothing takes seconds.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import sqlalchemy as sa

from poller.store import Database
from poller.store.tables import deliveries

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

PATIENCE = 25.0
_ROOT = Path(__file__).parents[2]
_START_SECONDS = 60.0


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
        "AWS_ENDPOINT_URL_SQS": url,
        **{f"BEDROCK_POLLER_{name}": value for name, value in own.items()},
    }


def pass_time(url: str) -> None:
    """Let every lease on a delivery run out, as it does some time after a kill."""
    leased = sa.update(deliveries).where(deliveries.c.lease_until.is_not(None))
    with contextlib.closing(Database(url)) as database:
        database.write(lambda connection: connection.execute(leased.values(lease_until=1)))


class Child:
    """A program that a zygote has forked; to be used as `subprocess.Popen` is.

    Args:
        zygote: Which.
        pid: Its process id.
    """

    def __init__(self, zygote: Zygote, pid: int) -> None:
        self._zygote = zygote
        self.pid = pid
        self.returncode: int | None = None

    def poll(self, seconds: float = 0.0) -> int | None:
        """Its exit code once it has ended, negative for a signal; `None` if it still runs after `seconds`."""
        if self.returncode is None:
            self.returncode = self._zygote.ended(self.pid, seconds)
        return self.returncode

    def wait(self, timeout: float = _START_SECONDS) -> int:
        """Its exit code.

        Raises:
            subprocess.TimeoutExpired: It has not ended.
        """
        code = self.poll(timeout)
        if code is None:
            raise subprocess.TimeoutExpired("the program", timeout)
        return code

    def send_signal(self, number: int) -> None:
        """Send a signal, if it still runs."""
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def terminate(self) -> None:
        """SIGTERM it."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> int:
        """SIGKILL it, and see that it has ended."""
        self.send_signal(signal.SIGKILL)
        return self.wait()


class Zygote:
    """Forks programs; a context manager."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes]
        self._lock = threading.Lock()
        self._buffer = b""
        self._ended: dict[int, int] = {}

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.harness.zygote"],
            cwd=_ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
        )
        assert self._line(_START_SECONDS) == "ready"
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()  # its children die with it
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            pipe.close()

    def start(self, arguments: Sequence[str], environ: Mapping[str, str], out: Path, err: Path) -> Child:
        """Fork a program."""
        order = {
            "arguments": arguments,
            "environ": dict(environ),
            "stdout": str(out),
            "stderr": str(err),
        }
        assert self._process.stdin is not None
        with self._lock:
            self._process.stdin.write(json.dumps(order).encode() + b"\n")
            while (line := self._line(_START_SECONDS)) is not None:
                if line.startswith("started "):
                    return Child(self, int(line.removeprefix("started ")))
        raise AssertionError("the zygote does not answer")

    def ended(self, pid: int, seconds: float) -> int | None:
        """The exit code of a program; `None` if it still runs after `seconds`."""
        assert self._process.stdout is not None
        deadline = time.monotonic() + seconds
        while True:
            with self._lock:
                while pid not in self._ended and self._line(0) is not None:
                    pass
                if pid in self._ended:
                    return self._ended[pid]
            left = deadline - time.monotonic()
            if left <= 0:
                return None
            select.select([self._process.stdout], [], [], min(left, 0.05))

    def _line(self, seconds: float) -> str | None:
        """The next line it says; `None` if it says nothing for so long."""
        assert self._process.stdout is not None
        deadline = time.monotonic() + seconds
        while b"\n" not in self._buffer:
            left = max(0.0, deadline - time.monotonic())
            if not select.select([self._process.stdout], [], [], left)[0]:
                return None
            piece = self._process.stdout.read(4096)
            assert piece, "the zygote has died"
            self._buffer += piece
        line, _, self._buffer = self._buffer.partition(b"\n")
        word, *numbers = line.decode().split()
        if word == "ended":
            self._ended[int(numbers[0])] = int(numbers[1])
        return line.decode()


@cache
def zygote() -> Zygote:
    """The zygote of this process."""
    found = Zygote().__enter__()
    atexit.register(found.__exit__)
    return found


class Daemon:
    """One run of the daemon; a context manager that leaves no process behind.

    Args:
        folder: Where its output goes.
        environ: Its environment.
        arguments: The command line.
        code: The folder of the program, if it is not this checkout.
        fresh: Start a new interpreter, with the limits and the time that this process has now.
    """

    runs = 0

    def __init__(
        self,
        folder: Path,
        environ: Mapping[str, str],
        *arguments: str,
        code: Path | None = None,
        fresh: bool = False,
    ) -> None:
        Daemon.runs += 1
        self._out = folder / f"out-{Daemon.runs:04}"
        self._err = folder / f"err-{Daemon.runs:04}"
        self._environ = environ
        self._arguments = arguments or ("run",)
        self._code = code
        self._fresh = fresh or code is not None
        self.process: subprocess.Popen[bytes] | Child

    def __enter__(self) -> Self:
        if not self._fresh:
            self._out.touch()
            self._err.touch()
            self.process = zygote().start(self._arguments, self._environ, self._out, self._err)
            return self
        module = "poller" if self._code else "tests.harness.process"
        with self._out.open("wb") as out, self._err.open("wb") as err:
            self.process = subprocess.Popen(
                [sys.executable, "-m", module, *self._arguments],
                env=dict(self._environ),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                cwd=self._code or _ROOT,
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
        status, text = self.ask(path)
        assert status == 200, text
        return text

    def ask(self, path: str) -> tuple[int, str]:
        """The status and the text of a page of it."""
        try:
            with urllib.request.urlopen(self.url + path, timeout=20) as answer:  # noqa: S310
                return int(answer.status), answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    def kill(self) -> None:
        """SIGKILL it, if it still runs."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(10)

    def terminate(self) -> int:
        """SIGTERM it, and return its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE)


def finished(module: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a program of `tests.chaos` to its end."""
    return subprocess.run(
        [sys.executable, "-m", f"tests.chaos.{module}", *arguments],
        cwd=_ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
