"""Deliveries replayed under a running daemon, by the real command against a real receiver."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.harness.daemon import Daemon, environment, eventually
from tests.harness.receiver import SECRET, Receiver

if TYPE_CHECKING:
    from pathlib import Path

    from poller.simulator import Simulator, SimulatorServer

pytestmark = [pytest.mark.slow, pytest.mark.long]


def test_what_died_arrives_after_a_replay_as_it_was(
    bedrock: SimulatorServer, simulator: Simulator, tmp_path: Path, store: str
) -> None:
    """Refused until given up, then replayed: the same ids and bytes, in order, and with no restart."""
    with Receiver(lambda _: 400) as receiver:
        retry = {"initial": "1ms", "max": "2ms", "give_up_after": "0s"}
        sink = {"type": "webhook", "url": receiver.url, "secrets": [SECRET], "retry": retry}
        environ = environment(
            bedrock.url,
            tmp_path,
            SINKS=json.dumps({"hook": sink}),
            STORE__URL=store,
        )

        def replay(*arguments: str) -> subprocess.CompletedProcess[str]:
            command = [sys.executable, "-m", "poller", "deliveries", "replay", *arguments]
            return subprocess.run(
                command,
                env=environ,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )

        with Daemon(tmp_path, environ) as daemon:
            daemon.polled(1)
            arns = [simulator.submit_batch(script=[("Submitted", 0.0)]) for _ in range(3)]
            daemon.said("delivery.dead", 3)
            for arn in arns:
                simulator.force(arn, "Completed")
            daemon.said("delivery.dead", 6)
            refused = dict(receiver.bodies)
            assert len(refused) == 6
            tried = len(receiver.ids)
            receiver.answer = lambda _: 204
            done = replay("--dead")
            assert (done.returncode, done.stderr) == (0, "hook: replayed 6 deliveries (6 dead)\n")
            eventually(lambda: len(receiver.ids) == tried + 6)
            again = receiver.bodies[tried:]
            assert dict(again) == refused
            statuses: dict[str, list[str]] = {}
            for _, body in again:
                data = json.loads(body)["data"]
                statuses.setdefault(data["job_arn"], []).append(data["status"])
            assert statuses == {arn: ["Submitted", "Completed"] for arn in arns}
            name = 'bedrock_poller_outbox_deliveries{sink="hook",state="dead"} 0.0'
            eventually(lambda: name in daemon.get("/metrics"))
            assert replay("--dead").stderr == "replayed nothing\n"
            assert daemon.terminate() == 0
