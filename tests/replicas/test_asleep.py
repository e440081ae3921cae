"""A replica that is put to sleep past its lease: whatever it still meant to write is not written."""

from __future__ import annotations

import pytest

from poller.simulator import Simulator, faults
from tests.harness.daemon import eventually
from tests.harness.receiver import Act, Mood
from tests.replicas.conftest import Scene, go_on, pause

pytestmark = [pytest.mark.slow, pytest.mark.long]
LIST = "ListModelInvocationJobs"


def test_a_poll_that_slept_past_its_lease_changes_nothing(scene: Scene, simulator: Simulator) -> None:
    """What it had read is older than what another replica has recorded since, and does not replace it.

    Injects fault 38.
    """
    arn = simulator.submit_batch(script=[("Submitted", 0)])
    sleeper, _ = scene.start()
    scene.baselined()
    with simulator.faults.active(faults.Latency(operation=LIST, seconds=0.5)):
        asked = simulator.requests.count(LIST)
        eventually(lambda: simulator.requests.count(LIST) > asked)
        simulator.force(arn, "InProgress")
        asked = simulator.requests.count(LIST)
        eventually(lambda: simulator.requests.count(LIST) > asked)
        # The answer, with the job in progress, is made and on its way.
        pause(sleeper)
    simulator.force(arn, "Completed")
    scene.start()
    eventually(lambda: scene.told() == [("2", "Completed")])
    go_on(sleeper)
    assert len(sleeper.said("poll.lease_lost")) == 1
    assert scene.status(arn) == "Completed"
    later = simulator.submit_batch(script=[("Submitted", 0), ("Failed", 0)])
    eventually(lambda: len(scene.told()) == 2)
    assert [status for _, status in scene.told()] == ["Completed", "Failed"]
    assert scene.status(later) == "Failed"


def test_a_send_that_slept_past_its_lease_settles_nothing(scene: Scene, simulator: Simulator) -> None:
    """Another replica has delivered the event meanwhile, and the sleeper's failure is not counted.

    Injects fault 38.
    """
    scene.receiver.mood = lambda _: Mood(Act.HANG, 3600)
    sleeper, _ = scene.start()
    scene.baselined()
    arn = simulator.submit_batch(script=[("Submitted", 0)])
    eventually(lambda: scene.told(taken=False))
    pause(sleeper)
    scene.receiver.mood = lambda _: Mood()
    scene.start()
    eventually(lambda: scene.told() == [("2", "Submitted")])
    simulator.force(arn, "Completed")
    eventually(lambda: len(scene.told()) == 2)
    go_on(sleeper)
    assert sleeper.said("delivery.failed")[0]["reason"] == "timeout"
    assert sleeper.said("delivery.lease_lost")[0]["deliveries"] == 1
    assert scene.ask("SELECT state, attempts FROM deliveries ORDER BY id") == [("done", 0), ("done", 0)]
    assert [status for _, status in scene.told(taken=False)] == ["Submitted", "Submitted", "Completed"]
