"""The image, built after the Dockerfile without Docker, and its container under the restrictions of a pod."""

from __future__ import annotations

import signal
import socket
import subprocess
import time
from typing import TYPE_CHECKING

import pytest
import requests

from poller import __version__
from poller.simulator import Simulator, SimulatorServer
from tests.deploy.chart import ROOT
from tests.verify import image

if TYPE_CHECKING:
    from collections.abc import Callable

    Said = Callable[[str], None]

pytestmark = [
    pytest.mark.skipif(not image.possible(), reason="needs root on Linux, to have a root of its own"),
    # The packages are downloaded.
    pytest.mark.timeout(400),
]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> image.Stage:
    """The last stage of the Dockerfile."""
    return image.build(ROOT / "Dockerfile", tmp_path_factory.mktemp("image"))


def _run(built: image.Stage, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    command = built.enter(list(words), variables, restricted=True)
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_builds(built: image.Stage, said: Said) -> None:
    """Every instruction of the Dockerfile can be followed, with every package as locked."""
    done = _run(built, *built.entrypoint, "version")
    assert done.stdout == f"bedrock-poller {__version__}\n", done.stderr
    assert built.labels["org.opencontainers.image.version"] == __version__
    files = [path for path in (built.root / "opt").rglob("*") if path.is_file() and not path.is_symlink()]
    said(f"{sum(path.stat().st_size for path in files) / 2**20:.0f} MiB beside the base image")


def test_has_no_tools(built: image.Stage) -> None:
    """Neither pip nor what builds packages is in the image."""
    for module in ("pip", "ensurepip._bundled", "hatchling", "setuptools"):
        for python in ("python", "/usr/local/bin/python"):
            assert "No module named" in _run(built, python, "-m", module).stderr
    assert list(built.root.glob("**/bin/pip*")) == []


def test_has_both_databases(built: image.Stage) -> None:
    """The drivers of SQLite and PostgreSQL are there, and the latter brings its own library."""
    done = _run(built, "python", "-c", "import psycopg, sqlite3; print(psycopg.pq.__impl__)")
    assert done.stdout == "binary\n", done.stderr


def test_container_is_restricted(built: image.Stage) -> None:
    """What runs in it is no root, may become none, and can write to the volume and /tmp only."""
    status = dict(
        line.split(":\t", 1) for line in _run(built, "cat", "/proc/self/status").stdout.splitlines()
    )
    assert status["Uid"].split() == ["10001"] * 4
    assert status["CapEff"] == status["CapBnd"] == "0" * 16
    assert status["NoNewPrivs"] == "1"
    for path in ("/opt/bedrock-poller", "/etc", "/usr/local/lib", "/"):
        done = _run(built, "touch", f"{path}/new")
        assert "Read-only file system" in done.stderr, path
    for path in (built.volumes[0], "/tmp"):
        assert _run(built, "touch", f"{path}/new").returncode == 0


def test_container_runs(built: image.Stage, said: Said) -> None:
    """Its command becomes ready and healthy, polls, keeps its state in the volume, and ends when asked to."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with SimulatorServer(Simulator()) as server:
        variables = {
            "AWS_ENDPOINT_URL": server.url,
            "AWS_ACCESS_KEY_ID": "any",
            "AWS_SECRET_ACCESS_KEY": "any",
            "AWS_REGION": "us-east-1",
            "BEDROCK_POLLER_WEB__LISTEN": f"127.0.0.1:{port}",
        }
        command = built.enter([*built.entrypoint, *built.command], variables, restricted=True)
        started = time.monotonic()
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        try:
            _wait_until_polled(f"http://127.0.0.1:{port}", process)
            took = time.monotonic() - started
            health = _run(built, *built.health, **variables)
            assert health.returncode == 0, health.stderr
        finally:
            process.send_signal(signal.SIGTERM)
            output, _ = process.communicate(timeout=30)
    assert process.returncode == 0, output
    assert _run(built, *built.health, **variables).returncode == 1
    database = built.root / built.volumes[0].strip("/") / "poller.db"
    assert (database.stat().st_uid, database.stat().st_mode & 0o077) == (10001, 0)
    said(f"polled {took:.1f} s after its start")


def _wait_until_polled(url: str, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and process.poll() is None:
        try:
            metrics = requests.get(f"{url}/metrics", timeout=5).text
        except requests.ConnectionError:
            metrics = ""
        polls = [line for line in metrics.splitlines() if "polls_total{" in line]
        if any(float(line.rpartition(" ")[2]) for line in polls):
            assert requests.get(f"{url}/-/ready", timeout=5).status_code == 200
            return
        time.sleep(0.1)
    pytest.fail("it did not poll within 30 seconds")
