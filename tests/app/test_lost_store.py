"""The database file goes, or another one takes its place, while the daemon runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.harness.daemon import Daemon, environment, eventually

if TYPE_CHECKING:
    from pathlib import Path

    from poller.simulator import Simulator, SimulatorServer


@pytest.mark.slow
@pytest.mark.parametrize("replaced", [False, True], ids=["deleted", "replaced"])
def test_a_lost_file_is_said_at_once_and_nothing_is_written_to_it(
    bedrock: SimulatorServer, simulator: Simulator, tmp_path: Path, replaced: bool
) -> None:
    """Readiness and health fail and say why; after a restart what happened meanwhile is told (fault 72)."""
    path = tmp_path / "poller.db"
    environ = environment(bedrock.url, tmp_path, STORE__URL=f"sqlite:///{path}", HEALTH__PATIENCE="1s")
    with Daemon(tmp_path, environ) as daemon:
        daemon.polled(1)
        kept = path.rename(tmp_path / "kept.db")
        if replaced:
            path.write_bytes(kept.read_bytes())
        arn = simulator.submit_async(script=[("InProgress", 0.0)])
        eventually(lambda: daemon.ask("/-/ready")[0] == 503)
        assert ("replaced" if replaced else "deleted") in daemon.ask("/-/ready")[1]
        eventually(lambda: daemon.ask("/-/healthy")[0] == 503)
        assert "store" in daemon.ask("/-/healthy")[1]
        assert "restart the program" in daemon.said("store.lost")[0]["error"]
        assert "bedrock_poller_store_lost 1.0" in daemon.get("/metrics")
        assert daemon.events() == []
        assert daemon.terminate() == 0
    # The log beside it belongs to the file that was there, and is needed with it.
    kept.rename(path)
    with Daemon(tmp_path, environ) as daemon:
        eventually(daemon.events)
        assert [event["data"]["job_arn"] for event in daemon.events()] == [arn]
        assert daemon.terminate() == 0
