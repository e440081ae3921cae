"""The daemon from outside: what it reports, what a kill costs, how it stops."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from prometheus_client.parser import text_string_to_metric_families

from poller.simulator import faults
from tests.e2e.tokens import SecurityTokens
from tests.harness.daemon import Daemon, environment, eventually, pass_time
from tests.harness.receiver import SECRET, Receiver

if TYPE_CHECKING:
    from poller.simulator import Simulator, SimulatorServer

pytestmark = pytest.mark.slow

OPEN = [("InProgress", 0.0)]
LIFE = ("Submitted", "Validating", "Scheduled", "InProgress", "Completed")


def hooked(receiver: Receiver, folder: Path, bedrock: SimulatorServer, **settings: str) -> dict[str, str]:
    """The environment of a daemon with the receiver as its only sink."""
    sink = {"type": "webhook", "url": receiver.url, "secrets": [SECRET], "timeout": "20s"}
    return environment(bedrock.url, folder, SINKS=json.dumps({"hook": sink}), **settings)


def test_without_a_configuration_it_logs_what_happens(
    bedrock: SimulatorServer, simulator: Simulator, tmp_path: Path
) -> None:
    """With credentials and endpoints alone it prints every transition; a job from awscli is followed."""
    environ = environment(bedrock.url, tmp_path)
    with Daemon(tmp_path, environ, fresh=True) as daemon:
        daemon.polled(1)
        start = [
            str(Path(sys.executable).with_name("aws")),
            *("bedrock-runtime", "start-async-invoke", "--model-id", "amazon.nova-reel-v1:1"),
            *("--model-input", "{}", "--output-data-config"),
            '{"s3OutputDataConfig": {"s3Uri": "s3://a-bucket"}}',
        ]
        simulator.speed = 100
        done = subprocess.run(start, env=environ, check=True, capture_output=True, timeout=30)
        arn = json.loads(done.stdout)["invocationArn"]
        eventually(lambda: len(daemon.events()) >= 1 and daemon.events()[-1]["data"]["terminal"])
        events = daemon.events()
        assert {event["data"]["job_arn"] for event in events} == {arn}
        assert [event["data"]["previous_status"] for event in events][-1:] == ["InProgress"] * (
            len(events) > 1
        )
        assert daemon.get("/-/healthy") == "healthy\n"
        assert daemon.get("/-/ready") == "ready\n"
        assert daemon.terminate() == 0
        assert daemon.log("daemon.stopped")
        lines = [json.loads(line) for line in daemon.errors.splitlines()]
        # On a busy machine a poll may take longer than the interval of this test.
        lines = [line for line in lines if line["logger"] != "apscheduler.scheduler"]
        assert {line["level"] for line in lines} == {"info"}
    store = tmp_path / ".local/state/bedrock-poller/poller.db"
    assert store.stat().st_mode & 0o077 == 0


@pytest.mark.long
def test_killed_between_polls_and_sends_it_loses_nothing(
    bedrock: SimulatorServer, simulator: Simulator, tmp_path: Path, store: str
) -> None:
    """Killed again and again while jobs move: every status arrives, in order, copies with the same bytes."""

    def slowly(_: object) -> int:
        time.sleep(0.01)
        return 204

    with Receiver(slowly) as receiver:
        environ = hooked(receiver, tmp_path, bedrock, STORE__URL=store)
        with Daemon(tmp_path, environ) as daemon:
            daemon.polled(1)
        arns = [simulator.submit_batch(script=[(LIFE[0], 0.0)]) for _ in range(20)]
        for number, status in enumerate(LIFE):
            for arn in arns if number else ():
                simulator.force(arn, status)
            with Daemon(tmp_path, environ) as daemon:
                # Odd ones are killed while some of this status was sent, answered and not settled.
                wanted = 20 * number + (5 if number % 2 else 20)
                eventually(lambda wanted=wanted: len(receiver.distinct()) >= wanted)  # type: ignore[misc]
                daemon.kill()
            pass_time(store)
        with Daemon(tmp_path, environ) as daemon:
            eventually(lambda: len(receiver.distinct()) == 20 * len(LIFE))
            daemon.polled(2)
            assert daemon.terminate() == 0
        assert receiver.statuses() == {arn: list(LIFE) for arn in arns}


def test_killed_between_the_answer_and_the_settle_it_sends_the_same_again(
    bedrock: SimulatorServer, simulator: Simulator, tmp_path: Path, store: str
) -> None:
    """What was taken but not settled arrives once more, with the same id and the same bytes (fault 2)."""
    held = threading.Event()
    free = threading.Event()

    def hold(_: object) -> int:
        held.set()
        free.wait(20)
        return 204

    with Receiver(hold) as receiver:
        environ = hooked(receiver, tmp_path, bedrock, STORE__URL=store)
        with Daemon(tmp_path, environ) as daemon:
            daemon.polled(1)
            simulator.submit_async(script=OPEN)
            assert held.wait(20)
            daemon.kill()
        free.set()
        pass_time(store)
        with Daemon(tmp_path, environ) as daemon:
            eventually(lambda: len(receiver.ids) == 2)
            daemon.polled(1)
            assert daemon.terminate() == 0
        assert len(receiver.distinct()) == 1


@pytest.mark.long
def test_what_ended_while_it_was_down_is_reported_once(
    bedrock: SimulatorServer, simulator: Simulator, tmp_path: Path, store: str
) -> None:
    """Three hundred jobs that ended between two runs are all reported after the restart, each once."""
    with Receiver() as receiver:
        environ = hooked(receiver, tmp_path, bedrock, STORE__URL=store)
        arns = [simulator.submit_async(script=OPEN) for _ in range(150)]
        arns += [simulator.submit_batch(script=OPEN) for _ in range(150)]
        with Daemon(tmp_path, environ) as daemon:
            daemon.polled(1)
            assert daemon.terminate() == 0
        assert receiver.ids == []
        for number, arn in enumerate(arns):
            simulator.force(arn, "Failed" if number % 3 else "Completed")
        with Daemon(tmp_path, environ) as daemon:
            eventually(lambda: len(receiver.ids) >= 300)
            daemon.polled(2)
            assert daemon.terminate() == 0
        assert sorted(event["data"]["job_arn"] for event in receiver.events) == sorted(arns)
        assert all(event["data"]["previous_status"] == "InProgress" for event in receiver.events)
        with Daemon(tmp_path, environ) as daemon:
            daemon.polled(2)
            assert daemon.terminate() == 0
        assert len(receiver.ids) == 300


@pytest.mark.parametrize("seconds", [1.5, 300.0])
def test_a_stop_during_a_poll_is_bounded(
    bedrock: SimulatorServer, simulator: Simulator, tmp_path: Path, store: str, seconds: float
) -> None:
    """SIGTERM while AWS takes its time: it ends with 0 within the grace period; nothing counts as failed.

    Injects fault 3.
    """
    environ = environment(bedrock.url, tmp_path, STORE__URL=store, SHUTDOWN__GRACE="3s")
    with Daemon(tmp_path, environ) as daemon:
        daemon.polled(1)
        simulator.faults.add(faults.Latency(seconds=seconds))
        simulator.requests.clear()
        eventually(simulator.requests.count)
        # It waits for less than the answer of AWS would take.
        assert daemon.terminate() == 0
        assert daemon.log("daemon.stopped")
        assert daemon.log("poll.failed") == []


def test_a_stop_during_a_send_is_bounded_and_counts_nothing(
    bedrock: SimulatorServer, simulator: Simulator, tmp_path: Path, store: str
) -> None:
    """SIGTERM while a receiver takes its time: the send is released, not failed, and comes next time.

    Injects fault 3.
    """
    free = threading.Event()
    held = threading.Event()
    answered = threading.Event()

    def hold(_: object) -> int:
        held.set()
        free.wait(300)
        answered.set()
        return 204

    with Receiver(hold) as receiver:
        environ = hooked(receiver, tmp_path, bedrock, STORE__URL=store, SHUTDOWN__GRACE="1s")
        with Daemon(tmp_path, environ) as daemon:
            daemon.polled(1)
            simulator.submit_batch(script=OPEN)
            assert held.wait(20)
            assert daemon.terminate() == 0
            assert not answered.is_set()
            assert [line["deliveries"] for line in daemon.log("delivery.released")] == [1]
            assert daemon.log("delivery.failed") == []
        free.set()
        with Daemon(tmp_path, environ) as daemon:
            eventually(lambda: len(receiver.ids) == 2)
            daemon.polled(1)
            counted = 'bedrock_poller_deliveries_total{sink="hook"} 1.0'
            eventually(lambda: counted in daemon.get("/metrics"))
            assert daemon.terminate() == 0
        assert len(receiver.distinct()) == 1


def test_two_accounts_of_which_one_refuses(
    bedrock: SimulatorServer, simulator: Simulator, tmp_path: Path, store: str
) -> None:
    """Targets in two accounts by AssumeRole: the refused one is counted, the other is followed unhurt.

    Injects fault 24.
    """
    environ = environment(bedrock.url, tmp_path, STORE__URL=store, SHUTDOWN__GRACE="3s")
    roles = {name: f"arn:aws:iam::{digit * 12}:role/reader" for name, digit in (("good", "1"), ("bad", "2"))}
    targets = [
        {"name": name, "regions": ["us-east-1"], "kinds": ["async_invoke"], "role_arn": role}
        for name, role in roles.items()
    ]
    environ["BEDROCK_POLLER_TARGETS"] = json.dumps(targets)
    environ["BEDROCK_POLLER_AWS__MAX_ATTEMPTS"] = "1"
    with SecurityTokens(refused=roles["bad"]) as sts:
        environ["AWS_ENDPOINT_URL_STS"] = sts.url
        with Daemon(tmp_path, environ) as daemon:
            daemon.said("poll.finished", 2)
            daemon.said("poll.failed", 2)
            arn = simulator.submit_async(script=OPEN)
            eventually(daemon.events)
            metrics = daemon.get("/metrics")
            assert daemon.terminate() == 0
    assert [event["data"]["job_arn"] for event in daemon.events()] == [arn]
    assert {line["target"] for line in daemon.log("poll.finished")} == {"good/us-east-1/async_invoke"}
    assert {line["target"] for line in daemon.log("poll.failed")} == {"bad/us-east-1/async_invoke"}
    assert sample(metrics, "poll_failures_total", target="bad", reason="access_denied") >= 2
    assert sample(metrics, "poll_failures_total", target="good", reason="access_denied") == 0


def sample(page: str, name: str, **labels: str) -> float:
    """The sum of a metric's samples that carry some labels."""
    return sum(
        sample.value
        for family in text_string_to_metric_families(page)
        for sample in family.samples
        if sample.name == f"bedrock_poller_{name}" and labels.items() <= sample.labels.items()
    )


