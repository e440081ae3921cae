"""A daemon that polls every five minutes, and hears of endings from a queue at once."""

from __future__ import annotations

import json
import signal
import urllib.request
from typing import TYPE_CHECKING, Any

import pytest

from tests.harness.daemon import Daemon, environment, eventually
from tests.replicas.conftest import scene
from tests.sinks.conftest import aws, credentials
from tests.wake_ups.samples import GARBAGE, native
from tests.wake_ups.test_sqs import Queue

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from poller.simulator import Simulator, SimulatorServer
    from tests.replicas.conftest import Scene

__all__ = ["aws", "credentials", "scene"]

pytestmark = pytest.mark.slow

OPEN = [("InProgress", 0.0)]


@pytest.fixture
def queue(aws: str, credentials: None, tmp_path: Path) -> Iterator[Queue]:
    """An empty queue."""
    found = Queue(aws)
    found.create(tmp_path.name)
    yield found
    found.client.close()


def listening(queue: Queue) -> dict[str, str]:
    """The settings of a daemon that polls rarely and listens to a queue."""
    entry = {"type": "sqs", "queue_url": queue.url, "region": "us-east-1"}
    return {"POLL__INTERVAL": "5m", "POLL__IDLE_INTERVAL": "5m", "WAKE_UPS": json.dumps([entry])}


def post(daemon: Daemon, path: str) -> dict[str, Any]:
    """The answer to a POST."""
    request = urllib.request.Request(daemon.url + path, method="POST")  # noqa: S310 - our own
    with urllib.request.urlopen(request, timeout=20) as answer:  # noqa: S310 - our own
        found: dict[str, Any] = json.load(answer)
        return found


def metric(daemon: Daemon, line: str) -> float:
    """The value of a series."""
    found = [each for each in daemon.get("/metrics").splitlines() if each.startswith(f"{line} ")]
    return float(found[0].rpartition(" ")[2]) if found else 0.0


def test_an_ending_is_told_at_once_though_polls_are_rare(
    bedrock: SimulatorServer, simulator: Simulator, queue: Queue, aws: str, tmp_path: Path
) -> None:
    """Before and after a reload, and by request too; a stop does not wait for the long poll (fault 70)."""
    environ = environment(bedrock.url, tmp_path, **listening(queue)) | {"AWS_ENDPOINT_URL_SQS": aws}
    arns = [simulator.submit_batch(script=OPEN) for _ in range(3)]
    with Daemon(tmp_path, environ) as daemon:
        daemon.polled(1)
        daemon.said("wake_ups.queue_reachable")
        for number, arn in enumerate(arns[:2]):
            simulator.force(arn, "Completed")
            queue.send(*GARBAGE[1:4], native(arn), native(arn))
            eventually(lambda number=number: len(daemon.events()) == number + 1)  # type: ignore[misc]
            eventually(lambda: queue.left() == (0, 0))
            if not number:
                polls = len(daemon.log("poll.finished"))
                daemon.process.send_signal(signal.SIGHUP)
                daemon.said("config.reloaded")
                daemon.said("wake_ups.queue_reachable", 2)
                # A reload polls every target.
                daemon.said("poll.finished", polls + 2)
        simulator.force(arns[2], "Failed")
        assert post(daemon, "/api/targets/default/us-east-1/model_invocation_job/poll") == {"polled": True}
        eventually(lambda: len(daemon.events()) == 3)
        seen = [(each["data"]["job_arn"], each["data"]["native_event_seen"]) for each in daemon.events()]
        assert seen == [(arns[0], True), (arns[1], True), (arns[2], False)]
        assert metric(daemon, f'bedrock_poller_wake_up_queue_reachable{{queue="{queue.url}"}}') == 1
        assert metric(daemon, 'bedrock_poller_wake_ups_total{result="garbage",type="unknown"}') == 6
        assert daemon.terminate() == 0


@pytest.mark.long
def test_one_replica_hears_and_another_may_poll(
    scene: Scene, simulator: Simulator, queue: Queue, aws: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two replicas share a queue and a store: each ending once, each known to have been told (fault 70)."""
    monkeypatch.setattr(
        "tests.replicas.conftest.environment",
        lambda *given, **settings: environment(*given, **settings) | {"AWS_ENDPOINT_URL_SQS": aws},
    )
    settings: dict[str, Any] = listening(queue)
    both = [scene.start(**settings)[0] for _ in range(2)]
    scene.baselined()
    for daemon in both:
        daemon.said("wake_ups.queue_reachable")
    arns = [simulator.submit_batch(script=OPEN) for _ in range(10)]
    queue.send(*(native(arn, "InProgress") for arn in arns))
    eventually(lambda: len(scene.told()) == 10)
    for arn in arns:
        simulator.force(arn, "Completed")
        queue.send(native(arn))
    eventually(lambda: len(scene.told()) == 20)
    eventually(lambda: queue.left() == (0, 0))
    found = [json.loads(copy.body)["data"] for copy in scene.receiver.copies if copy.taken]
    ended = [each for each in found if each["terminal"]]
    assert {each["job_arn"] for each in ended} == set(arns)
    assert len(ended) == 10
    # A list may have shown an ending before its message was received, but not all of them.
    assert any(each["native_event_seen"] for each in ended)
    assert [daemon.terminate() for daemon in both] == [0, 0]
