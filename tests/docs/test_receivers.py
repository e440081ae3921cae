"""The receivers in docs/receivers/ run as programs, against the real sink and against forgers.

In Python and Node always, in Go where a toolchain is found; `PATH` and the environment of the tests are
searched for both.
"""

from __future__ import annotations

import asyncio
import http.client
import os
import shutil
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Self

import pytest
from standardwebhooks import Webhook

from poller.cli import run
from poller.errors import DeliveryError
from poller.events import sample_event
from poller.sinks.webhook import WebhookSettings, WebhookSink
from tests.docs.pages import ROOT
from tests.harness.daemon import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from poller.model import Event

OLD = "whsec_c2VjcmV0IHRoYXQgaXMgbG9uZyBlbm91Z2g="
NEW = "whsec_YSBuZXcgc2VjcmV0LCBqdXN0IGFzIGxvbmc="
STRANGE = "whsec_YW5vdGhlciBzZWNyZXQsIGp1c3QgYXMgbG9uZyBhcyBpdA=="
FILES = {"python": "receiver.py", "javascript": "receiver.mjs", "go": "receiver.go"}


def tool(name: str) -> str:
    """A program of another language; the test is skipped without it."""
    # The wheel that brings Go keeps gofmt beside the go that it calls.
    brought = Path(sys.prefix, "lib", f"python3.{sys.version_info.minor}", "site-packages", "go", "bin")
    found = shutil.which(name, path=f"{brought}:{Path(sys.executable).parent}:{os.environ['PATH']}")
    if found is None:
        pytest.skip(f"there is no {name} here to run the receiver with")
    return found


def offline(folder: Path) -> dict[str, str]:
    """An environment in which Go builds without asking anybody."""
    cache = os.environ.get("GOCACHE", str(folder.parent / "gocache"))
    return os.environ | {
        "GOCACHE": cache,
        "GOFLAGS": "-mod=mod",
        "GOPROXY": "off",
        "GOTELEMETRY": "off",
        "GOTOOLCHAIN": "local",
    }


def command(language: str, folder: Path) -> list[str]:
    """What starts a receiver that the page offers."""
    path = ROOT / "docs" / "receivers" / FILES[language]
    if language == "python":
        return [sys.executable, "-I", str(path)]
    if language == "javascript":
        return [tool("node"), str(path)]
    built = folder / "receiver"
    subprocess.run([tool("go"), "build", "-o", built, path], env=offline(folder), check=True, timeout=300)
    return [str(built)]


