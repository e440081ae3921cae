"""The command line in this process, with an environment of its own."""

from __future__ import annotations

import contextlib
import json
import logging
import sqlite3
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
import structlog

from poller.cli import run
from tests.harness.daemon import environment

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from poller.simulator import SimulatorServer


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The lines of JSON on standard output."""
        return [json.loads(line) for line in self.out.splitlines()]


class Shell:
    """Runs commands in a folder."""

    def __init__(
        self,
        folder: Path,
        patch: pytest.MonkeyPatch,
        capture: pytest.CaptureFixture[str],
        environ: dict[str, str],
    ) -> None:
        self.folder = folder
        self.store = folder / "poller.db"
        self._patch = patch
        self._capture = capture
        for name in ("AWS_PROFILE", "AWS_DEFAULT_PROFILE", "AWS_SESSION_TOKEN"):
            patch.delenv(name, raising=False)
        for name, value in environ.items():
            patch.setenv(name, value)
        self.set(STORE__URL=f"sqlite:///{self.store}")

    def set(self, **settings: str) -> None:
        """Set settings by their environment variables."""
        for name, value in settings.items():
            self._patch.setenv(f"BEDROCK_POLLER_{name}", value)

    def sinks(self, **sinks: dict[str, Any]) -> None:
        """Configure the sinks."""
        self.set(SINKS=json.dumps(sinks))

    def write(self, text: str, name: str = "config.yaml") -> str:
        """Write a file."""
        path = self.folder / name
        path.write_text(text)
        return str(path)

    def sql(self, statement: str) -> list[Any]:
        """Ask the store."""
        with contextlib.closing(sqlite3.connect(self.store)) as store, store:
            return store.execute(statement).fetchall()

    def __call__(self, *arguments: str) -> Done:
        """Run a command in this process."""
        self._capture.readouterr()
        code = run(list(arguments))
        out, err = self._capture.readouterr()
        return Done(code, out, err)


@pytest.fixture
def unlogged() -> Iterator[None]:
    """Put the process's logging back as it was."""
    root, ours = logging.getLogger(), logging.getLogger("poller")
    before = (root.handlers[:], root.level, ours.level, structlog.get_config())
    yield
    root.handlers[:] = before[0]
    root.setLevel(before[1])
    ours.setLevel(before[2])
    structlog.configure(**before[3])


@pytest.fixture
def shell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], unlogged: None
) -> Shell:
    """A command line that can reach no AWS at all."""
    return Shell(tmp_path, monkeypatch, capfd, environment("http://127.0.0.1:9", tmp_path))


@pytest.fixture
def at_work(shell: Shell, bedrock: SimulatorServer, monkeypatch: pytest.MonkeyPatch) -> Shell:
    """A command line in front of the simulator."""
    for name in ("BEDROCK", "BEDROCK_RUNTIME"):
        monkeypatch.setenv(f"AWS_ENDPOINT_URL_{name}", bedrock.url)
    return shell
