"""Starts the real program, and other commands, as processes; every one ends with the block that holds it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

PROGRAM = str(Path(sys.executable).with_name("bedrock-poller"))
_ROOT = Path(__file__).parents[1]
_LAUNCHER = str(Path(__file__).with_name("measured.py"))
_PATIENCE = 60


def environment(url: str, **more: str) -> dict[str, str]:
    """An environment in which every AWS SDK talks to `url`, and nothing of the caller's configures us."""
    inherited = {
        name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "BEDROCK_POLLER_"))
    }
    return inherited | {
        "AWS_ACCESS_KEY_ID": "x",
        "AWS_SECRET_ACCESS_KEY": "x",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_ENDPOINT_URL_BEDROCK": url,
        "AWS_ENDPOINT_URL_BEDROCK_RUNTIME": url,
        "AWS_ENDPOINT_URL_STS": url,
        "NO_PROXY": "127.0.0.1",
        **more,
    }


class LateError(Exception):
    """What was waited for did not happen."""


def wait_until(what: str, happened: Callable[[], bool], seconds: float, *, every: float = 0.5) -> None:
    """Wait until something has happened.

    Raises:
        LateError: It has not after so many seconds.
    """
    until = time.monotonic() + seconds
    while not happened():
        if time.monotonic() > until:
            raise LateError(f"{what} did not come in {seconds:.0f} s")
        time.sleep(every)


class CommandError(Exception):
    """A command that was to succeed did not."""


@dataclass(frozen=True, slots=True)
class Cost:
    """What a command cost.

    Args:
        code: Its exit code; a signal's number, negative, if that ended it.
        seconds: Wall time.
        cpu: Processor time of all its threads, in seconds.
        megabytes: The most memory that it held at once.
    """

    code: int
    seconds: float
    cpu: float
    megabytes: float


class Command:
    """A command under way, started by `measured.py`."""

    def __init__(self, launcher: subprocess.Popen[str], said: IO[str]) -> None:
        self._launcher = launcher
        self._said = said
        self.pid = int(self._read())

    def _read(self) -> str:
        assert self._launcher.stdout is not None  # noqa: S101 - it is a pipe
        return self._launcher.stdout.readline()

    def wait_until(self, what: str, happened: Callable[[], bool], seconds: float) -> None:
        """Wait until something has happened, while it runs.

        Raises:
            LateError: It has not after so many seconds.
            CommandError: It has ended before.
        """

        def happened_meanwhile() -> bool:
            if self.ended:
                raise CommandError(f"{self._launcher.args!r} ended too early: {self._told()}")
            return happened()

        wait_until(what, happened_meanwhile, seconds)

    @property
    def ended(self) -> bool:
        """Whether it has ended."""
        return self._launcher.poll() is not None

    def send(self, number: signal.Signals) -> None:
        """Send it a signal."""
        os.kill(self.pid, number)

    def cost(self, *, expected: int = 0) -> Cost:
        """Wait for its end.

        Raises:
            CommandError: It ended with another code than the expected one.
        """
        cost = Cost(**json.loads(self._read()))
        if cost.code != expected:
            raise CommandError(f"{self._launcher.args!r} ended with {cost.code}: {self._told()}")
        return cost

    def _told(self) -> str:
        """The end of what it wrote to standard error."""
        self._said.seek(0)
        return self._said.read()[-2000:]


@contextmanager
def running(command: Sequence[str], environ: Mapping[str, str], folder: Path) -> Iterator[Command]:
    """Run a command; whatever is left of it at the end of the block is killed.

    Args:
        command: The program's path, and its arguments.
        environ: Its environment.
        folder: Where what it writes to standard error may be kept.
    """
    with (folder / f"stderr-{os.urandom(4).hex()}").open("w+") as said:
        launcher = subprocess.Popen(  # noqa: S603 - a command of ours
            [sys.executable, "-I", "-S", _LAUNCHER, *command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=said,
            env=dict(environ),
            cwd=_ROOT,
            text=True,
            # A group of its own, so that it can be ended with what it started, and by nobody's Ctrl-C.
            start_new_session=True,
        )
        try:
            yield Command(launcher, said)
        finally:
            if launcher.poll() is None:
                os.killpg(launcher.pid, signal.SIGKILL)
            launcher.wait(_PATIENCE)
            if launcher.stdout is not None:
                launcher.stdout.close()


def cost_of(command: Sequence[str], environ: Mapping[str, str], folder: Path) -> Cost:
    """Run a command to its end."""
    with running(command, environ, folder) as command_under_way:
        return command_under_way.cost()
