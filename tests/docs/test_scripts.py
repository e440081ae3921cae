"""The shell blocks of the documentation are run, as they stand, on a stage that has what they speak of.

The stage is a simulated Bedrock, a receiver of webhooks, and a daemon that has delivered to it. Each block
gets a folder with a configuration and a copy of the daemon's store; addresses, paths and placeholders are put
in place of those in the text. What needs a machine of its own is left out, and `EXCUSED` says why.
"""

from __future__ import annotations

import os
import re
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from poller.cli import run
from poller.simulator import Simulator, SimulatorServer
from poller.store import Database, Outbox
from tests.docs.pages import Block, blocks, commands
from tests.harness.daemon import Daemon, environment, eventually
from tests.harness.receiver import SECRET, Receiver

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.harness.postgres import Databases


pytestmark = [pytest.mark.slow, pytest.mark.long]

EXCUSED = {
    "aws cloudformation": "makes roles in an account",
    "docker": "needs a container engine; tests/deploy/test_image.py checks the Dockerfile",
    "gh": "asks GitHub; tests/deploy/test_release.py checks what is attested",
    "helm": "needs a cluster; tests/verify renders and installs the chart",
    "journalctl": "needs systemd",
    "kill": "would hit other people's processes; tests/app/test_reload.py sends the signal",
    "kubectl": "needs a cluster; tests/verify checks the manifests",
    "make": "is what runs these tests; each target is known to exist",
    "pip": "asks a package registry; tests/deploy/test_wheel.py builds, installs and runs the wheel",
    "pipx": "asks a package registry",
    "promtool": "is run by tests/verify",
    "python3 -m venv": "is what the installation with pip begins with",
    "python3 receiver.py": "is run by tests/docs/test_receivers.py",
    "sha256sum": "needs the files of a release",
    "sudo": "changes this machine; tests/deploy/test_systemd.py checks the unit",
    "systemctl": "needs systemd",
    "timedatectl": "needs systemd",
    "uv": "asks a package registry",
}
"""What is not run here, and why."""

ENDLESS = re.compile(r"^(bedrock-poller (?:run|simulate)\b)", re.MULTILINE)
STOPPED = """
stopped() {
    "$@" > >(tee -a said) 2> >(tee -a said >&2) & local pid=$!
    for _ in $(seq 600); do grep -qs 'http://' said && break; sleep 0.1; done
    kill "$pid"
    wait "$pid"
}
"""
"""Runs a command until it has said where it listens, and stops it."""

PLAIN = re.compile(r"(bedrock-poller [^$|<>&;*`~\n]*\n?)+")
"""Nothing but commands of the program, which end by themselves."""

LEAST_SHARE = 0.5


def excuse(words: list[str]) -> str | None:
    """Why a command is not run; `None` if it is."""
    line = " ".join([re.sub(r".*/bin/", "", words[0]), *words[1:]])
    return next((why for start, why in EXCUSED.items() if f"{line} ".startswith(f"{start} ")), None)


def script(block: Block) -> str:
    """What is run of a block: its lines without those that are excused."""
    joined = re.sub(r"\\\n\s*", "", block.text).replace("make install && ", "")
    kept = []
    for line in joined.splitlines():
        found = list(commands(line))
        if found and not any(excuse(words) for words in found):
            kept.append(line)
    return "\n".join(kept)


def distinct() -> list[Block]:
    """The blocks of which something is run; of those that are alike one."""
    found: dict[str, Block] = {}
    for block in blocks("bash"):
        if text := script(block):
            found.setdefault(text, block)
    return list(found.values())


DATABASE = "postgresql://poller@db.example.com/poller"
"""An empty one of our own stands in for it."""


