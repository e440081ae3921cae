"""A webhook receiver that verifies what it gets, remembers it, and can hold its answers back."""

from __future__ import annotations

import threading
from base64 import b64encode
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

from standardwebhooks.webhooks import Webhook

from tests.listening import Listening

if TYPE_CHECKING:
    from collections.abc import Callable

SECRET = "whsec_" + b64encode(b"a key of thirty-two octets......").decode()


class Receiver(Listening):
    """Listens on a free port; a context manager.

    Args:
        answer: Called with every verified event before the answer goes out, in a thread; gives the status.
    """

    def __init__(self, answer: Callable[[dict[str, Any]], int] = lambda _: 204) -> None:
        self.answer = answer
        self.bodies: list[tuple[str, bytes]] = []
        self.events: list[dict[str, Any]] = []
        self.problems: list[str] = []
        self._lock = threading.Lock()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                status = receiver._take(body, dict(self.headers.items()))
                try:
                    self.send_response(status)
                    self.send_header("content-length", "0")
                    self.end_headers()
                except OSError:
                    self.close_connection = True  # whoever asked has been killed

            def log_message(self, *_: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            def handle_error(self, *_: object) -> None:
                pass  # whoever spoke to us has been killed

        server = Server(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        server.block_on_close = False
        super().__init__(server, "/hook")

    def __exit__(self, *error: object) -> None:
        super().__exit__(*error)
        assert self.problems == []

    def _take(self, body: bytes, headers: dict[str, str]) -> int:
        try:
            event: dict[str, Any] = Webhook(SECRET).verify(body, headers)
            assert headers["webhook-id"] == event["id"]
        except Exception as error:  # noqa: BLE001 - told to the test
            self.problems.append(repr(error))
            return 401
        with self._lock:
            self.bodies.append((event["id"], body))
            self.events.append(event)
        return self.answer(event)

    @property
    def ids(self) -> list[str]:
        """The ids received, copies included."""
        with self._lock:
            return [one for one, _ in self.bodies]

    def distinct(self) -> list[dict[str, Any]]:
        """The events, each at its first arrival; every copy had the same bytes."""
        first: dict[str, bytes] = {}
        with self._lock:
            for one, body in self.bodies:
                assert first.setdefault(one, body) == body
            found: dict[str, dict[str, Any]] = {}
            for event in self.events:
                found.setdefault(event["id"], event)
            return list(found.values())

    def statuses(self) -> dict[str, list[str]]:
        """The statuses announced of every job, in the order of their first arrival."""
        found: dict[str, list[str]] = {}
        for event in self.distinct():
            found.setdefault(event["data"]["job_arn"], []).append(event["data"]["status"])
        return found
