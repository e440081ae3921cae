"""A real database for every test, on a clock that a test can move.

The parameters of `url` are the databases that every test of this folder runs on.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa

from poller.store import Claim, Database, Outbox, Snapshot
from tests.store.samples import OTHER, TARGET

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from poller.store import Observation
    from tests.harness.clock import Clock
    from tests.harness.postgres import Databases, Emptied


only_sqlite = pytest.mark.parametrize("url", ["sqlite"], indirect=True)
only_postgresql = pytest.mark.parametrize("url", ["postgresql"], indirect=True)


class Store:
    """The parts of a store over one database, as one process has them."""

    def __init__(self, database: Database, owner: str = "me") -> None:
        self.database = database
        self.snapshot = Snapshot(database, owner=owner, lease=15)
        self.outbox = Outbox(database)

    def claim(self) -> Claim:
        """Take the lease on the target, which is free."""
        claim = self.snapshot.leases.claim(TARGET)
        assert claim is not None
        return claim

    def record(self, *observations: Observation) -> None:
        """Write observations in a poll of their own."""
        claim = self.claim()
        self.snapshot.record(claim, observations)
        self.snapshot.leases.release(claim)

    @contextmanager
    def explained(self) -> Iterator[list[str]]:
        """Collect how the database looks up what the statements in the block ask for."""
        steps: list[str] = []

        def explain(
            connection: sa.Connection, _cursor: Any, statement: str, parameters: Any, *_: Any
        ) -> None:
            if statement.startswith(("SELECT", "UPDATE", "DELETE")):
                driver: Any = connection.connection.driver_connection
                once = parameters[0] if isinstance(parameters, list) else parameters
                how = "EXPLAIN QUERY PLAN" if connection.dialect.name == "sqlite" else "EXPLAIN"
                steps.extend(str(row[-1]).strip() for row in driver.execute(f"{how} {statement}", once))

        sa.event.listen(self.database.engine, "before_cursor_execute", explain)
        yield steps
        sa.event.remove(self.database.engine, "before_cursor_execute", explain)

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """What a query gives."""
        with self.database.read() as connection:
            return [tuple(row) for row in connection.execute(sa.text(query))]


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty database; for tests that take `database` as well, one with the schema."""
    schema = "database" in request.fixturenames
    if request.param == "sqlite":
        path = tmp_path / "poller.db"
        if schema:
            path.write_bytes(request.getfixturevalue("migrated"))
        return f"sqlite:///{path}"
    if schema:
        emptied: Emptied = request.getfixturevalue("emptied")
        return emptied.url()
    databases: Databases = request.getfixturevalue("databases")
    fresh = databases.fresh()
    request.addfinalizer(lambda: databases.drop(fresh))  # noqa: PT021 - there is nothing to drop of the others
    return fresh


@pytest.fixture
def database(url: str, clock: Clock) -> Iterator[Database]:
    """A database with its schema."""
    database = Database(url, now=clock.sql)
    database.prepare()
    database.migrate()
    yield database
    database.close()


@pytest.fixture
def store(database: Database) -> Store:
    """A store that knows two targets."""
    store = Store(database)
    store.snapshot.rows.register([TARGET, OTHER])
    return store
