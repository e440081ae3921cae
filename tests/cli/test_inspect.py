"""`jobs`, `events`, `deliveries`, `targets`: a look into the store, as a table or as JSON."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from poller.simulator import Simulator
    from tests.cli.conftest import Shell

KEYS = {"targets": "id", "jobs": "arn", "events": "id", "deliveries": "id"}


@pytest.fixture
def filled(at_work: Shell, simulator: Simulator) -> Shell:
    """A store with two jobs of each kind, one of whose names would clear a terminal."""
    for name in ("one", "two\x1b[2J"):
        simulator.submit_batch(script=[("InProgress", 0)], fields={"jobName": name})
        simulator.submit_async(script=[("InProgress", 0), ("Completed", 0)])
    at_work.set(POLL__FIRST_SCAN="emit")
    assert at_work("once").code == 0
    return at_work


@pytest.mark.parametrize(("what", "rows"), [("targets", 2), ("jobs", 4), ("events", 4), ("deliveries", 4)])
def test_lists(filled: Shell, what: str, rows: int) -> None:
    """A table has a line for each row and no control character; JSON has the same rows; `show` shows one."""
    table = filled(what, "list")
    assert (table.code, len(table.out.splitlines())) == (0, rows + 1)
    assert "\x1b[2J" not in table.out
    found = json.loads(filled(what, "list", "--output", "json").out)
    assert len(found) == rows
    key = str(found[0][KEYS[what]])
    shown = json.loads(filled(what, "show", key).out)
    assert {name: shown[name] for name in found[0]} == found[0]
    missing = filled(what, "show", "12345")
    none = "no job of the store has an ARN that ends with '12345'"
    said = none if what == "jobs" else f"there is no 12345 among the {what}"
    assert (missing.code, missing.err) == (1, f"bedrock-poller: {said}\n")


def test_a_list_can_be_narrowed(filled: Shell) -> None:
    """Options select by equality, and `--limit` bounds the rows."""
    jobs = json.loads(filled("jobs", "list", "--output", "json", "--status", "Completed").out)
    assert {job["kind"] for job in jobs} == {"async_invoke"}
    assert len(json.loads(filled("jobs", "list", "--output", "json", "--limit", "1").out)) == 1


def test_a_job_can_be_named_by_its_id(filled: Shell) -> None:
    """In `show`, and wherever an option selects one; a name that fits several is an error (fault 86)."""
    arn = json.loads(filled("jobs", "list", "--output", "json").out)[0]["arn"]
    for key in (arn, arn[-12:], arn[-16:]):
        assert json.loads(filled("jobs", "show", key).out)["arn"] == arn
        for what in ("events", "deliveries"):
            (row,) = json.loads(filled(what, "list", "--job", key, "--output", "json").out)
            assert row["job_arn"] == arn
        assert "would replay 1 deliveries" in filled("deliveries", "replay", "--job", key, "--dry-run").err
    for command in (("jobs", "show", "nothing"), ("deliveries", "drop", "--job", "nothing", "--yes")):
        done = filled(*command)
        assert (done.code, done.out) == (1, "")
        assert "no job of the store has an ARN that ends with 'nothing'" in done.err


def test_a_dead_letter_is_listed_with_the_receiver_s_words(filled: Shell) -> None:
    """The table of deliveries and `show` have what the receiver last answered (fault 68)."""
    with closing(sqlite3.connect(filled.store)) as store, store:
        store.execute("UPDATE deliveries SET state = 'dead', last_error = 'ops answered 422: no such team'")
    table = filled("deliveries", "list", "--state", "dead")
    assert table.out.count("ops answered 422: no such team") == 4
    key = str(json.loads(filled("deliveries", "list", "--output", "json").out)[0]["id"])
    assert json.loads(filled("deliveries", "show", key).out)["error"] == "ops answered 422: no such team"


def test_a_store_that_is_not_there_is_not_made(shell: Shell) -> None:
    """Looking writes nothing."""
    done = shell("jobs", "list")
    assert (done.code, len(done.err.splitlines()), shell.store.exists()) == (1, 1, False)
