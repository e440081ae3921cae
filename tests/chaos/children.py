"""Programs under test: forked from one that is warm, or started as anybody would start them."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_ROOT = Path(__file__).parents[2]
_START_SECONDS = 60.0


class Child:
    """A program that a zygote has forked.

    Args:
        zygote: Which.
        pid: Its process id.
    """

    def __init__(self, zygote: Zygote, pid: int) -> None:
        self._zygote = zygote
        self.pid = pid
        self.code: int | None = None

    def wait(self, seconds: float) -> int | None:
        """Its exit code once it has ended, negative for a signal; `None` if it still runs after `seconds`."""
        if self.code is None:
            answer = self._zygote.answer(seconds)
            self.code = None if answer is None else int(answer)
        return self.code

    def kill(self) -> int:
        """SIGKILL it, and see that it has ended."""
        if self.code is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
            assert self.wait(_START_SECONDS) is not None
        return self.code or 0


class Zygote:
    """Forks programs, one at a time; a context manager."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes]
        self._buffer = b""

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.chaos.zygote"],
            cwd=_ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
        )
        assert self.answer(_START_SECONDS) == "ready"
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()  # its child dies with it
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
        self._process.stdin.write(json.dumps(order).encode() + b"\n")
        answer = self.answer(_START_SECONDS)
        assert answer is not None, "the zygote does not answer"
        return Child(self, int(answer))

    def answer(self, seconds: float) -> str | None:
        """The next line it says; `None` if it says nothing for so long."""
        assert self._process.stdout is not None
        deadline = time.monotonic() + seconds
        while b"\n" not in self._buffer:
            ready, _, _ = select.select([self._process.stdout], [], [], max(0.0, deadline - time.monotonic()))
            if not ready:
                return None
            piece = self._process.stdout.read(4096)
            assert piece, "the zygote has died"
            self._buffer += piece
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line.decode()


def spawn(
    arguments: Sequence[str], environ: Mapping[str, str], out: Path, err: Path
) -> subprocess.Popen[bytes]:
    """Start a program on its own; it dies with the thread that started it."""
    with out.open("ab") as stdout, err.open("ab") as stderr:
        return subprocess.Popen(
            [sys.executable, "-m", "tests.chaos.process", *arguments],
            cwd=_ROOT,
            env=dict(environ),
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
        )


def finished(module: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a program of this package to its end."""
    return subprocess.run(
        [sys.executable, "-m", f"tests.chaos.{module}", *arguments],
        cwd=_ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
