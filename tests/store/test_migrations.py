"""The schema and its history."""

from __future__ import annotations

import subprocess
import sys
import threading
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from poller.errors import SchemaError
from poller.store import Database, Settlement
from poller.store.database import SCHEMA
from poller.store.migrations import known_revisions, upgrade
from poller.store.tables import metadata
from tests.store.conftest import Store, only_sqlite

if TYPE_CHECKING:
    from tests.harness.clock import Clock

MIGRATE = """
import sys
from poller.store import Database
database = Database(sys.argv[1])
sys.stdin.readline()
database.prepare()
print(database.migrate())
database.close()
"""


_SCHEMA = {
    "sqlite": "SELECT type, name, sql FROM sqlite_schema ORDER BY type, name",
    "postgresql": """
        SELECT 'index', indexname, indexdef FROM pg_indexes WHERE schemaname = 'public' UNION
        SELECT 'column', table_name || '.' || column_name,
            concat_ws(' ', data_type, character_maximum_length, is_nullable, column_default, is_identity)
        FROM information_schema.columns WHERE table_schema = 'public' ORDER BY 1, 2
    """,
}


def schema(database: Database) -> list[tuple[object, ...]]:
    """Every table and index, as the database itself spells it."""
    with database.read() as connection:
        rows = connection.exec_driver_sql(_SCHEMA[connection.dialect.name])
        return [tuple(row) for row in rows]


def test_the_migrations_build_what_the_tables_say(database: Database) -> None:
    """Alembic finds no difference between the database and the metadata."""
    with database.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_server_default": True})
        with warnings.catch_warnings():
            # The index on an expression; the next test compares its text.
            warnings.filterwarnings("ignore", message=".*expression-based index")
            assert compare_metadata(context, metadata) == []


def test_the_migrations_build_it_to_the_letter(
    request: pytest.FixtureRequest, url: str, database: Database
) -> None:
    """Also what Alembic does not compare: the conditions of partial indexes and the numbering of rows."""
    server = url.startswith("postgresql")
    direct = Database(request.getfixturevalue("databases").fresh() if server else "sqlite://")
    direct.write(metadata.create_all)

    def found(where: Database) -> dict[str, object]:
        return {
            str(name): sql
            for kind, name, sql in schema(where)
            if kind != "table" and sql is not None and "alembic_version" not in str(name)
        }

    assert found(database) == found(direct)
    direct.close()


@only_sqlite
def test_rows_are_never_numbered_as_removed_ones_were(database: Database) -> None:
    """The order of deliveries is that of their ids; PostgreSQL's sequences never go back."""
    with database.read() as connection:
        numbered = connection.exec_driver_sql(
            "SELECT name FROM sqlite_schema WHERE sql LIKE '%AUTOINCREMENT%'"
        )
        assert set(numbered.scalars()) == {"events", "deliveries"}


def test_the_program_works_with_the_newest_revision() -> None:
    """There is one head, and it is the one that the code expects."""
    assert max(known_revisions()) == SCHEMA


def test_migrating_again_changes_nothing(database: Database) -> None:
    """It says before and after, and leaves a migrated database alone."""
    before = schema(database)
    assert database.migrate() == (SCHEMA, SCHEMA)
    assert schema(database) == before


def test_a_store_of_the_first_version_is_carried_over(url: str, clock: Clock) -> None:
    """What was owed is still owed, in order, and the jobs are counted."""
    database = Database(url, now=clock.sql)
    database.prepare()
    database.write(lambda connection: upgrade(connection, "0001"))
    now = clock.seconds() - 60
    with database.engine.begin() as connection:
        for number, (sink, state) in enumerate(
            [("ops", "done"), ("ops", "pending"), ("ops", "pending"), ("log", "pending"), ("log", "dead")]
        ):
            at = {"id": number + 1, "at": now, "sink": sink, "state": state, "body": b"{}"}
            connection.execute(
                sa.text("INSERT INTO events VALUES (:id, 'e' || :id, 't', 'job', :at, :body)"), at
            )
            connection.execute(
                sa.text(
                    "INSERT INTO deliveries (event_id, sink, job_arn, state, created_at, due_at)"
                    " VALUES ('e' || :id, :sink, 'job', :state, :at, :at)"
                ),
                at,
            )
        for number, (status, gone) in enumerate(
            [("Completed", False), ("Completed", False), ("Failed", False), ("Failed", True)]
        ):
            connection.execute(
                sa.text(
                    "INSERT INTO jobs"
                    " (arn, target_id, kind, account_id, region, status, terminal, entries, gone)"
                    " VALUES (:arn, 't', 'k', '1', 'r', :status, :ended, '[]', :gone)"
                ),
                {"arn": f"a{number}", "status": status, "ended": True, "gone": gone},
            )
    assert database.migrate() == ("0001", SCHEMA)
    store = Store(database)
    assert store.snapshot.counts.by_status() == {
        ("1", "r", "k", "Completed"): 2,
        ("1", "r", "k", "Failed"): 1,
    }
    arrived = []
    for sink in ("ops", "ops", "log"):
        claimed = store.outbox.claim(sink, limit=9, lease=1)
        arrived += [(sink, item.event.id) for item in claimed]
        store.outbox.settle([Settlement(item, delivered=True) for item in claimed])
    assert arrived == [("ops", "e2"), ("ops", "e3"), ("log", "e4")]
    assert {sink: found.states for sink, found in store.outbox.backlog().items()} == {"log": {"dead": 1}}
    database.close()


