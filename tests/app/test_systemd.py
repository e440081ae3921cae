"""What systemd is told, over a real socket."""

from __future__ import annotations

import os
import signal
import socket
import time
from typing import TYPE_CHECKING

import pytest
from structlog.testing import capture_logs

from poller.app.systemd import SystemdNotifier
from tests.app.supervising import Manager
from tests.chaos.points import Mode, Plan
from tests.chaos.stage import LOG, Stage, eventually
from tests.chaos.test_unwritable import first
from tests.harness.daemon import Daemon, environment
from tests.harness.receiver import Receiver

if TYPE_CHECKING:
    from pathlib import Path

    from poller.simulator import SimulatorServer


def test_without_a_manager_nothing_is_said() -> None:
    """Without a socket in the environment there is nobody to tell, and no watchdog to feed."""
    systemd = SystemdNotifier({"WATCHDOG_USEC": "1000000"})
    with capture_logs() as log:
        systemd.ready("all is well")
    assert systemd.watchdog == 0
    assert log == []


def test_an_abstract_name_is_understood() -> None:
    """A name that begins with @ is one of Linux's abstract ones."""
    name = f"bedrock-poller-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(f"\0{name}")
        manager.settimeout(5)
        SystemdNotifier({"NOTIFY_SOCKET": f"@{name}"}).status("three deliveries waiting")
        assert manager.recv(4096) == b"STATUS=three deliveries waiting"


def test_a_manager_that_is_gone_is_logged_once(tmp_path: Path) -> None:
    """A socket that nobody listens on is said once until it works again, and harms nothing."""
    systemd = SystemdNotifier({"NOTIFY_SOCKET": str(tmp_path / "notify")})
    with capture_logs() as log:
        systemd.alive()
        systemd.alive()
        with Manager(tmp_path) as manager:
            systemd.alive()
            eventually(lambda: manager.count("WATCHDOG") == 1)
        (tmp_path / "notify").unlink()
        systemd.alive()
    assert [entry["event"] for entry in log] == ["supervisor.unreachable"] * 2


@pytest.mark.parametrize(
    ("environ", "seconds"),
    [
        ({"WATCHDOG_USEC": "30000000"}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, 0.0),
        ({"WATCHDOG_USEC": "soon"}, 0.0),
        ({}, 0.0),
    ],
)
def test_the_watchdog_is_the_one_meant_for_this_process(environ: dict[str, str], seconds: float) -> None:
    """Its interval counts for the process it was handed to; a value that is no number is none."""
    assert SystemdNotifier({"NOTIFY_SOCKET": "/run/notify", **environ}).watchdog == seconds


@pytest.mark.slow
def test_the_daemon_tells_of_its_life(bedrock: SimulatorServer, tmp_path: Path) -> None:
    """READY when it works, RELOADING and READY again around a reload, STATUS, WATCHDOG, and STOPPING."""
    with Manager(tmp_path, watchdog=0.6) as manager:
        environ = {**environment(bedrock.url, tmp_path), **manager.environ}
        with Daemon(tmp_path, environ) as daemon:
            eventually(lambda: manager.states() == ["READY"])
            began = time.clock_gettime(time.CLOCK_MONOTONIC)
            daemon.process.send_signal(signal.SIGHUP)
            eventually(lambda: manager.states() == ["READY", "RELOADING", "READY"])
            eventually(lambda: manager.count("WATCHDOG") >= 3)
            assert daemon.terminate() == 0
        reloading = next(message for message in manager.said if "RELOADING" in message)
        assert int(reloading["MONOTONIC_USEC"]) / 1e6 >= began
        assert manager.states() == ["READY", "RELOADING", "READY", "STOPPING"]
        assert {message["STATUS"] for message in manager.said if "READY" in message} == {
            "2 targets, 0 deliveries waiting"
        }


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.timeout(120)
def test_what_makes_no_progress_is_unhealthy_and_gets_no_watchdog(tmp_path: Path) -> None:
    """A database that does not answer stops deliveries: health fails, signs of life end; then all goes on.

    Injects fault 6.
    """
    with (
        Manager(tmp_path, watchdog=0.6) as manager,
        Stage(1, tmp_path, [Receiver()], owed=lambda _: ("hook", LOG)) as stage,
    ):
        ended = stage.outputs / "ended"
        ended.touch()
        plan = Plan(stage.outputs / "trace", Mode.HANG, number=first(stage, "before statement"), ended=ended)
        environ = {**stage.environ(HEALTH__PATIENCE="1s"), **plan.environ(), **manager.environ}
        with Daemon(stage.outputs, environ) as daemon:
            eventually(stage.baselined, "no baseline")
            assert daemon.ask("/-/healthy")[0] == 200
            ended.unlink()
            arn = stage.simulator.submit_batch(script=[("Submitted", 0), ("Failed", 0)])
            eventually(lambda: '"sink hook":' in daemon.ask("/-/healthy")[1], "healthy all the same")
            assert daemon.ask("/-/healthy")[0] == 503
            signs = manager.count("WATCHDOG")
            time.sleep(1.0)
            assert manager.count("WATCHDOG") == signs
            ended.touch()
            eventually(lambda: stage.arrived(arn, "Failed"), "nothing sent afterwards")
            eventually(lambda: daemon.ask("/-/healthy")[0] == 200, "not healthy again")
            eventually(lambda: manager.count("WATCHDOG") > signs, "no sign of life again")
            assert daemon.terminate() == 0
            assert daemon.log("watchdog.withheld")
