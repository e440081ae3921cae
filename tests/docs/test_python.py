"""The Python in the documentation runs, against real deliveries."""

from __future__ import annotations

import asyncio
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest
from standardwebhooks.webhooks import WebhookVerificationError

from poller.errors import DeliveryError
from poller.sinks import conformance
from poller.sinks.webhook import WebhookSettings, WebhookSink
from tests.docs.pages import blocks

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SECRET = "whsec_c2VjcmV0IHRoYXQgaXMgbG9uZyBlbm91Z2g="
ANOTHER = "whsec_YW5vdGhlciBzZWNyZXQsIGp1c3QgYXMgbG9uZyBhcyBpdA=="
EVENT = conformance.sample_event()
PYTHON = blocks("python")
RUN_BELOW = (
    "verify(body, headers)",
    "FileSink",
    "CHECKS",
    "boto3",
)


def _python(*words: str) -> list[str]:
    return [block.text for block in PYTHON if all(word in block.text for word in words)]


def _run(code: str, names: dict[str, Any]) -> None:
    """Run a block as a module of its own: without this module's `from __future__`."""
    exec(compile(code, "docs", "exec", dont_inherit=True), names)  # noqa: S102 - the documentation's own code


@contextmanager
def _serving(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}/"
        finally:
            server.shutdown()
            thread.join()


async def _deliver(url: str, *, secret: str = SECRET) -> None:
    settings = WebhookSettings.model_validate({"url": url, "secrets": [secret]})
    sink = WebhookSink("ops", settings)
    try:
        await sink.send([EVENT])
    finally:
        await sink.close()


@pytest.fixture(scope="module")
def delivery() -> tuple[bytes, dict[str, str]]:
    """The body and the headers of a delivery, as a receiver got them."""
    got: list[tuple[bytes, dict[str, str]]] = []

    class Recorder(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            got.append((self.rfile.read(int(self.headers["content-length"])), dict(self.headers)))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Stay silent."""

    with _serving(Recorder) as url:
        asyncio.run(_deliver(url))
    (only,) = got
    return only


def test_every_block_is_run() -> None:
    """No block of Python is left out by the tests below."""
    for block in PYTHON:
        assert any(word in block.text for word in RUN_BELOW), str(block)


@pytest.mark.parametrize("code", _python("verify(body, headers)"))
def test_two_lines_verify_a_delivery(code: str, delivery: tuple[bytes, dict[str, str]]) -> None:
    """Two lines of Python verify a real delivery, and refuse it under another secret or with another body."""
    body, headers = delivery
    assert len(code.splitlines()) == 2
    given = {"secret": SECRET, "body": body, "headers": headers}
    _run(code, given)
    assert body == EVENT.body
    event: Any = given["event"]
    assert event["id"] == EVENT.id
    for forged in ({**given, "secret": ANOTHER}, {**given, "body": body.replace(b"Completed", b"Failed")}):
        with pytest.raises(WebhookVerificationError):
            _run(code, forged)


def test_sink_of_your_own(tmp_path: Path) -> None:
    """The example of a sink keeps every promise of sinks, and says when it cannot write."""
    sink_code, check_code = *_python("FileSink"), *_python("CHECKS")
    names: dict[str, Any] = {"__name__": "your_package.sinks"}
    _run(sink_code, names)
    _run(check_code, names)
    path = tmp_path / "events.jsonl"

    def make(where: Path = path) -> Any:
        return names["FileSink"]("file", names["FileSettings"](path=where))

    names["check"](make)
    assert EVENT.body + b"\n" in path.read_bytes()
    with pytest.raises(DeliveryError, match="cannot write"):
        asyncio.run(make(tmp_path / "missing" / "events.jsonl").send([EVENT]))


def test_simulator_in_a_test() -> None:
    """The example with the simulator and a fault runs, its assertions included."""
    (code,) = _python("boto3")
    assert code.count("assert") > 1
    _run(code, {})
