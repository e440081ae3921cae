"""PostgreSQL as a server: connections, poolers, passwords, TLS, restarts."""

from __future__ import annotations

import ssl
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa
import trustme
from psycopg import sql

from poller.errors import StoreError
from poller.settings.secrets import read_secret_file
from poller.store import Database, Settlement
from poller.store.dialects import by_bytes
from poller.store.queries import Selection
from poller.store.replay import Replay
from poller.store.tables import jobs
from tests.harness.postgres import GUARDED, VERSIONS, Server
from tests.harness.relay import Relay
from tests.store.conftest import Store
from tests.store.samples import TARGET, announced, job
from tests.store.test_outbox import claim

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.harness.clock import Clock
    from tests.harness.postgres import Databases, Emptied


@pytest.fixture
def url(emptied: Emptied) -> str:
    """PostgreSQL only."""
    return emptied.url()


def refused(url: str, why: str) -> str:
    """The words with which a database is refused at the start."""
    with closing(Database(url)) as database, pytest.raises(StoreError, match=why) as caught:
        database.prepare()
    return str(caught.value)


def test_a_session_keeps_nothing(store: Store, database: Database) -> None:
    """So that a pooler may give every transaction another one: no prepared statement, setting or lock."""
    for number in range(8):
        store.record(*(announced(job(each, f"Status{number}"), "ops") for each in range(3)))
        for held in claim(store):
            store.outbox.settle([Settlement(held, delivered=number % 2 == 0)])
    list(Replay(database, Selection(equal={"state": "dead"})).run())
    store.outbox.prune(older_than=1)
    database.probe()
    left = (
        "SELECT name FROM pg_prepared_statements",
        "SELECT name FROM pg_settings WHERE source = 'session'",
        "SELECT locktype FROM pg_locks WHERE pid = pg_backend_pid() AND locktype = 'advisory'",
        "SELECT name FROM pg_cursors WHERE name <> ''",
        "SELECT * FROM pg_listening_channels()",
    )
    assert [store.rows(query) for query in left] == [[]] * len(left)


def test_connections_are_bounded(url: str) -> None:
    """However many threads ask at once: they wait for each other, and all are served."""
    count = sa.text("SELECT count(*) FROM pg_stat_activity WHERE application_name = :name")
    through = f"{url}&application_name=bounded"
    with closing(Database(through, pool_size=2)) as database:

        def work(_: int) -> int:
            database.probe()
            with database.read() as connection:
                found: int = connection.execute(count, {"name": "bounded"}).scalar_one()
                return found

        with ThreadPoolExecutor(8) as threads:
            assert max(threads.map(work, range(24))) == 2


def test_one_connection_is_enough(databases: Databases) -> None:
    """Nothing holds one while it asks for another."""
    fresh = databases.fresh()
    with closing(Database(fresh, pool_size=1)) as database:
        database.prepare()
        database.migrate()
        store = Store(database)
        store.snapshot.rows.register([TARGET])
        store.record(*(announced(job(number), "ops") for number in range(3)))
        assert store.outbox.settle([Settlement(each, delivered=False) for each in claim(store)]) == 3
        assert len(list(Replay(database, Selection(), chunk=1).run())) == 3
        database.require()
        database.probe()
    databases.drop(fresh)


@pytest.fixture(scope="module")
def own() -> Iterator[Server]:
    """A server that a test may stop."""
    with Server() as server:
        yield server


def test_a_password_is_read_for_each_connection(own: Server, tmp_path: Path) -> None:
    """A new one in its file takes effect by itself; a wrong one and a missing file are errors without it."""
    file = tmp_path / "password"
    own.execute(f"CREATE ROLE {GUARDED} LOGIN")

    def change(password: str) -> None:
        own.execute(sql.SQL(f"ALTER ROLE {GUARDED} PASSWORD {{}}").format(sql.Literal(password)))

    change("first-canary")
    url = own.url(username=GUARDED)
    with closing(Database(url, password=lambda: read_secret_file(file))) as database:
        with pytest.raises(StoreError, match="the store's password: cannot read"):
            database.revision()
        file.write_text("wrong-canary\n")
        with pytest.raises(StoreError, match="password authentication failed") as caught:
            database.revision()
        assert "canary" not in str(caught.value)
        file.write_text("first-canary\n")
        assert database.revision() is None
        file.write_text("second-canary\n")
        change("second-canary")
        database.close()
        assert database.revision() is None