@dataclass
class Stage:
    """What the blocks speak of."""

    simulator: SimulatorServer
    receiver: Receiver
    daemon: Daemon
    store: Path
    arn: str

    def configuration(self) -> dict[str, Any]:
        """What `config.yaml` holds."""
        retry = {"initial": "10ms", "max": "10ms", "give_up_after": "0s"}
        ops = {"type": "webhook", "url": self.receiver.url, "secrets": [SECRET], "retry": retry}
        return {"sinks": {"ops": ops}, "web": {"listen": "127.0.0.1:0", "reload": True}} | {
            "poll": {"interval": "200ms"}
        }

    def environ(self, folder: Path) -> dict[str, str]:
        """The environment of a block."""
        inherited = environment(self.simulator.url, folder)
        for name in ("WEB__LISTEN", "POLL__INTERVAL", "POLL__IDLE_INTERVAL"):
            del inherited[f"BEDROCK_POLLER_{name}"]
        return inherited | {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "BEDROCK_POLLER_CONFIG": str(folder / "config.yaml"),
            "STATE_DIRECTORY": str(folder),
            "WEBHOOK_SECRETS": SECRET,
        }

    def fitted(self, text: str, folder: Path) -> str:
        """A script with what there is here in place of what the text names."""
        ids = self._ids()
        text = ENDLESS.sub(r"stopped \1", text)
        text = re.sub(r"(bedrock-poller simulate)(?! --port)", r"\1 --port 0", text)
        for old, new in {
            "http://127.0.0.1:9477": self.daemon.url,
            "http://127.0.0.1:9478": self.simulator.url,
            "--port 9478": "--port 0",
            "http://127.0.0.1:8000/": self.receiver.url,
            "/var/lib/bedrock-poller/": f"{folder}/",
            "/var/backups/": f"{folder}/backups/",
            "/run/secrets/": f"{folder}/secrets/",
        }.items():
            text = text.replace(old, new)
        for old, new in {"ARN": self.arn, "NAME": "ops", "1234": ids[0], "1235": ids[1]}.items():
            text = re.sub(rf"(?<= ){old}\b", new, text)
        return text

    def copy(self, folder: Path) -> None:
        """Put the store, as it is now, and the configuration into a folder."""
        with (
            closing(sqlite3.connect(self.store)) as source,
            closing(sqlite3.connect(folder / "poller.db")) as target,
        ):
            source.backup(target)
        (folder / "config.yaml").write_text(yaml.safe_dump(self.configuration()))
        (folder / "backups").mkdir()
        (folder / "secrets").mkdir()
        (folder / "secrets" / "database-password").write_text("trusted-without")
        # As if it had been installed into the home directory.
        (folder / "bedrock-poller").mkdir()
        (folder / "bedrock-poller" / "bin").symlink_to(Path(sys.executable).parent)
        with closing(Database(f"sqlite:///{folder}/poller.db")) as database:
            Outbox(database).park("ops", "410")

    def _ids(self) -> list[str]:
        with closing(sqlite3.connect(self.store)) as store:
            return [str(row[0]) for row in store.execute("SELECT id FROM deliveries ORDER BY id LIMIT 2")]


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """A daemon that has delivered some events, and given up others."""
    folder = tmp_path_factory.mktemp("stage")
    simulator = Simulator(seed=5)
    with (
        SimulatorServer(simulator) as bedrock,
        Receiver(lambda event: 400 if event["data"]["status"] == "Failed" else 204) as receiver,
    ):
        made = Stage(bedrock, receiver, Daemon(folder, {}), folder / "poller.db", "")
        (folder / "config.yaml").write_text(yaml.safe_dump(made.configuration()))
        made.daemon = Daemon(folder, made.environ(folder) | {"BEDROCK_POLLER_POLL__FIRST_SCAN": "emit"})
        made.arn = simulator.submit_batch(script=[("Completed", 0)])
        simulator.submit_batch(script=[("InProgress", 0)])
        simulator.submit_async(script=[("Failed", 0)])
        with made.daemon as daemon:
            eventually(lambda: 'outbox_deliveries{sink="ops",state="dead"} 1.0' in daemon.get("/metrics"))
            eventually(lambda: len(receiver.events) >= 3)
            yield made
            assert daemon.terminate() == 0


@pytest.mark.slow
@pytest.mark.parametrize("block", distinct(), ids=str)
def test_a_block_runs(
    request: pytest.FixtureRequest,
    block: Block,
    stage: Stage,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Every command that is not excused ends with 0; those that run until they are stopped, when they are."""
    text = script(block)
    for words in commands(text):
        if words[0] in {"curl", "jq", "openssl", "sqlite3"} and shutil.which(words[0]) is None:
            pytest.skip(f"there is no {words[0]} here")
    stage.copy(tmp_path)
    environ, fitted = stage.environ(tmp_path), stage.fitted(text, tmp_path)
    if DATABASE in fitted:
        databases: Databases = request.getfixturevalue("databases")
        fitted = fitted.replace(DATABASE, databases.fresh())
    if PLAIN.fullmatch(fitted):
        for name, value in environ.items():
            monkeypatch.setenv(name, value)
        monkeypatch.chdir(tmp_path)
        # In this process, which is quicker.
        assert [(words, run(words[1:])) for words in commands(fitted)] == [
            (words, 0) for words in commands(fitted)
        ]
        return
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", STOPPED + fitted],
        env=environ,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert done.returncode == 0, f"{block}\n{done.stdout}\n{done.stderr}"
    assert "Traceback" not in done.stderr


def test_most_commands_are_run() -> None:
    """What is not run is excused, no excuse is left over, and those that are run are the most."""
    lines = [words for block in blocks("bash") for words in commands(block.text)]
    excuses = [excuse(words) for words in lines]
    assert set(EXCUSED.values()) == {why for why in excuses if why}
    done = [words for block in blocks("bash") for words in commands(script(block))]
    assert len(done) >= LEAST_SHARE * len(lines), f"{len(done)} of {len(lines)}"
