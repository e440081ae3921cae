"""A replica that reaches AWS and the receivers, but not the database any more."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from tests.harness.daemon import eventually
from tests.harness.receiver import Mood
from tests.replicas.conftest import LEASE, Scene

if TYPE_CHECKING:
    from poller.simulator import Simulator

JOBS = 30
ANSWER_SECONDS = 0.15


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.parametrize("silently", [False, True])
def test_it_stops_sending_within_its_lease(scene: Scene, simulator: Simulator, silently: bool) -> None:
    """What it has claimed and not sent by then is left to others; when it is back, it goes on by itself.

    Injects fault 40.
    """
    scene.receiver.mood = lambda _: Mood(seconds=ANSWER_SECONDS)
    replica, link = scene.start()
    scene.baselined()
    arns = [simulator.submit_batch(script=[("Submitted", 0)]) for _ in range(JOBS)]
    eventually(scene.told)
    claimed = time.time()
    if silently:
        link.silence()
    else:
        link.cut()
    time.sleep(2 * LEASE + JOBS * ANSWER_SECONDS / 2)
    sent = scene.receiver.copies
    assert 1 < len(sent) < JOBS
    assert max(copy.at for copy in sent) < claimed + LEASE
    assert len({copy.id for copy in sent}) == len(sent)

    # Others find what is left: everything that was not settled, in the time that a lease and a send take.
    scene.receiver.mood = lambda _: Mood()
    scene.start()
    eventually(lambda: len({copy.id for copy in scene.receiver.copies}) == JOBS)
    link.mend()
    assert replica.process.poll() is None
    simulator.force(arns[0], "Completed")
    eventually(lambda: scene.told()[-1][1] == "Completed")
