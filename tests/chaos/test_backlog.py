"""A backlog of a million deliveries: on disk, not in memory, and nothing of it is dropped."""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from poller.store import Database
from tests.harness.daemon import Daemon, environment, eventually

if TYPE_CHECKING:
    from poller.simulator import Simulator, SimulatorServer

MANY = 1_000_000
SINKS = (
    """{"dead": {"type": "webhook", "url": "http://127.0.0.1:1/", "retry": {"initial": "1h", "max": "4h"}}}"""
)


def fill(path: Path) -> None:
    """Owe a million events of half a million jobs."""
    database = Database(f"sqlite:///{path}")
    database.prepare()
    database.migrate()
    database.close()
    with closing(sqlite3.connect(path)) as store, store:
        store.execute(
            """
            INSERT INTO events (id, type, job_arn, created_at, body)
            WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < :many)
            SELECT 'e' || x, 't', 'job' || (x % (:many / 2)), 1, CAST('{"data":{"job_arn":"j"}}' AS BLOB)
            FROM n
            """,
            {"many": MANY},
        )
        store.execute(
            """
            INSERT INTO deliveries (event_id, sink, job_arn, state, created_at, due_at, head)
            SELECT id, 'dead', job_arn, 'pending', 1, 1, seq <= :many / 2 FROM events
            """,
            {"many": MANY},
        )


def peak(daemon: Daemon) -> int:
    """The most memory that it has had, in KiB."""
    status = Path(f"/proc/{daemon.process.pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0])


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux")
def test_a_million_waiting_deliveries_cost_no_memory(
    bedrock: SimulatorServer, simulator: Simulator, tmp_path: Path
) -> None:
    """Polling slows down and says so, deliveries are tried on, all are kept (fault 10)."""
    simulator.submit_batch(script=[("InProgress", 0.0)])
    settings = {"SINKS": SINKS, "POLL__BACKLOG_LIMIT": "1000"}
    peaks = []
    for folder, waiting in ((tmp_path / "few", 0), (tmp_path / "many", MANY)):
        folder.mkdir()
        path = folder / "poller.db"
        if waiting:
            fill(path)
        environ = environment(bedrock.url, folder, STORE__URL=f"sqlite:///{path}", **settings)
        with Daemon(folder, environ) as daemon:
            daemon.polled(2)
            if waiting:
                slowed = daemon.said("poll.strain_changed", 2)
                assert {line["why"] for line in slowed} == {"backlog"}
                eventually(lambda daemon=daemon: daemon.log("delivery.failed"))  # type: ignore[misc]
                time.sleep(3)
            peaks.append(peak(daemon))
            assert daemon.terminate() == 0
        with closing(sqlite3.connect(path)) as store:
            (kept,) = store.execute("SELECT count(*) FROM deliveries WHERE state = 'pending'").fetchone()
        assert kept == waiting
    assert peaks[1] < 1.3 * peaks[0]
