"""`check-config` and `schema`."""

from __future__ import annotations

import json
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jsonschema import Draft202012Validator

from poller.events import sample_event

if TYPE_CHECKING:
    from poller.simulator import Simulator
    from tests.cli.conftest import Shell

MISTAKES = """\
pol: {interval: 30s}
aws: {max_attempts: many}
sinks:
  audit: {type: log, timeout: 10}
  ops: {type: webhoook, url: "https://example.com"}
routes:
  - {sinks: [nowhere]}
"""


def test_every_mistake_is_named_at_once(shell: Shell) -> None:
    """Five mistakes are five lines, each with the file, its line and its key; the exit code is 2."""
    path = shell.write(MISTAKES)
    done = shell("check-config", "--config", path)
    assert (done.code, done.out) == (2, "")
    lines = done.err.splitlines()
    assert len(lines) == 5
    places = [
        (1, "pol"),
        (2, "aws.max_attempts"),
        (4, "sinks.audit.timeout"),
        (5, "sinks.ops"),
        (7, "routes[0]"),
    ]
    for line, (number, key) in zip(lines, places, strict=True):
        assert line.startswith(f"{path}:{number}: {key}")


def test_a_secret_that_everybody_can_read_is_a_warning(shell: Shell) -> None:
    """From `check-config`, and in the log of a run, with the remedy, once; it is no mistake."""
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        folder = Path(name)
        folder.chmod(0o755)
        secret = folder / "web hook"
        secret.write_text("https://h.example/canary-4711")
        shell.sinks(ops={"type": "webhook", "url_file": str(secret)})
        secret.chmod(0o600)
        assert shell("check-config").err == ""
        secret.chmod(0o644)
        done = shell("check-config")
        assert done.code == 0
        assert done.err == (
            f"warning: {secret} holds a secret, and every user of this machine can read it (mode 0644); "
            f"chmod 600 '{secret}'\n"
        )
        done = shell("once", "--log-format", "json")
        (line,) = [line for line in done.err.splitlines() if "secret_file.exposed" in line]
        said = json.loads(line)
        assert (said["level"], said["file"], said["mode"]) == ("warning", str(secret), "0644")
        assert said["remedy"] == f"chmod 600 '{secret}'"
        assert "secret_file.exposed" not in shell("sinks", "list").err


def test_a_configuration_with_secrets_or_a_store_that_everybody_can_read_is_a_warning(shell: Shell) -> None:
    """Each file is named with its remedy; one without secrets may be read by all (fault 80)."""
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        folder = Path(name)
        folder.chmod(0o755)
        config, store = folder / "config.yaml", folder / "poller.db"
        shell.set(STORE__URL=f"sqlite:///{store}")
        store.touch()
        store.chmod(0o644)
        config.write_text("sinks: {ops: {type: webhook, url: 'https://h.example/x'}}")
        config.chmod(0o644)
        done = shell("check-config", "--config", str(config))
        assert done.err == (
            f"warning: {store} holds the names and messages of jobs, and every user of this machine can read"
            f" it (mode 0644); chmod 600 {store}\n"
        )
        store.chmod(0o600)
        config.write_text(
            "sinks: {ops: {type: webhook, url: 'https://h.example/x', headers: {x-key: c4nary-4711}}}"
        )
        done = shell("check-config", "--config", str(config))
        assert done.err.startswith(f"warning: {config} holds a secret, and every user")
        config.chmod(0o640)
        assert shell("check-config", "--config", str(config)).err == ""


def test_a_database_server_that_nothing_verifies_is_a_warning(shell: Shell) -> None:
    """With the remedy, and without the password (fault 80)."""
    shell.set(STORE__URL="postgresql://u:c4nary-4711@db.example.com/x?sslmode=require")
    done = shell("check-config")
    assert done.code == 0
    assert done.err.startswith(
        "warning: store.url: nothing verifies that db.example.com is the database server"
    )
    assert "sslmode=verify-full" in done.err
    assert "c4nary" not in done.err


def test_the_defaults_are_right(shell: Shell) -> None:
    """Without a file the defaults and the environment are checked."""
    done = shell("check-config")
    assert (done.code, done.err) == (0, "")
    assert (
        done.out == "no file, the defaults and the environment: no problems (1 targets, 1 sinks, 0 routes)\n"
    )


def test_a_wrong_configuration_starts_nothing(shell: Shell) -> None:
    """Every command that needs the configuration refuses a wrong one with 2 (fault 42)."""
    path = shell.write(MISTAKES)
    for command in (
        ["run"],
        ["once"],
        ["migrate"],
        ["iam-policy"],
        ["sinks", "list"],
        ["sinks", "test", "audit"],
    ):
        done = shell(*command, "--config", path)
        assert (done.code, len(done.err.splitlines())) == (2, 5)
    assert not shell.store.exists()


def test_a_target_without_a_region_is_a_mistake(shell: Shell, monkeypatch: Any) -> None:
    """If neither the configuration nor the SDK names a region, that is said with the key to set."""
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name)
    done = shell("once")
    assert done.code == 2
    assert done.err == "targets[0].regions: there is no current region; set it, or set AWS_REGION\n"


def test_the_configuration_has_a_schema(shell: Shell) -> None:
    """`schema config` is valid JSON Schema, and the example configuration satisfies it."""
    done = shell("schema")
    schema = json.loads(done.out)
    Draft202012Validator.check_schema(schema)
    validator = Draft202012Validator(schema)
    assert validator.is_valid({"sinks": {"audit": {"type": "log"}}})
    assert not validator.is_valid({"sinks": {"audit": {"type": "carrier-pigeon"}}})
    assert done.out == shell("schema", "config").out


def test_the_events_have_a_schema(at_work: Shell, simulator: Simulator) -> None:
    """`schema event` is valid JSON Schema, and real events satisfy it."""
    schema = json.loads(at_work("schema", "event").out)
    Draft202012Validator.check_schema(schema)
    validator = Draft202012Validator(schema)
    simulator.populate(history=40)
    at_work.set(POLL__FIRST_SCAN="emit")
    events = at_work("once").rows
    assert len(events) == 40
    for event in [*events, json.loads(sample_event("audit", datetime.now(UTC)).body)]:
        validator.validate(event)
    assert not validator.is_valid({**events[0], "specversion": "2.0"})
