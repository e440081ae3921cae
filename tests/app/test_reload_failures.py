"""A reload that fails, is overtaken, or finds the clock jumping: the daemon goes on, or ends in time."""

from __future__ import annotations

import asyncio
import json
import threading
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import sqlalchemy as sa
from structlog.testing import capture_logs

from poller.app import Daemon
from poller.app.housekeeping import StoreGauges
from poller.app.runtime import Components as Built
from poller.model import Target
from poller.store.tables import targets
from tests.app.conftest import running
from tests.harness.daemon import eventually
from tests.polling.test_scheduler import A, Rig, Script
from tests.store.samples import announced, job

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest

    from poller.app import Components
    from poller.settings.schema import Settings
    from poller.simulator import Simulator

OPEN = [("InProgress", 0.0)]


def quiet(components: Callable[..., Components], **settings: str) -> Components:
    """Components without a web server."""
    return components(WEB__LISTEN="null", **settings)


def test_any_failure_of_a_reload_keeps_the_old_configuration(
    components: Callable[..., Components], simulator: Simulator
) -> None:
    """What nobody foresaw is logged with its traceback, counted by the metric, and polls go on (fault 62)."""
    built = quiet(components)

    def read() -> Settings:
        raise ZeroDivisionError

    daemon = Daemon(built, signals=False, read=read)
    answers: list[str] = []

    def during() -> None:
        loop = daemon._group._loop
        assert loop is not None
        answers.append(asyncio.run_coroutine_threadsafe(daemon.reload(), loop).result(20))
        before = simulator.requests.count()
        eventually(lambda: simulator.requests.count() > before + 3)

    with capture_logs() as said:
        running(daemon, during)
    assert answers == ["the new configuration cannot be used: ZeroDivisionError; the log has the traceback"]
    (line,) = [line for line in said if line["event"] == "config.reload_failed"]
    assert line["exc_info"]
    assert built.metrics.registry.get_sample_value("bedrock_poller_config_last_reload_successful") == 0


def test_a_stop_overtakes_a_reload(
    components: Callable[..., Components], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reload that waits for something is given up, and the stop does not wait for it (fault 62)."""
    built = quiet(components)
    begun, free = threading.Event(), threading.Event()
    announced_again: list[bool] = []
    announce = Built.announce

    def slowly(self: Components, *, discover: bool = True) -> None:
        if not self._first:
            begun.set()
            free.wait(20)
            announced_again.append(free.is_set())
        announce(self, discover=discover)

    monkeypatch.setattr(Built, "announce", slowly)
    settings = built.settings
    daemon = Daemon(built, signals=False, read=lambda: settings)

    async def main() -> None:
        task = asyncio.create_task(daemon.run())
        await asyncio.wait_for(daemon.started.wait(), 20)
        asking = asyncio.create_task(daemon.reload())
        assert await asyncio.to_thread(begun.wait, 20)
        daemon.stop()
        assert await task is False
        assert announced_again == []
        free.set()
        assert await asking == "the program is stopping"

    asyncio.run(main())


def test_a_clock_that_jumps_before_the_first_poll_ends_nothing() -> None:
    """A replica looks at the store first; until then there is nothing to plan anew (fault 62)."""
    rig = Rig(Script(), targets=[A])
    rig.scheduler.poll_now()

    async def main() -> None:
        rig.scheduler.start()
        rig.scheduler.poll_now()
        await rig.scheduler.stop(5)

    asyncio.run(main())


def test_what_removed_sinks_are_owed_slows_nothing(components: Callable[..., Components]) -> None:
    """Their deliveries are shown and do not count as waiting; they are counted rarely (fault 60)."""
    built = quiet(components, SINKS=json.dumps({"kept": {"type": "log"}}))
    built.open_store()
    (target, _) = built.targets
    claim = built.snapshot.leases.claim(target)
    assert claim is not None
    built.snapshot.record(claim, [announced(job(number), "gone", "kept") for number in range(3)])
    gauges = StoreGauges(built.metrics, built.snapshot, built.outbox)
    for _ in range(2):
        assert gauges.refresh_outbox(["kept"]) == 3
        labels = {"sink": "gone", "state": "pending"}
        assert built.metrics.registry.get_sample_value("bedrock_poller_outbox_deliveries", labels) == 3
    with capture_logs() as said:
        built._warn_of_orphans()
    assert "deliveries drop --sink gone" in said[0]["remedy"]


def test_the_gauges_of_jobs_are_refreshed_though_another_replica_has_changed_them(
    components: Callable[..., Components], simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They follow the store, also where this process has nothing to poll (fault 76)."""
    monkeypatch.setattr("poller.app.daemon._JOBS_SECONDS", 0.2)
    monkeypatch.setattr("poller.app.daemon._GAUGES_SECONDS", 0.1)
    monkeypatch.setattr("poller.app.daemon._PAUSE_FACTOR", 1)
    built = quiet(components, POLL__INTERVAL="1h", POLL__IDLE_INTERVAL="1h")
    daemon = Daemon(built, signals=False)
    place = {"account_id": "123456789012", "region": "us-east-1", "kind": "model_invocation_job"}

    def shown() -> float | None:
        labels = {**place, "status": "InProgress"}
        return built.metrics.registry.get_sample_value("bedrock_poller_jobs", labels)

    def during() -> None:
        other = Target("default", "us-east-1", "model_invocation_job", "123456789012")
        claim = eventually(lambda: built.snapshot.leases.claim(other))
        built.snapshot.record(claim, [announced(job(1), "log")])
        eventually(lambda: shown() == 1)

    running(daemon, during)


def test_a_full_scan_by_a_clock_that_was_ahead_is_due(
    components: Callable[..., Components], simulator: Simulator
) -> None:
    """An age below zero is none: the next poll lists everything, and writes the right time (fault 59)."""
    built = quiet(components)
    built.open_store()
    (target, _) = built.targets
    poller = built.poller()
    simulator.submit_async(script=OPEN)
    simulator.submit_batch(script=OPEN)
    assert [poller.poll(target).full for _ in range(2)] == [True, False]
    ahead = (datetime.now(UTC) + timedelta(days=365)).timestamp()
    with built.database.engine.begin() as connection:
        connection.execute(sa.update(targets).values(full_scan_at=ahead, claimed_at=ahead))
    assert [poller.poll(target).full for _ in range(2)] == [True, False]
