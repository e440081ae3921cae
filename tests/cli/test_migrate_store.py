"""`migrate-store`."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from poller.store import Database
from tests.store.conftest import Store
from tests.store.samples import TARGET, announced, job

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.conftest import Shell
    from tests.harness.postgres import Databases


@pytest.fixture
def source(tmp_path: Path) -> str:
    """The URL of a store with a job and what it owes."""
    url = f"sqlite:///{tmp_path}/source.db"
    with closing(Database(url)) as database:
        database.prepare()
        database.migrate()
        store = Store(database)
        store.snapshot.rows.register([TARGET])
        store.record(announced(job(1, "Failed"), "ops"))
    return url


def test_a_store_moves_to_postgresql_and_back(
    shell: Shell, source: str, tmp_path: Path, databases: Databases
) -> None:
    """Both ways the tables are listed with rows and checksums, which are the same."""
    there = databases.fresh()
    try:
        out = shell("migrate-store", "--from", source, "--to", there).out
        back = f"sqlite:///{tmp_path}/back.db"
        again = shell("migrate-store", "--from", there, "--to", back).out
    finally:
        databases.drop(there)
    lines = [line.split() for line in out.splitlines()]
    assert ["jobs", "1", "rows"] in [line[:3] for line in lines]
    assert ["deliveries", "1", "rows"] in [line[:3] for line in lines]
    assert again == out
    assert "Set store.url to it" in out


def test_what_cannot_be_copied_is_explained(shell: Shell, source: str, tmp_path: Path) -> None:
    """A store in use as a target, one that is not there, and a file that holds no password."""
    other = f"sqlite:///{tmp_path}/other.db"
    assert shell("migrate-store", "--from", source, "--to", other).code == 0
    done = shell("migrate-store", "--from", source, "--to", other)
    assert done.code == 1
    assert "not empty" in done.err
    done = shell("migrate-store", "--from", f"sqlite:///{tmp_path}/nothing.db", "--to", other)
    assert "there is no store" in done.err
    done = shell(
        *("migrate-store", "--from", "postgresql://h/d", "--from-password-file", "/nowhere", "--to", other)
    )
    assert "/nowhere" in done.err
    assert not (tmp_path / "nothing.db").exists()


def test_a_password_in_an_address_on_the_command_line_is_a_warning(shell: Shell) -> None:
    """Every user of the machine sees the arguments of a command; the message names the files (fault 67)."""
    done = shell(
        "migrate-store",
        "--from",
        f"sqlite:///{shell.store}",
        "--to",
        "postgresql://u:c4nary-4711@127.0.0.1:9/x",
    )
    assert done.code == 1
    assert "warning: a password in an address can be read" in done.err
    assert "--to-password-file" in done.err
    assert "c4nary" not in done.err
