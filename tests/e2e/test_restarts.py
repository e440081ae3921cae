"""The daemon while its PostgreSQL is away."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.harness.daemon import Daemon, environment, eventually
from tests.harness.postgres import Server
from tests.harness.receiver import SECRET, Receiver

if TYPE_CHECKING:
    from pathlib import Path

    from poller.simulator import Simulator, SimulatorServer

pytestmark = [pytest.mark.slow, pytest.mark.long]


def test_a_daemon_outlives_a_restart_of_its_database(
    bedrock: SimulatorServer, simulator: Simulator, tmp_path: Path
) -> None:
    """Away in the middle of polls and sends, once in order and once by a crash (fault 11).

    What happens meanwhile is delivered afterwards, each once and in order; until then the daemon is alive and
    not ready, and says why.
    """
    with Server() as server, Receiver() as receiver:
        sink = {"type": "webhook", "url": receiver.url, "secrets": [SECRET], "timeout": "4s"}
        environ = environment(
            bedrock.url, tmp_path, SINKS=json.dumps({"hook": sink}), STORE__URL=server.fresh()
        )
        with Daemon(tmp_path, environ) as daemon:
            daemon.polled(1)
            arns = [simulator.submit_batch(script=[("Submitted", 0.0)]) for _ in range(10)]
            eventually(lambda: len(receiver.distinct()) == 10)
            wanted = ["Submitted"]
            for mode, status in (("fast", "InProgress"), ("immediate", "Completed")):
                for arn in arns[:5]:
                    simulator.force(arn, status)
                server.stop(mode)
                for arn in arns[5:]:
                    simulator.force(arn, status)
                failed = len(daemon.log("poll.failed"))
                eventually(lambda failed=failed: len(daemon.log("poll.failed")) > failed + 2)  # type: ignore[misc]
                eventually(lambda: daemon.ask("/-/ready")[0] == 503)
                assert daemon.ask("/-/healthy")[0] == 200
                assert daemon.ask("/metrics")[0] == 200
                server.start()
                eventually(lambda: daemon.ask("/-/ready")[0] == 200)
                wanted.append(status)
                eventually(lambda: receiver.statuses() == dict.fromkeys(arns, wanted), f"{wanted} of all", 45)
            assert {line["reason"] for line in daemon.log("poll.failed")} == {"store"}
            owed = 'bedrock_poller_outbox_deliveries{sink="hook",state="pending"} 0.0'
            eventually(lambda: owed in daemon.get("/metrics"))
            assert daemon.terminate() == 0
    assert receiver.statuses() == dict.fromkeys(arns, wanted)