def test_a_new_database_has_no_revision_before_it_is_migrated(url: str) -> None:
    """And the migration says so."""
    database = Database(url)
    database.prepare()
    assert database.revision() is None
    assert database.migrate() == (None, SCHEMA)
    assert database.revision() == SCHEMA
    database.close()


def test_a_newer_schema_is_refused(database: Database) -> None:
    """The message says what is there, what is wrong and what to run; nothing is changed (fault 9)."""
    database.write(
        lambda connection: connection.execute(sa.text("UPDATE alembic_version SET version_num='9999'"))
    )
    before = schema(database)
    with pytest.raises(SchemaError) as caught:
        database.migrate()
    assert "9999" in str(caught.value)
    assert "newer version" in str(caught.value)
    assert database.revision() == "9999"
    assert schema(database) == before


def test_a_command_that_only_reads_requires_the_schema(database: Database) -> None:
    """An empty database and another revision each have their remedy."""
    database.require()
    database.write(
        lambda connection: connection.execute(sa.text("UPDATE alembic_version SET version_num='0'"))
    )
    with pytest.raises(SchemaError, match="migrate"):
        database.require()
    database.write(lambda connection: connection.execute(sa.text("DROP TABLE alembic_version")))
    with pytest.raises(SchemaError, match="no store"):
        database.require()


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    """And none is made by asking."""
    absent = Database(f"sqlite:///{tmp_path}/absent.db")
    with pytest.raises(SchemaError, match=r"absent\.db"):
        absent.require()
    assert not absent.exists()
    absent.close()


def test_a_migration_that_fails_half_way_leaves_nothing(url: str) -> None:
    """It is one transaction; the next attempt begins anew and succeeds (fault 9)."""
    database = Database(url)
    database.prepare()

    def refuse(_c: object, _u: object, statement: str, *_: object) -> None:
        if "CREATE TABLE jobs" in statement:
            raise RuntimeError("pulled the plug")

    sa.event.listen(database.engine, "before_cursor_execute", refuse)
    with pytest.raises(RuntimeError):
        database.migrate()
    assert schema(database) == []
    sa.event.remove(database.engine, "before_cursor_execute", refuse)
    assert database.migrate() == (None, SCHEMA)
    database.close()


def test_threads_can_migrate_at_the_same_time(url: str) -> None:
    """Every one of them ends with the schema, and none with an error."""
    found: list[tuple[str | None, str]] = []
    barrier = threading.Barrier(4)

    def work() -> None:
        database = Database(url)
        barrier.wait(10)
        database.prepare()
        found.append(database.migrate())
        database.close()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [after for _, after in found] == [SCHEMA] * 4


@pytest.mark.parametrize("url", ["postgresql", pytest.param("sqlite", marks=pytest.mark.long)], indirect=True)
def test_processes_can_migrate_at_the_same_time(url: str) -> None:
    """Two replicas that start at once on an empty database both come up."""
    command = [sys.executable, "-c", MIGRATE, url]
    root = Path(__file__).parents[2]
    started = [
        subprocess.Popen(command, cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    for process in started:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    for process in started:
        output, _ = process.communicate(timeout=60)
        assert process.returncode == 0
        assert SCHEMA in output


def test_what_is_stored_survives_being_opened_again(url: str, store: Store) -> None:
    """A restart finds the targets that were registered before it."""
    store.claim()
    store.database.close()
    database = Database(url)
    database.prepare()
    assert database.migrate() == (SCHEMA, SCHEMA)
    with database.read() as connection:
        assert connection.execute(sa.text("SELECT count(*), max(epoch) FROM targets")).one() == (2, 1)
    database.close()
