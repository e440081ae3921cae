"""A reload: what changes, what stays, and that nothing is lost by it."""

from __future__ import annotations

import json
import signal
import threading
import urllib.error
import urllib.request
from typing import TYPE_CHECKING, Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.harness.daemon import Daemon, environment, eventually
from tests.harness.receiver import SECRET, Receiver

if TYPE_CHECKING:
    from pathlib import Path

    from poller.simulator import Simulator, SimulatorServer

pytestmark = pytest.mark.slow

OPEN = [("InProgress", 0.0)]
RELOADED = "config_last_reload_successful"


class File:
    """A configuration file, which is YAML because it is JSON.

    Args:
        folder: Where it is.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / "config.yaml"
        self.content: dict[str, Any] = {"store": {"url": f"sqlite:///{folder}/poller.db"}}

    def write(self, **sections: Any) -> None:
        """Change some sections, and write it."""
        self.content |= sections
        self.path.write_text(json.dumps(self.content))


def hook(receiver: Receiver, **settings: Any) -> dict[str, Any]:
    """The settings of a webhook."""
    retry = {"initial": "50ms", "max": "100ms"}
    return {"type": "webhook", "url": receiver.url, "secrets": [SECRET], "retry": retry, **settings}


def started(file: File, bedrock: SimulatorServer, folder: Path, **settings: str) -> Daemon:
    """A daemon that works by the file."""
    return Daemon(folder, environment(bedrock.url, folder, **settings), "run", "--config", str(file.path))


def reload(daemon: Daemon, *, times: int = 1) -> None:
    """SIGHUP it, and wait until it has reloaded."""
    daemon.process.send_signal(signal.SIGHUP)
    daemon.said("config.reloaded", times)


def samples(daemon: Daemon, name: str) -> dict[tuple[str, ...], float]:
    """A metric's samples by their labels' values, each value's label in alphabetical order."""
    return {
        tuple(value for _, value in sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(daemon.get("/metrics"))
        for sample in family.samples
        if sample.name == f"bedrock_poller_{name}"
    }


@pytest.mark.long
def test_sinks_routes_and_targets_change_and_nothing_is_lost(
    bedrock: SimulatorServer, simulator: Simulator, tmp_path: Path
) -> None:
    """What was owed to a changed sink goes to its new address; removed ones leave no series behind."""
    file = File(tmp_path)
    kinds = ["async_invoke", "model_invocation_job"]
    with Receiver(lambda _: 503) as down, Receiver() as up:
        file.write(
            targets=[{"name": "a", "regions": ["us-east-1"], "kinds": kinds}],
            sinks={"hook": hook(down), "old": {"type": "log"}},
        )
        with started(file, bedrock, tmp_path) as daemon:
            daemon.polled(1)
            first = simulator.submit_async(script=OPEN)
            eventually(lambda: down.ids and daemon.events())
            file.write(
                targets=[{"name": "b", "regions": ["us-east-1"], "kinds": ["model_invocation_job"]}],
                sinks={"hook": hook(up), "new": {"type": "log"}},
                routes=[{"sinks": ["hook"]}, {"match": {"status": ["Failed"]}, "sinks": ["new"]}],
            )
            reload(daemon)
            eventually(lambda: up.statuses() == {first: ["InProgress"]})
            assert set(up.bodies) <= set(down.bodies)
            daemon.said("poll.finished", len(daemon.log("poll.finished")) + 2)
            second = simulator.submit_batch(script=OPEN)
            eventually(lambda: second in up.statuses())
            simulator.force(second, "Failed")
            eventually(lambda: len(daemon.events()) == 2)
            eventually(lambda: up.statuses()[second] == ["InProgress", "Failed"])
            assert samples(daemon, "polls_total").keys() == {("model_invocation_job", "us-east-1", "b")}
            assert samples(daemon, "poll_failures_total").keys() >= {
                ("model_invocation_job", "internal", "us-east-1", "b")
            }
            assert samples(daemon, "deliveries_total").keys() == {("hook",), ("new",)}
            eventually(lambda: samples(daemon, "sink_parked").keys() == {("hook",), ("new",)})
            assert samples(daemon, "targets") == {(): 1}
            assert "new" in daemon.get("/")
            assert daemon.terminate() == 0
        assert [event["data"]["status"] for event in daemon.events()] == ["InProgress", "Failed"]


def test_a_broken_file_leaves_the_old_configuration_in_force(
    bedrock: SimulatorServer, simulator: Simulator, tmp_path: Path
) -> None:
    """Every mistake is logged with its line, a metric says so, work goes on; a mended file is taken.

    Injects fault 43.
    """
    file = File(tmp_path)
    with Receiver() as receiver:
        file.write(sinks={"hook": hook(receiver)})
        with started(file, bedrock, tmp_path) as daemon:
            daemon.polled(1)
            assert samples(daemon, RELOADED) == {(): 1}
            for number, content in enumerate(
                ('{"pol": {}, "sinks": {"hook": {"type": "nonsense"}}}', "{", '{"targets": []}'), 1
            ):
                file.path.write_text(content)
                daemon.process.send_signal(signal.SIGHUP)
                daemon.said("config.reload_failed", number)
                assert samples(daemon, RELOADED) == {(): 0}
            file.path.unlink()
            daemon.process.send_signal(signal.SIGHUP)
            daemon.said("config.reload_failed", 4)
            problems = [line["problem"] for line in daemon.log("config.problem")]
            assert [problem for problem in problems if "config.yaml:1" in problem and "pol" in problem]
            assert len(problems) >= 5
            arn = simulator.submit_async(script=OPEN)
            eventually(lambda: receiver.statuses() == {arn: ["InProgress"]})
            file.write()
            reload(daemon)
            assert samples(daemon, RELOADED) == {(): 1}
            assert daemon.terminate() == 0


@pytest.mark.long
def test_a_send_under_way_ends_before_the_next_one_of_its_job(
    bedrock: SimulatorServer, simulator: Simulator, tmp_path: Path
) -> None:
    """A hanging receiver holds up its own sink's reload alone; order holds from one file to the next."""
    file = File(tmp_path)
    held, free = threading.Event(), threading.Event()
    order: list[str] = []

    def hold(event: dict[str, Any]) -> int:
        held.set()
        free.wait(20)
        order.append(event["data"]["status"])
        return 204

    def take(event: dict[str, Any]) -> int:
        order.append(event["data"]["status"])
        return 204

    with Receiver(hold) as before, Receiver(take) as after:
        file.write(sinks={"hook": hook(before, timeout="20s"), "log": {"type": "log"}})
        with started(file, bedrock, tmp_path) as daemon:
            daemon.polled(1)
            arn = simulator.submit_async(script=OPEN)
            assert held.wait(20)
            file.write(sinks={"hook": hook(after), "log": {"type": "log"}})
            daemon.process.send_signal(signal.SIGHUP)
            eventually(lambda: samples(daemon, "targets") and len(daemon.log("poll.finished")) > 4)
            simulator.force(arn, "Completed")
            eventually(lambda: len(daemon.events()) == 2)
            assert order == []
            free.set()
            eventually(lambda: order == ["InProgress", "Completed"])
            daemon.said("config.reloaded")
            assert daemon.terminate() == 0
        assert before.ids == [daemon.events()[0]["id"]]
        assert after.ids == [daemon.events()[1]["id"]]


@pytest.mark.long
def test_what_needs_a_restart_is_said(bedrock: SimulatorServer, tmp_path: Path) -> None:
    """The store and the web server stay what they are, and the log says that they would be others."""
    file = File(tmp_path)
    file.write()
    with started(file, bedrock, tmp_path) as daemon:
        daemon.polled(1)
        file.write(store={"url": f"sqlite:///{tmp_path}/other.db"}, poll={"interval": "150ms"})
        reload(daemon)
        assert [line["sections"] for line in daemon.log("config.restart_needed")] == [["store"]]
        daemon.polled(1)
        reload(daemon, times=2)
        assert daemon.terminate() == 0
    assert not (tmp_path / "other.db").exists()


def post(daemon: Daemon, **headers: str) -> tuple[int, dict[str, Any]]:
    """`POST /-/reload`."""
    request = urllib.request.Request(f"{daemon.url}/-/reload", method="POST", headers=headers)  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:  # noqa: S310 - our own
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def test_a_post_reloads_where_that_is_allowed(bedrock: SimulatorServer, tmp_path: Path) -> None:
    """It answers when the new configuration is in force, or says what is wrong with it."""
    file = File(tmp_path)
    file.write(web={"listen": "127.0.0.1:0", "reload": True})
    environ = environment(bedrock.url, tmp_path)
    del environ["BEDROCK_POLLER_WEB__LISTEN"]
    with Daemon(tmp_path, environ, "run", "--config", str(file.path)) as daemon:
        daemon.polled(1)
        assert post(daemon) == (200, {"reloaded": True})
        assert len(daemon.log("config.reloaded")) == 1
        file.path.write_text('{"pol": {}}')
        status, said = post(daemon)
        assert status == 422
        assert "config.yaml:1: pol: is not a known key" in said["why"]
        assert samples(daemon, RELOADED) == {(): 0}
        assert daemon.terminate() == 0


@pytest.mark.long
def test_strangers_cannot_reload(bedrock: SimulatorServer, tmp_path: Path) -> None:
    """A page in a browser cannot, by whatever name it asks; and nobody can unless the configuration says so.

    Injects fault 47.
    """
    with Daemon(tmp_path, environment(bedrock.url, tmp_path, WEB__RELOAD="true")) as daemon:
        daemon.polled(1)
        for headers in (
            {"Origin": "http://evil.example"},
            {"Origin": daemon.url},
            {"Origin": "null"},
            {"Sec-Fetch-Site": "cross-site"},
            {"Host": "evil.example"},
            {"Host": "127.0.0.1.evil.example:9477"},
            {"Host": "1.2.3.4@evil.example"},
        ):
            status, said = post(daemon, **headers)
            assert (status, said["reloaded"]) == (403, False), headers
        assert len(daemon.log("reload.refused")) == 7
        assert daemon.log("config.reloaded") == []
        assert post(daemon, Host="localhost:9477")[0] == 200
        assert daemon.terminate() == 0
    with Daemon(tmp_path, environment(bedrock.url, tmp_path)) as daemon:
        daemon.polled(1)
        assert daemon.ask("/-/reload")[0] == 404
        assert daemon.terminate() == 0


@pytest.mark.long
def test_reloads_in_a_row_and_a_stop_meanwhile(bedrock: SimulatorServer, tmp_path: Path) -> None:
    """Signals that come during a reload are not lost, and a stop in the middle of one ends with 0."""
    file = File(tmp_path)
    file.write()
    with started(file, bedrock, tmp_path) as daemon:
        daemon.polled(1)
        for number in range(10):
            file.write(targets=[{"name": f"target-{number}", "kinds": ["async_invoke"]}])
            daemon.process.send_signal(signal.SIGHUP)
        last = {("async_invoke", "us-east-1", "target-9")}
        eventually(lambda: samples(daemon, "polls_total").keys() == last)
        daemon.process.send_signal(signal.SIGHUP)
        assert daemon.terminate() == 0
        assert daemon.log("daemon.stopped")
