"""What can be said of the image without building it; `make verify-deploy` follows its instructions."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from poller import __version__

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "Dockerfile").read_text()


def _copied() -> set[str]:
    """What the Dockerfile copies from the build context."""
    lines = re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE, re.MULTILINE)
    return {source for line in lines for source in line.split()}


def test_context_is_what_the_build_copies() -> None:
    """The build context lets through what the build copies, and nothing else."""
    rules = (ROOT / ".dockerignore").read_text().splitlines()
    assert {rule[1:] for rule in rules if rule.startswith("!")} == _copied()
    for source in _copied():
        assert (ROOT / source).exists()


def test_image_is_complete_for_hatchling() -> None:
    """The files that pyproject.toml needs for a build are copied."""
    text = (ROOT / "pyproject.toml").read_text()
    for name in re.findall(r'^(?:readme = |license-files = \[)"([^"]+)"', text, re.MULTILINE):
        assert name in _copied()


def test_only_what_is_locked_is_installed() -> None:
    """Every package that the build installs is held against its hash, or is the wheel just built."""
    commands = re.sub(r"\\\n\s*", "", DOCKERFILE)
    installs = re.findall(r"pip(?: --python \S+)? install ([^&\n]+)", commands)
    assert len(installs) == 3
    for arguments in installs:
        assert "--require-hashes -r requirements/" in arguments or "--no-deps --no-index" in arguments


def test_base_image_is_pinned() -> None:
    """Every stage starts from the same image, named by its digest, which no tag can move (fault 83)."""
    bases = re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE)
    assert len(bases) == 3
    (base,) = set(bases)
    name, _, digest = base.partition("@")
    assert re.fullmatch(r"sha256:[0-9a-f]{64}", digest)
    assert f'org.opencontainers.image.base.name="{name}"' in DOCKERFILE


def test_wheel_is_built_apart() -> None:
    """The stage that builds the wheel has the locked build tools, and nothing else (fault 83)."""
    stages = re.split(r"^FROM ", DOCKERFILE, flags=re.MULTILINE)[1:]
    (building,) = [stage for stage in stages if "pip wheel" in stage]
    assert re.findall(r"requirements/\w+\.txt", building) == ["requirements/build.txt"] * 2
    assert "requirements/build.txt" not in "".join(stage for stage in stages if stage != building)


def test_image_says_what_it_is() -> None:
    """The image has the labels of the Open Container Initiative, and its version is the program's."""
    labels = dict(re.findall(r'org\.opencontainers\.image\.(\w+)="([^"]*)"', DOCKERFILE))
    assert {"title", "description", "licenses", "revision"} <= labels.keys()
    assert labels["version"] == __version__


def test_user_is_a_number() -> None:
    """The last user is a number that is not root's, so that Kubernetes can tell."""
    assert re.findall(r"^USER (.*)$", DOCKERFILE, re.MULTILINE) == ["10001:10001"]


@pytest.mark.parametrize(("status", "code"), [(200, 0), (503, 1)])
def test_health_check(status: int, code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The health check passes when `/-/healthy` answers 200, fails otherwise, and uses no proxy."""
    (command,) = re.findall(r'^ +CMD (\["python".*\])$', DOCKERFILE, re.MULTILINE)
    _, *arguments = json.loads(command)
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(status)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Stay silent."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        monkeypatch.setenv("BEDROCK_POLLER_WEB__LISTEN", f"0.0.0.0:{server.server_address[1]}")
        monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
        done = subprocess.run([sys.executable, *arguments], capture_output=True, timeout=30, check=False)
        server.shutdown()
        thread.join()
    assert (done.returncode, asked) == (code, ["/-/healthy"]), done.stderr