class Receiver:
    """One run of a receiver.

    Args:
        start: The command.
        events: Where it keeps what came.
        output: A file for its lines.
    """

    def __init__(self, start: list[str], events: Path, output: Path) -> None:
        self._start = start
        self._environ = os.environ | {"WEBHOOK_SECRETS": f"{OLD} {NEW}", "PORT": "0", "EVENTS": str(events)}
        self._output = output
        self.port = 0

    def __enter__(self) -> Self:
        with self._output.open("wb") as output:
            self._process = subprocess.Popen(
                self._start, env=self._environ, stdout=output, stderr=subprocess.STDOUT
            )
        limit = time.monotonic() + 30
        while not (lines := self._output.read_text().splitlines(keepends=True)) or not lines[0].endswith(
            "\n"
        ):
            assert self._process.poll() is None, self._output.read_text()
            assert time.monotonic() < limit
            time.sleep(0.02)
        said, _, port = lines[0].rstrip().rpartition(" ")
        assert said == "listening on port"
        self.port = int(port)
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait(10)

    def handled(self, times: int) -> list[str]:
        """A line for each event that it has handled; waits for so many, since they come after the answers."""
        return list(eventually(lambda: (found := self._lines()[1:])[times - 1 :] and found))

    def _lines(self) -> list[str]:
        return [each for each in self._output.read_text().splitlines(keepends=True) if each.endswith("\n")]

    def deliver(self, event: Event, *secrets: str) -> None:
        """Deliver by the real sink.

        Raises:
            DeliveryError: It was refused.
        """

        async def send() -> None:
            url = f"http://127.0.0.1:{self.port}/"
            sink = WebhookSink("ops", WebhookSettings.model_validate({"url": url, "secrets": secrets}))
            try:
                await sink.send([event])
            finally:
                await sink.close()

        asyncio.run(send())

    def post(self, body: bytes, headers: Mapping[str, str]) -> int:
        """Post by hand; returns the status."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        connection.request("POST", "/", body=body, headers=dict(headers))
        status = connection.getresponse().status
        connection.close()
        return status


def signed(event: Event, *, ago: float = 0, secret: str = OLD, **other: str) -> dict[str, str]:
    """Headers as the sink sends them, from some time ago; `other` are put in their place."""
    moment = datetime.now(UTC) - timedelta(seconds=ago)
    return {
        "webhook-id": event.id,
        "webhook-timestamp": str(int(moment.timestamp())),
        "webhook-signature": Webhook(secret).sign(event.id, moment, event.body.decode()),
        **{f"webhook-{name}": value for name, value in other.items()},
    }


def sample(second: int) -> Event:
    """An event of its own."""
    return sample_event("ops", datetime(2026, 11, 20, 10, 0, second, tzinfo=UTC))


@pytest.fixture(
    params=["python", "javascript", pytest.param("go", marks=[pytest.mark.long, pytest.mark.timeout(300)])]
)
def start(request: pytest.FixtureRequest, tmp_path: Path) -> list[str]:
    """The command that starts the receiver in a language."""
    return command(request.param, tmp_path)


@pytest.fixture
def receiver(start: list[str], tmp_path: Path) -> Iterator[Receiver]:
    """A receiver that runs, and keeps its events in a folder that can be taken away."""
    (tmp_path / "data").mkdir()
    with Receiver(start, tmp_path / "data" / "events", tmp_path / "out") as running:
        yield running


@pytest.mark.slow
def test_a_receiver_of_the_page(
    receiver: Receiver, start: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It takes what either secret signed, each event once, and refuses forgeries and what is old."""
    first, second, third = map(sample, range(3))
    receiver.deliver(first, OLD)
    receiver.deliver(first, OLD)
    receiver.deliver(second, NEW)
    receiver.deliver(second, STRANGE, OLD)
    assert len(receiver.handled(2)) == 2
    assert receiver.handled(1)[0].split()[1:] == [first.job_arn, "Completed"]

    with pytest.raises(DeliveryError, match="401"):
        receiver.deliver(third, STRANGE)
    with pytest.raises(DeliveryError, match="401"):
        receiver.deliver(third)
    forged = [
        (third.body + b" ", signed(third)),
        (third.body, signed(third, id="another")),
        (third.body, signed(third, id="../../etc/passwd")),
        (third.body, signed(third, timestamp=str(int(time.time()) - 1))),
        (third.body, signed(third, timestamp="")),
        (third.body, signed(third, timestamp="soon")),
        (third.body, signed(third, signature="")),
        (third.body, signed(third, signature="v1,")),
        (third.body, signed(third, signature="v1a,é")),
        (third.body, signed(third, ago=330)),
        (third.body, signed(third, ago=-330)),
        (b"", {}),
    ]
    assert [receiver.post(*each) for each in forged] == [401] * len(forged)
    assert receiver.post(third.body, signed(third, ago=270)) == 204
    assert len(receiver.handled(3)) == 3

    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path))
    monkeypatch.setenv(
        "BEDROCK_POLLER_SINKS",
        f'{{"ops": {{"type": "webhook", "url": "http://127.0.0.1:{receiver.port}/"}}}}',
    )
    monkeypatch.setenv("BEDROCK_POLLER_SINKS__OPS__SECRETS", f'["{NEW}"]')
    assert run(["sinks", "test", "ops"]) == 0
    assert len(receiver.handled(4)) == 4


@pytest.mark.slow
def test_a_receiver_answers_when_it_has_stored(receiver: Receiver, start: list[str], tmp_path: Path) -> None:
    """What it cannot store it does not take, and after a restart it knows what came before."""
    first, second = map(sample, range(2))
    receiver.deliver(first, OLD)
    data = tmp_path / "data"
    data.rename(tmp_path / "away")
    with pytest.raises(DeliveryError, match="503"):
        receiver.deliver(second, OLD)
    (tmp_path / "away").rename(data)
    receiver.deliver(second, OLD)
    assert len(receiver.handled(2)) == 2
    with Receiver(start, data / "events", tmp_path / "again") as another:
        another.deliver(first, OLD)
        another.deliver(second, NEW)
        another.deliver(sample(2), NEW)
        assert len(another.handled(1)) == 1
    kept = data / "events"
    if kept.is_dir():
        assert {path.suffix for path in kept.iterdir()} == {".json"}
        assert (kept / f"{first.id}.json").read_bytes() == first.body


@pytest.mark.long
@pytest.mark.timeout(300)
def test_go_is_as_go_wants_it(tmp_path: Path) -> None:
    """The receiver in Go is formatted by gofmt, and go vet has nothing against it."""
    path = ROOT / "docs" / "receivers" / FILES["go"]
    formatted = subprocess.run([tool("gofmt"), "-d", path], capture_output=True, text=True, check=True)
    assert formatted.stdout == ""
    subprocess.run([tool("go"), "vet", path], env=offline(tmp_path), check=True, timeout=300)
