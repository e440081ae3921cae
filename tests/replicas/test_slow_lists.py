"""A call to AWS that takes longer than the lease on its target."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from prometheus_client.parser import text_string_to_metric_families

from poller.simulator import faults
from tests.harness.daemon import Daemon, eventually

if TYPE_CHECKING:
    from poller.simulator import Simulator
    from tests.replicas.conftest import Scene


def lost(daemon: Daemon) -> float:
    """How many leases a replica has lost."""
    return sum(
        sample.value
        for family in text_string_to_metric_families(daemon.get("/metrics"))
        for sample in family.samples
        if sample.name == "bedrock_poller_leases_lost_total"
    )


@pytest.mark.slow
def test_a_listing_that_outlasts_the_lease_is_finished(scene: Scene, simulator: Simulator) -> None:
    """Two replicas, a lease of a second, lists that take longer: none robs the other (fault 58)."""
    both = [scene.start()[0] for _ in range(2)]
    scene.baselined()
    arn = simulator.submit_batch(script=[("Submitted", 0)])
    simulator.faults.add(faults.Latency(operation="ListModelInvocationJobs", seconds=1.6))
    eventually(lambda: len(scene.told()) == 1)
    simulator.force(arn, "Completed")
    eventually(lambda: [status for _, status in scene.told()] == ["Submitted", "Completed"])
    assert [lost(daemon) for daemon in both] == [0, 0]
    assert [line for daemon in both for line in daemon.log("poll.lease_lost")] == []
