"""The composition root: what a configuration becomes."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from poller.app import Daemon
from poller.app.housekeeping import StoreGauges
from poller.app.once import run_once
from poller.errors import StoreError
from poller.store.outbox import Removed
from tests.app.conftest import running
from tests.harness.daemon import eventually

if TYPE_CHECKING:
    from collections.abc import Callable

    from poller.app import Components
    from poller.simulator import Simulator

OPEN = [("InProgress", 0.0)]


def test_the_gauges_follow_the_store(components: Callable[..., Components], simulator: Simulator) -> None:
    """A sink that was removed with deliveries owed to it keeps its gauges."""
    simulator.submit_batch(script=OPEN)
    first = components(POLL__FIRST_SCAN="emit", SINKS='{"old": {"type": "log"}}')
    assert asyncio.run(run_once(first, drain=False)).pending == {"old": 1}
    second = components(SINKS='{"new": {"type": "log"}}')
    second.open_store()
    StoreGauges(second.metrics, second.snapshot, second.outbox).refresh_outbox(second.settings.sinks)
    owed = {
        sink: second.metrics.registry.get_sample_value(
            "bedrock_poller_outbox_deliveries", {"sink": sink, "state": "pending"}
        )
        for sink in ("old", "new")
    }
    assert owed == {"old": 1, "new": 0}


@pytest.mark.parametrize(
    ("weights", "operations"),
    [
        ({}, ["ListModelInvocationJobs", "GetModelInvocationJob"]),
        ({"POLL__GET_COST": "2.5"}, ["ListModelInvocationJobs", "ListModelInvocationJobs"]),
        (
            {"POLL__GET_COST": "2.5", "POLL__PAGE_COST": "3"},
            ["ListModelInvocationJobs", "GetModelInvocationJob"],
        ),
    ],
)
def test_the_weights_decide_whether_an_old_job_is_listed_or_got(
    components: Callable[..., Components],
    simulator: Simulator,
    weights: dict[str, str],
    operations: list[str],
) -> None:
    """One open job behind more than a page of younger ended ones: a page more, or a Get."""
    now = datetime.now(UTC)
    simulator.submit_batch(submitted_at=now - timedelta(hours=2), script=OPEN)
    for second in range(1100):
        at = now - timedelta(hours=1, seconds=second)
        simulator.submit_batch(submitted_at=at, script=[("Submitted", 0), ("Completed", 1)])
    for _ in range(2):
        simulator.requests.clear()
        built = components(TARGETS='[{"name": "a", "kinds": ["model_invocation_job"]}]', **weights)
        asyncio.run(run_once(built, drain=False))
    assert [request.operation for request in simulator.requests] == operations


def test_a_daemon_can_be_embedded(
    components: Callable[..., Components], simulator: Simulator, capfd: pytest.CaptureFixture[str]
) -> None:
    """It starts without a web server and without signals, delivers, keeps its gauges, and stops when told."""
    built = components(WEB__LISTEN="null")
    sample = built.metrics.registry.get_sample_value
    labels = {"account_id": "123456789012", "region": "us-east-1", "kind": "async_invoke"}
    arn = simulator.submit_async(script=OPEN)

    def during() -> None:
        eventually(lambda: simulator.requests.count("ListAsyncInvokes") > 1)
        simulator.force(arn, "Completed")
        eventually(lambda: sample("bedrock_poller_deliveries_total", {"sink": "log"}) == 1)
        eventually(lambda: sample("bedrock_poller_jobs", {**labels, "status": "Completed"}) == 1)

    daemon = Daemon(built, signals=False)
    running(daemon, during)
    assert daemon.web is None
    assert arn in capfd.readouterr().out


def test_a_backlog_slows_polling_and_is_kept(
    components: Callable[..., Components], simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While more waits than `poll.backlog_limit` allows, polls come less often, and nothing is dropped.

    Injects fault 10.
    """
    monkeypatch.setattr("poller.app.daemon._GAUGES_SECONDS", 0.05)
    for _ in range(5):
        simulator.submit_batch(script=OPEN)
    sinks = (
        '{"dead": {"type": "webhook", "url": "http://127.0.0.1:1/", "retry": {"initial": "1h", "max": "1h"}}}'
    )
    built = components(SINKS=sinks, POLL__FIRST_SCAN="emit", POLL__BACKLOG_LIMIT="4", WEB__LISTEN="null")
    sample = built.metrics.registry.get_sample_value
    labels = {"target": "default", "region": "us-east-1", "kind": "model_invocation_job"}

    def during() -> None:
        eventually(lambda: (sample("bedrock_poller_poll_interval_seconds", labels) or 0) >= 8 * 0.2)

    running(Daemon(built, signals=False), during)
    assert sample("bedrock_poller_outbox_deliveries", {"sink": "dead", "state": "pending"}) == 5


def test_a_daemon_outlives_a_store_that_fails_for_a_while(
    components: Callable[..., Components], simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Gauges and retention that cannot be kept are logged, and kept again later."""
    monkeypatch.setattr("poller.app.daemon._GAUGES_SECONDS", 0.05)
    monkeypatch.setattr("poller.app.daemon._PRUNE_SECONDS", 0.05)
    built = components()
    failures = []

    def refuse(*_: object, **__: object) -> Removed:
        failures.append(1)
        if len(failures) < 4:
            raise StoreError("disk full")
        return Removed()

    monkeypatch.setattr(built.outbox, "prune", refuse)
    daemon = Daemon(built, signals=False)
    running(daemon, lambda: eventually(lambda: len(failures) > 5))
    assert built.metrics.registry.get_sample_value("bedrock_poller_config_last_reload_successful") == 1


def test_each_client_has_a_connection_for_every_call_at_once(components: Callable[..., Components]) -> None:
    """Every poll may list while as many Gets as are configured are under way."""
    found = components(POLL__CONCURRENCY="3", POLL__DETAILS_CONCURRENCY="4")
    client = found.api(next(iter(found.targets)))._client.shared
    assert client.meta.config.max_pool_connections == 3 * (1 + 4)
