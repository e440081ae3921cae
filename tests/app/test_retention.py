"""What retention removes is counted, and a dead letter that goes is a warning."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import structlog.testing

from poller.app.housekeeping import Retention
from poller.errors import StoreError
from poller.metrics import RETAINED, Metrics
from poller.store import Database, Settlement
from tests.store.conftest import Store
from tests.store.samples import TARGET, announced, job

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.harness.clock import Clock


@pytest.fixture
def store(tmp_path: Path, clock: Clock) -> Iterator[Store]:
    """A store with one event each that was delivered, given up, and is still owed."""
    database = Database(f"sqlite:///{tmp_path}/poller.db", now=clock.sql)
    database.prepare()
    database.migrate()
    store = Store(database)
    store.snapshot.rows.register([TARGET])
    for number in range(3):
        store.record(announced(job(number), "ops"))
    delivered, dead, _ = store.outbox.claim("ops", limit=3, lease=30)
    store.outbox.settle([Settlement(delivered, delivered=True), Settlement(dead, delivered=False)])
    yield store
    database.close()


def counted(metrics: Metrics) -> dict[str, float | None]:
    """What the metric says."""
    name = "bedrock_poller_retention_removed_total"
    return {what: metrics.registry.get_sample_value(name, {"what": what}) for what in RETAINED}


def test_what_goes_is_counted_and_a_dead_letter_is_a_warning(store: Store, clock: Clock) -> None:
    """What is still owed stays with its event, however old; without anything to remove nothing is said."""
    metrics = Metrics()
    metrics.prepare([], [])
    retention = Retention(store.outbox, metrics, older_than=100)
    with structlog.testing.capture_logs() as said:
        retention.keep()
        assert (said, counted(metrics)) == ([], dict.fromkeys(RETAINED, 0))
        clock.tick(10**9)
        retention.keep()
        retention.keep()
    assert counted(metrics) == {"events": 2, "deliveries": 1, "dead_letters": 1}
    assert [(line["event"], line["log_level"]) for line in said] == [
        ("retention.pruned", "info"),
        ("retention.dead_letters_removed", "warning"),
    ]
    assert said[1]["dead_letters"] == 1
    assert store.rows("SELECT state FROM deliveries") == [("pending",)]
    assert store.rows("SELECT count(*) FROM events") == [(1,)]


def test_what_went_before_a_failure_is_counted(
    store: Store, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A store that fails half-way hides nothing of what it had removed by then."""
    metrics = Metrics()
    clock.tick(10**9)
    first = store.outbox.prune

    def fail(**_: float) -> None:
        raise StoreError("disk full")

    def once(*, older_than: float) -> object:
        monkeypatch.setattr(store.outbox, "prune", fail)
        return first(older_than=older_than)

    monkeypatch.setattr(store.outbox, "prune", once)
    with structlog.testing.capture_logs() as said, pytest.raises(StoreError, match="disk full"):
        Retention(store.outbox, metrics, older_than=100).keep()
    assert counted(metrics) == {"events": 2, "deliveries": 1, "dead_letters": 1}
    assert len(said) == 2