def test_the_demo_loses_nothing(tmp_path: Path) -> None:
    """The demo ends by itself with its verdict and 0; while it runs its metrics can be read and parsed."""
    environ = environment("http://127.0.0.1:9", tmp_path)
    for name in [name for name in environ if name.startswith("BEDROCK_POLLER_")]:
        del environ[name]
    with Daemon(tmp_path, environ, "demo", "--for", "5s", "--jobs", "20") as demo:
        found = eventually(lambda: re.search(r"Metrics: (http://[0-9.:]+)/metrics", demo.output))
        with urllib.request.urlopen(f"{found[1]}/metrics", timeout=5) as answer:  # noqa: S310
            page = answer.read().decode()
        assert sample(page, "polls_total") >= 2
        assert demo.process.wait(40) == 0
        last = demo.output.splitlines()[-1]
        verdict = re.fullmatch(r"demo: transitions=(\d+) delivered=(\d+) lost=0 duplicates=(\d+)", last)
        assert verdict
        assert int(verdict[1]) == int(verdict[2]) >= 20
        assert demo.output.count(" -> ") == int(verdict[1])
        assert demo.errors == ""


@pytest.mark.long
def test_the_simulator_stands_alone(tmp_path: Path) -> None:
    """`simulate` says how to point an SDK at it, shows jobs to `once`, and ends with 0 on SIGTERM."""
    quiet = environment("http://127.0.0.1:9", tmp_path)
    command = ("simulate", "--port", "0", "--jobs", "0", "--history", "7", "--rate", "0")
    with Daemon(tmp_path, quiet, *command) as server:
        found = eventually(lambda: re.search(r"export AWS_ENDPOINT_URL_BEDROCK=(\S+)", server.output))
        environ = environment(found[1], tmp_path, POLL__FIRST_SCAN="emit")
        with Daemon(tmp_path, environ, "once") as once:
            assert once.process.wait(20) == 0
        assert len(once.events()) == 7
        assert server.terminate() == 0
