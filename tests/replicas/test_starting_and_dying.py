"""Replicas that come and go: they start on an empty database at once, and one takes over from another."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from poller.simulator import faults
from tests.harness.daemon import eventually

if TYPE_CHECKING:
    from poller.simulator import Simulator
    from tests.replicas.conftest import Scene

pytestmark = pytest.mark.slow


def test_two_that_start_at_once_and_one_that_dies(scene: Scene, simulator: Simulator) -> None:
    """Both find the schema and work, and what one held when it was killed the other polls.

    Injects fault 39.
    """
    simulator.submit_batch(script=[("Submitted", 0), ("Completed", 0)])
    slow = faults.Latency(operation="ListModelInvocationJobs", seconds=0.3)
    simulator.faults.add(slow)
    replicas = [scene.start()[0] for _ in range(2)]
    for replica in replicas:
        replica.said("daemon.starting")
    scene.baselined()
    assert len(scene.ask("SELECT * FROM alembic_version")) == 1
    ((owner, epoch),) = eventually(
        lambda: scene.ask("SELECT lease_owner, epoch FROM targets WHERE lease_until > 0")
    )
    (holder,) = [one for one in replicas if f":{one.process.pid}:" in owner]
    holder.kill()
    arn = simulator.submit_batch(script=[("Submitted", 0)])
    eventually(lambda: scene.ask("SELECT epoch FROM targets")[0][0] > epoch)
    (survivor,) = {"1", "2"} - {str(1 + replicas.index(holder))}
    eventually(scene.told)
    assert scene.told() == [(survivor, "Submitted")]
    assert scene.status(arn) == "Submitted"
