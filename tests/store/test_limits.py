"""What a database does for people is bounded, and a file that is lost is noticed."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from poller.errors import LostStoreError, StoreError
from poller.store import Database

if TYPE_CHECKING:
    from pathlib import Path

_SLOW = {
    "sqlite": "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT count(*) FROM n",
    "postgresql": "SELECT pg_sleep(60)",
}


def test_a_statement_that_takes_too_long_ends(url: str) -> None:
    """A page that would keep the database busy is an error; later ones are served (fault 64)."""
    with closing(Database(url)) as database:
        database.limit_statements(0.3)
        slow = _SLOW[database.engine.dialect.name]
        with pytest.raises(StoreError), database.read() as connection:
            connection.exec_driver_sql(slow).all()
        with database.read() as connection:
            assert connection.exec_driver_sql("SELECT 1").scalar() == 1


@pytest.mark.parametrize("replaced", [True, False])
def test_a_file_that_was_deleted_or_replaced_is_not_worked_with(tmp_path: Path, replaced: bool) -> None:
    """Neither read nor written, and it works again once the file is back (fault 72)."""
    path = tmp_path / "poller.db"
    with closing(Database(f"sqlite:///{path}")) as database:
        database.require_file()
        database.prepare()
        database.migrate()
        kept = path.rename(tmp_path / "kept.db")
        if replaced:
            path.write_bytes(kept.read_bytes())
        what = "replaced" if replaced else "deleted"
        for work in (database.require_file, database.probe, database.revision):
            with pytest.raises(LostStoreError, match=f"was {what} while it was open"):
                work()
        with pytest.raises(LostStoreError):
            database.write(lambda _: None)
        kept.rename(path)
        database.require_file()
        database.probe()


def test_a_server_has_no_file_to_lose(url: str) -> None:
    """There is nothing to compare."""
    with closing(Database(url)) as database:
        database.require_file()
