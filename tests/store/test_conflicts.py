"""Transactions on a server that fail, and are run again: conflicts, lost connections, lost answers."""

from __future__ import annotations

import threading
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa

from poller.errors import StoreError
from poller.store import Database, Settlement
from poller.store.dialects import Postgresql
from poller.store.queries import Selection
from poller.store.replay import Replay
from poller.store.tables import metadata, sinks
from tests.harness.relay import Relay
from tests.store.conftest import Store
from tests.store.samples import OTHER, TARGET, announced, arn, job
from tests.store.test_outbox import claim

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.harness.clock import Clock
    from tests.harness.postgres import Databases, Emptied

    Work = Callable[[Store], Callable[[], object]]


@pytest.fixture
def url(emptied: Emptied) -> str:
    """PostgreSQL only: on SQLite nothing of this can happen."""
    return emptied.url()


def add(connection: sa.Connection, name: str) -> None:
    """Write something."""
    connection.execute(sa.insert(sinks).values(name=name))


def names(database: Database) -> list[str]:
    """What has been written."""
    with database.read() as connection:
        return sorted(connection.execute(sa.select(sinks.c.name)).scalars())


def test_a_deadlock_is_resolved_by_beginning_anew(database: Database) -> None:
    """Both transactions happen, each as a whole."""
    for name in "ab":
        database.write(lambda connection, name=name: add(connection, name))  # type: ignore[misc] # bound early
    both, runs = threading.Barrier(2), []

    def lock(order: str) -> None:
        def transaction(connection: sa.Connection) -> None:
            runs.append(order)
            meet = len(runs) <= 2
            for name in order:
                said = sa.func.concat(sinks.c.parked_reason, order[0])
                connection.execute(sa.update(sinks).where(sinks.c.name == name).values(parked_reason=said))
                if meet and name == order[0]:
                    both.wait(10)

        database.write(transaction)

    threads = [threading.Thread(target=lock, args=(order,)) for order in ("ab", "ba")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(runs) == 3
    with database.read() as connection:
        said = set(connection.execute(sa.select(sinks.c.parked_reason)).scalars())
    assert said in ({"ab"}, {"ba"})


def test_a_serialization_failure_begins_anew(database: Database) -> None:
    """The whole transaction is run again, and sees what was in its way."""
    database.write(lambda connection: add(connection, "a"))
    found = []

    def transaction(connection: sa.Connection) -> None:
        connection.execute(sa.text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"))
        found.append(connection.execute(sa.select(sinks.c.parked_reason)).scalar_one())
        if len(found) == 1:
            database.write(lambda other: other.execute(sa.update(sinks).values(parked_reason="seen")))
        connection.execute(sa.update(sinks).values(parked_reason="done"))

    database.write(transaction)
    assert found == [None, "seen"]


def test_a_session_that_is_ended_begins_anew(database: Database) -> None:
    """As an administrator or a failover does it, in the middle of a transaction (fault 11)."""
    runs = 0

    def transaction(connection: sa.Connection) -> int:
        nonlocal runs
        runs += 1
        add(connection, "a")
        if runs == 1:
            pid = connection.execute(sa.text("SELECT pg_backend_pid()")).scalar_one()
            end = sa.text("SELECT pg_terminate_backend(:pid)")
            database.write(lambda other: other.execute(end, {"pid": pid}))
        add(connection, "b")
        return runs

    assert database.write(transaction) == 2
    assert names(database) == ["a", "b"]


def test_a_session_that_was_ended_while_it_rested_is_replaced(
    databases: Databases, database: Database, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody hears of it: a connection that has not been used for a while is asked before it is."""
    monkeypatch.setattr("poller.store.dialects._RESTED_SECONDS", 0.0)
    database.write(lambda connection: add(connection, "a"))
    assert names(database) == ["a"]
    name = sa.make_url(url).database
    databases.execute(
        f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"  # noqa: S608 - our own name
    )
    assert names(database) == ["a"]


@pytest.fixture
def impatient(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Limits that a test can wait for; before `database`."""
    with closing(Database(url)) as patient:
        # Here, or a busy machine would take longer for the schema than the limits allow.
        patient.migrate()
    begin = Postgresql._BEGIN.replace("'10s'", "'50ms'").replace("'30s'", "'100ms'")
    monkeypatch.setattr(Postgresql, "_BEGIN", begin)


def test_a_lock_that_stays_is_an_error_and_one_that_goes_is_not(impatient: None, database: Database) -> None:
    """A write waits, begins anew, and gives up in the end (fault 6)."""
    database.write(lambda connection: add(connection, "a"))
    change = sa.update(sinks).values(parked_reason="x")
    with database.engine.connect() as holder:
        holder.exec_driver_sql("SET LOCAL idle_in_transaction_session_timeout = 0")
        holder.execute(change)
        with pytest.raises(StoreError, match="lock timeout"):
            database.write(lambda connection: connection.execute(change))
        release = threading.Timer(0.1, holder.rollback)
        release.start()
        database.write(lambda connection: connection.execute(change))
        release.join()


def test_a_replica_that_stands_still_holds_nobody_up(impatient: None, database: Database) -> None:
    """The server ends its transaction; when the replica wakes up it begins anew."""
    database.write(lambda connection: add(connection, "a"))
    log = []

    def transaction(connection: sa.Connection) -> None:
        connection.execute(sa.update(sinks).values(parked_reason="x"))
        log.append("wrote")
        if len(log) == 1:
            threading.Event().wait(0.3)
            database.write(lambda other: other.execute(sa.update(sinks).values(parked_reason="other")))
            log.append("other wrote")

    database.write(transaction)
    assert log == ["wrote", "other wrote", "wrote"]


@pytest.fixture
def standby(databases: Databases, url: str, database: Database) -> Iterator[Callable[[], None]]:
    """A database that takes no writes, until the function given here has been called."""
    name = url.partition("?")[0].rpartition("/")[2]
    databases.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")

    def promote() -> None:
        databases.execute(f"ALTER DATABASE {name} RESET default_transaction_read_only")

    yield promote
    promote()


def test_a_primary_that_has_become_a_standby_is_left(standby: Callable[[], None], database: Database) -> None:
    """Its sessions stay open and refuse to write; the next connection may lead to the new primary."""
    database.close()
    assert names(database) == []
    standby()
    database.write(lambda connection: add(connection, "a"))
    assert names(database) == ["a"]


def test_a_standby_is_not_ready(standby: Callable[[], None], database: Database) -> None:
    """A probe needs a database that takes a write."""
    database.close()
    with pytest.raises(StoreError, match="read-only transaction"):
        database.probe()


def _record(store: Store) -> Callable[[], object]:
    store.record(announced(job(1, "Submitted"), "ops"))
    held = store.claim()
    return lambda: store.snapshot.record(held, [announced(job(1), "ops", "audit")], seen=[arn(2)])


def _settle(ending: str) -> Work:
    def prepare(store: Store) -> Callable[[], object]:
        store.record(announced(job(1), "ops"))
        store.record(announced(job(1, "Completed"), "ops"))
        (held,) = claim(store)
        retry = 60.0 if ending == "retried" else None
        ended = Settlement(held, delivered=ending == "done", retry_in=retry, reason="timeout", error="x")
        return lambda: store.outbox.settle([ended])

    return prepare


def _miss(store: Store) -> Callable[[], object]:
    store.record(announced(job(1), "ops"))
    held = store.claim()
    return lambda: store.snapshot.mark_missed(held, [arn(1), arn(2)])


def _finish(store: Store) -> Callable[[], object]:
    held = store.claim()
    return lambda: store.snapshot.leases.finish(held, high_water=None, full=True)


def _take(store: Store) -> Callable[[], object]:
    store.record(announced(job(1), "ops"))
    return lambda: claim(store)


def _replay(store: Store) -> Callable[[], object]:
    _settle("dead")(store)()
    return lambda: list(Replay(store.database, Selection()).run())


WORK: dict[str, Work] = {
    "register": lambda store: lambda: store.snapshot.rows.register([TARGET, OTHER]),
    "claim a target": lambda store: lambda: store.snapshot.leases.claim(TARGET),
    "record": _record,
    "miss": _miss,
    "finish": _finish,
    "claim deliveries": _take,
    "settle as done": _settle("done"),
    "settle as dead": _settle("dead"),
    "retry": _settle("retried"),
    "park": lambda store: lambda: store.outbox.park("ops", "410"),
    "replay": _replay,
}


def test_a_commit_whose_answer_is_lost_counts_once(
    databases: Databases, emptied: Emptied, url: str, clock: Clock
) -> None:
    """The transaction is run a second time, and leaves what it would have left alone (fault 6)."""

    def left(database: Database, work: Work, lose: int) -> list[list[sa.Row[Any]]]:
        assert emptied.url() == url
        store = Store(database)
        store.snapshot.rows.register([TARGET])
        again = work(store)
        relay.lose = lose
        again()
        with database.read() as connection:
            return [
                list(connection.execute(sa.select(table).order_by(*table.primary_key)))
                for table in metadata.sorted_tables
            ]

    with (
        Relay(databases) as relay,
        closing(Database(url, now=clock.sql)) as sure,
        closing(Database(relay.by_way(url), now=clock.sql)) as unsure,
    ):
        for count, (name, work) in enumerate(WORK.items(), start=1):
            assert left(unsure, work, 1) == left(sure, work, 0), name
            assert relay.lost == count, name
