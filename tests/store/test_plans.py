"""How PostgreSQL looks things up where there is much of everything: by an index, whatever has piled up."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest

from poller.store import Database, Settlement
from poller.store.queries import Selection
from poller.store.replay import Replay
from tests.store.samples import TARGET, announced, job
from tests.store.test_outbox import claim

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.harness.postgres import Databases
    from tests.store.conftest import Store

ROWS = 30_000
FILL = """
INSERT INTO events (id, type, job_arn, created_at, body)
    SELECT 'e' || n, 't', 'j' || n / 5, 1, 'x' FROM generate_series(1, {rows}) n;
INSERT INTO deliveries (event_id, sink, job_arn, state, created_at, due_at, head, settled_at)
    SELECT 'e' || n, 'ops', 'j' || n / 5, CASE WHEN n < {rows} / 2 THEN 'done' ELSE 'pending' END,
        1, CASE WHEN n < {rows} - 100 THEN 9e9 ELSE 1 END, mod(n, 5) = 0, 1 FROM generate_series(1, {rows}) n;
INSERT INTO jobs (arn, target_id, kind, account_id, region, status, terminal, entries, submitted_at)
    SELECT 'j' || n, '{target}', 'k', '1', 'r', 'Completed', mod(n, 100) <> 0, '[]', n
    FROM generate_series(1, {rows}) n;
ANALYZE;
"""
LATER = re.compile(r"Filter: .*COALESCE\(lease_until")
WHOLE = re.compile(r"Seq Scan on (deliveries|events|jobs)\b")


@pytest.fixture
def url(databases: Databases) -> Iterator[str]:
    """PostgreSQL only; of SQLite the same is asked where the statements are tried."""
    fresh = databases.fresh()
    yield fresh
    databases.drop(fresh)


@pytest.fixture
def database(url: str) -> Iterator[Database]:
    """By the server's own clock, because a time that is given would be looked up in another way."""
    found = Database(url)
    found.migrate()
    yield found
    found.close()


@pytest.fixture
def full(store: Store, database: Database) -> Store:
    """A store in which a sink has been down for long."""
    database.write(lambda connection: connection.exec_driver_sql(FILL.format(rows=ROWS, target=TARGET.id)))
    return store


def settle(store: Store) -> object:
    """Claim, and settle."""
    held = claim(store)
    assert held
    return store.outbox.settle([Settlement(each, delivered=True) for each in held])


def test_no_table_is_read_whole(full: Store) -> None:
    """To poll, to claim, to settle, to see what is next, and to replay."""
    calls: dict[str, Callable[[], Any]] = {
        "claim and settle": lambda: settle(full),
        "next due": lambda: full.outbox.next_due("ops"),
        "record": lambda: full.record(*(announced(job(number), "ops") for number in range(20))),
        "open jobs": lambda: full.snapshot.open_jobs(TARGET),
        "page edges": lambda: next(full.snapshot.page_edges(TARGET)),
        "counts": full.snapshot.counts.by_status,
        "replay": lambda: list(Replay(full.database, Selection(), [5, 10]).run()),
    }
    for name, call in calls.items():
        with full.explained() as steps:
            call()
        assert steps, name
        assert not [step for step in steps if WHOLE.search(step)], (name, steps)
        # What is not due yet is not looked at either: the index is searched by time, and not filtered.
        assert not [step for step in steps if LATER.search(step)], (name, steps)
