"""A store copied into another: everything is there, deliveries go on, and the source is as it was."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa

from poller.errors import SchemaError, StoreError
from poller.store import Database, Outbox
from poller.store.copy import copy
from poller.store.database import Prepared
from poller.store.tables import metadata
from tests.store.conftest import Store
from tests.store.samples import announced, arn, job, silent
from tests.store.test_outbox import done, failed

if TYPE_CHECKING:
    from pathlib import Path

    from tests.harness.clock import Clock
    from tests.harness.postgres import Databases


@pytest.fixture(params=["sqlite", "postgresql"])
def empty(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a database with nothing in it, beside the one that is copied."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/copy.db"
    databases: Databases = request.getfixturevalue("databases")
    fresh = databases.fresh()
    request.addfinalizer(lambda: databases.drop(fresh))  # noqa: PT021 - there is nothing to drop of the other
    return fresh


@pytest.fixture
def filled(store: Store, clock: Clock) -> Store:
    """Jobs, events, deliveries in every state, a parked sink, and names that are hard to store."""
    store.record(*(silent(job(number)) for number in range(20)))
    store.record(
        *(
            announced(job(number, "Failed", jobName=f"\N{SNOWMAN}\x00{number}'\""), "ops", "b")
            for number in range(20)
        )
    )
    clock.tick(1.25)
    first, second, third, *_ = store.outbox.claim("ops", limit=20, lease=60)
    store.outbox.settle([*done(first), *failed(second, 30.0), *failed(third)])
    store.outbox.park("b", "gone")
    return store


def dump(database: Database) -> dict[str, list[tuple[object, ...]]]:
    """Every row of every table."""
    with database.read() as connection:
        return {
            table.name: sorted((tuple(row) for row in connection.execute(sa.select(table))), key=repr)
            for table in metadata.sorted_tables
        }


def test_everything_is_copied_and_deliveries_go_on(filled: Store, empty: str, clock: Clock) -> None:
    """Every row is the same, the ids of events too; new rows get new numbers; the source has not changed."""
    before = dump(filled.database)
    progress: list[tuple[str, int]] = []
    with closing(Database(empty, now=clock.sql)) as target:
        copied = copy(filled.database, target, told=lambda *what: progress.append(what))
        assert dump(target) == dump(filled.database) == before
        rows = {each.table: each.rows for each in copied}
        assert rows == {name: len(found) for name, found in before.items()}
        assert rows["jobs"] == 20
        assert rows["deliveries"] == 40
        assert ("jobs", 20) in progress
        assert all(len(each.checksum) == 32 for each in copied)
        there = Store(target, "there")
        clock.tick(60)
        left = {each.event.id for each in there.outbox.claim("ops", limit=50, lease=60)}
        assert left == {each.event.id for each in filled.outbox.claim("ops", limit=50, lease=60)}
        assert len(left) == 18
        there.record(announced(job(99, "Failed"), "ops"))
        (last,) = there.outbox.claim("ops", limit=50, lease=60)
        assert last.event.job_arn == arn(99)
        assert last.id > 40
        assert Outbox(target).parked() == {"b": "gone"}


def test_a_store_that_is_not_empty_is_refused(filled: Store, empty: str, clock: Clock) -> None:
    """Whatever is in it stays as it is."""
    with closing(Database(empty, now=clock.sql)) as target:
        target.migrate()
        Outbox(target).park("mine", "why")
        before = dump(target)
        with pytest.raises(StoreError, match="not empty: there are sinks in it; use a new one"):
            copy(filled.database, target)
        assert dump(target) == before


def test_a_difference_undoes_the_copy(
    filled: Store, empty: str, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What arrives otherwise than it left is noticed by its checksum, and nothing is kept."""
    real = Prepared.many

    def alter(self: Prepared, connection: sa.Connection, rows: list[dict[str, object]]) -> int:
        changed = [row | {"missed": 7} if row.get("arn") == arn(3) else row for row in rows]
        return real(self, connection, changed)

    monkeypatch.setattr(Prepared, "many", alter)
    with closing(Database(empty, now=clock.sql)) as target:
        with pytest.raises(StoreError, match="differs from its source in jobs; nothing is kept"):
            copy(filled.database, target)
        assert all(not rows for rows in dump(target).values())


def test_a_source_of_another_schema_is_refused(empty: str, url: str, clock: Clock) -> None:
    """It is not migrated behind its owner's back, and one that is not there is not made."""
    with closing(Database(url, now=clock.sql)) as source, closing(Database(empty, now=clock.sql)) as target:
        with pytest.raises(SchemaError):
            copy(source, target)
        assert source.revision() is None if source.exists() else True


def test_an_empty_store_can_be_copied(store: Store, empty: str, clock: Clock) -> None:
    """And the copy works: its numbers begin where they should."""
    with closing(Database(empty, now=clock.sql)) as target:
        copied = copy(store.database, target)
        assert {each.rows for each in copied if each.table != "targets"} == {0}
        there = Store(target)
        there.record(announced(job(1, "Failed"), "ops"))
        assert len(there.outbox.claim("ops", limit=5, lease=60)) == 1
