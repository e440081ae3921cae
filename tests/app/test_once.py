"""`once` delivers whatever is due before it ends."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

import pytest

from tests.harness.daemon import Daemon, environment
from tests.harness.receiver import SECRET, Receiver

if TYPE_CHECKING:
    from pathlib import Path

    from poller.simulator import Simulator, SimulatorServer


@pytest.mark.slow
def test_a_slow_sink_gets_everything_that_is_due(
    bedrock: SimulatorServer, simulator: Simulator, tmp_path: Path
) -> None:
    """Claims that run out while a send takes long are made again, until nothing is due (fault 77)."""

    def slowly(_event: object) -> int:
        time.sleep(0.3)
        return 204

    with Receiver(slowly) as receiver:
        sink = {
            "type": "webhook",
            "url": receiver.url,
            "secrets": [SECRET],
            "concurrency": 1,
            "timeout": "5s",
        }
        environ = environment(
            bedrock.url,
            tmp_path,
            STORE__URL=f"sqlite:///{tmp_path}/p.db",
            STORE__LEASE="1s",
            POLL__FIRST_SCAN="emit",
            SINKS=json.dumps({"hook": sink}),
        )
        for _ in range(8):
            simulator.submit_async(script=[("InProgress", 0.0)])
        with Daemon(tmp_path, environ, "once") as once:
            assert once.process.wait(60) == 0
        assert len(set(receiver.ids)) == 8