def test_the_server_s_certificate_is_verified(databases: Databases, tmp_path: Path) -> None:
    """The options of TLS stand in the address: another authority than the one named there is not believed."""
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    good, bad = tmp_path / "good.pem", tmp_path / "bad.pem"
    authority.cert_pem.write_to_path(str(good))
    trustme.CA().cert_pem.write_to_path(str(bad))
    with Relay(databases, context) as relay:
        with closing(Database(relay.url(sslmode="verify-full", sslrootcert=str(good)))) as database:
            assert database.revision() is None
        assert relay.encrypted == 1
        refused(relay.url(sslmode="verify-full", sslrootcert=str(bad)), "certificate verify failed")
    with Relay(databases) as plain:
        refused(plain.url(sslmode="require"), "does not support SSL")


def test_a_server_that_is_not_there_is_an_error() -> None:
    """Which names it, and no password."""
    assert "hunter2" not in refused("postgresql://u:hunter2@127.0.0.1:9/db", "port 9 failed")


def test_a_missing_driver_is_an_error_with_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    """PostgreSQL is an extra."""
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(StoreError, match=r"pip install 'bedrock-poller\[postgres\]'"):
        Database("postgresql://h/db")


def test_an_encoding_that_lacks_characters_is_refused(databases: Databases) -> None:
    """At the start, and not at the first name that cannot be stored."""
    databases.execute("CREATE DATABASE latin ENCODING 'LATIN1' TEMPLATE template0 LOCALE 'C'")
    url = databases.url("latin")
    refused(url, "encoding is LATIN1.*ENCODING 'UTF8'")
    databases.drop(url)


def test_texts_are_sorted_by_their_bytes(database: Database) -> None:
    """As SQLite and Python do it, whatever the language of the database."""
    statement = sa.select(jobs.c.arn).order_by(by_bytes(jobs.c.arn))
    assert 'ORDER BY jobs.arn COLLATE "C"' in str(statement.compile(database.engine))


def test_a_restart_of_the_server_loses_nothing(own: Server, clock: Clock) -> None:
    """While it is down every call fails; afterwards what was claimed before can be settled (fault 11)."""
    with closing(Database(own.fresh(), now=clock.sql)) as database:
        database.migrate()
        store = Store(database)
        store.snapshot.rows.register([TARGET])
        store.record(announced(job(1), "ops"))
        (held,) = claim(store)
        calls = (database.probe, database.revision, lambda: store.outbox.claim("ops", limit=1, lease=1))
        for mode in ("fast", "immediate"):
            own.stop(mode)
            for call in calls:
                with pytest.raises(StoreError, match=r"the store: .*connection"):
                    call()
            own.start()
            database.probe()
        assert store.outbox.settle([Settlement(held, delivered=True)]) == 1
        assert store.rows("SELECT state, attempts FROM deliveries") == [("done", 0)]


@pytest.mark.long
@pytest.mark.parametrize("version", sorted(VERSIONS)[:-1])
def test_older_releases_of_postgresql_do_as_well(version: int) -> None:
    """The statements ask for nothing that only the newest has."""
    with Server(version) as server, closing(Database(server.fresh())) as database:
        assert str(server.execute("SHOW server_version")[0][0]).startswith(f"{version}.")
        database.prepare()
        database.migrate()
        store = Store(database)
        store.snapshot.rows.register([TARGET])
        store.record(announced(job(1), "ops"))
        assert store.outbox.settle([Settlement(each, delivered=False) for each in claim(store)]) == 1
        assert [counts.total() for counts in Replay(database, Selection()).run()] == [1]
        assert store.outbox.settle([Settlement(each, delivered=True) for each in claim(store)]) == 1
        assert store.outbox.prune(older_than=-60).deliveries == 1
        database.probe()
