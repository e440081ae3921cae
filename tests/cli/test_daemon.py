"""`once` and `migrate`, and what every command says of a store that is of no use."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from poller.simulator import faults
from poller.store.database import SCHEMA

if TYPE_CHECKING:
    from pathlib import Path

    from poller.simulator import Simulator
    from tests.cli.conftest import Shell

OPEN = [("InProgress", 0.0)]


def everything(shell: Shell) -> list[object]:
    """Every row of the store."""
    tables = ("targets", "jobs", "events", "deliveries", "sinks")
    return [shell.sql(f"SELECT * FROM {table}") for table in tables]  # noqa: S608 - our own names


def test_once_polls_delivers_and_exits(at_work: Shell, simulator: Simulator) -> None:
    """The first run records in silence, the next prints what happened, the one after it nothing."""
    arn = simulator.submit_batch(script=OPEN)
    first = at_work("once")
    assert (first.code, first.out) == (0, "")
    assert "once: recorded 0 events and 1 rows of jobs from 2 targets" in first.err
    simulator.force(arn, "Failed", message="why")
    second = at_work("once")
    (event,) = second.rows
    assert (event["data"]["job_arn"], event["data"]["message"]) == (arn, "why")
    third = at_work("once")
    assert (third.code, third.out) == (0, "")


def test_a_dry_run_prints_and_writes_nothing(at_work: Shell, simulator: Simulator) -> None:
    """Without a store it makes none; with one it leaves every row; it prints a line for each event."""
    arn = simulator.submit_batch(script=OPEN, name="nightly")
    done = at_work("once", "--dry-run")
    assert (done.code, done.out, at_work.store.exists()) == (0, "", False), done.err
    assert "once: would record 0 events and 1 rows of jobs from 2 targets" in done.err
    at_work("once")
    simulator.force(arn, "Completed")
    before = everything(at_work)
    rows = at_work("once", "--dry-run").rows
    assert [(row["job_name"], row["previous_status"], row["status"]) for row in rows] == [
        ("nightly", "InProgress", "Completed")
    ]
    assert rows[0]["sinks"] == ["log"]
    assert everything(at_work) == before
    assert at_work("once").rows[0]["id"] == rows[0]["event_id"]


def test_deliveries_can_be_left_for_later(at_work: Shell, simulator: Simulator) -> None:
    """With `--no-drain` the events are recorded and owed; the next run sends them."""
    at_work.set(POLL__FIRST_SCAN="emit")
    simulator.submit_batch(script=OPEN)
    done = at_work("once", "--no-drain")
    assert (done.code, done.out) == (0, "")
    assert "once: 1 deliveries are still owed to log" in done.err
    assert len(at_work("once").rows) == 1


def test_a_target_that_was_not_seen_whole_is_1(at_work: Shell, simulator: Simulator) -> None:
    """What was seen is recorded and delivered all the same."""
    at_work.set(POLL__FIRST_SCAN="emit", AWS__MAX_ATTEMPTS="1")
    simulator.submit_batch(script=OPEN)
    simulator.faults.add(faults.AccessDenied(operation="ListAsyncInvokes"))
    done = at_work("once")
    assert (done.code, len(done.rows)) == (1, 1)
    assert "once: default/us-east-1/async_invoke could not be seen whole" in done.err
    assert "Traceback" not in done.err


def test_a_target_that_another_holds_is_waited_for_and_then_1(at_work: Shell) -> None:
    """A lease that is not given back in time counts as not seen."""
    assert at_work("once").code == 0
    soon = "(julianday('now') - 2440587.5) * 86400.0 + 25"
    at_work.sql(f"UPDATE targets SET lease_until = {soon} WHERE kind = 'async_invoke'")  # noqa: S608 - no input
    done = at_work("once")
    assert done.code == 1
    assert "async_invoke could not be seen whole" in done.err


def test_events_that_match_no_route(at_work: Shell, simulator: Simulator) -> None:
    """They are recorded, said in the log, and owed to nobody."""
    at_work.set(POLL__FIRST_SCAN="emit", ROUTES='[{"match": {"status": ["Failed"]}, "sinks": ["log"]}]')
    simulator.submit_batch(script=OPEN)
    done = at_work("once", "--log-format", "json")
    assert (done.code, done.out) == (0, "")
    assert "event.unrouted" in done.err
    assert at_work.sql("SELECT count(*) FROM events") == [(1,)]
    assert at_work.sql("SELECT count(*) FROM deliveries") == [(0,)]


def test_a_sink_that_was_removed_with_deliveries_owed(at_work: Shell, simulator: Simulator) -> None:
    """It is warned about, and what is owed to it is kept."""
    at_work.set(POLL__FIRST_SCAN="emit")
    at_work.sinks(old={"type": "log"})
    simulator.submit_batch(script=OPEN)
    at_work("once", "--no-drain")
    at_work.sinks(new={"type": "log"})
    done = at_work("once")
    assert done.code == 0
    assert "sink.removed_with_pending" in done.err
    assert at_work.sql("SELECT sink, state FROM deliveries") == [("old", "pending")]


def test_migrate(shell: Shell) -> None:
    """A fresh store is migrated from nothing; again, it is current; only the owner can read it."""
    place = f"sqlite:///{shell.store}"
    assert shell("migrate").out == f"{place}: schema {SCHEMA} migrated from nothing\n"
    assert shell("migrate").out == f"{place}: schema {SCHEMA} is current\n"
    assert shell.store.stat().st_mode & 0o077 == 0


COMMANDS = [["once"], ["once", "--dry-run"], ["migrate"], ["sinks", "list"], ["run"]]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_a_newer_schema_is_refused(shell: Shell, command: list[str]) -> None:
    """A store that a newer version wrote is left as it is: 1, one line, no traceback."""
    shell("migrate")
    shell.sql("UPDATE alembic_version SET version_num = '9999'")
    done = shell(*command, "--log-level", "error")
    assert (done.code, done.out) == (1, "")
    assert len(done.err.splitlines()) == 1
    assert "9999" in done.err
    assert shell.sql("SELECT version_num FROM alembic_version") == [("9999",)]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
@pytest.mark.parametrize("damage", ["no database", "truncated"])
def test_a_damaged_store_is_refused(shell: Shell, command: list[str], damage: str) -> None:
    """It is never replaced in silence: 1, one line that names the file and the remedy, no traceback.

    Injects fault 7.
    """
    if damage == "truncated":
        shell("migrate")
        content = shell.store.read_bytes()[:5000]
    else:
        content = b"This is my diary, and no database. " * 200
    shell.store.write_bytes(content)
    done = shell(*command, "--log-level", "error")
    assert (done.code, done.out) == (1, "")
    assert len(done.err.splitlines()) == 1
    assert str(shell.store) in done.err
    assert "restore it from a backup" in done.err
    assert shell.store.read_bytes() == content


@pytest.mark.parametrize("command", [["migrate"], ["run"]], ids=" ".join)
def test_a_store_that_cannot_be_opened(shell: Shell, command: list[str], tmp_path: Path) -> None:
    """A path that leads nowhere is 1 and one line."""
    (tmp_path / "file").write_text("in the way")
    shell.set(STORE__URL=f"sqlite:///{tmp_path}/file/poller.db")
    done = shell(*command, "--log-level", "error")
    assert (done.code, done.out) == (1, "")
    assert len(done.err.splitlines()) == 1
    assert os.fspath(tmp_path / "file") in done.err


def test_an_address_that_is_taken(shell: Shell, bedrock: object) -> None:
    """`run` says which address it cannot listen on, and what to set."""
    port = getattr(bedrock, "port")  # noqa: B009 - a fixture of any type
    shell.set(WEB__LISTEN=f"127.0.0.1:{port}")
    done = shell("run", "--log-level", "error")
    assert done.code == 1
    assert (
        done.err
        == f"bedrock-poller: cannot listen on 127.0.0.1:{port}: Address already in use; set web.listen\n"
    )
