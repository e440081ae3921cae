"""A webhook receiver that notes everything that arrives before it decides how to answer."""

from __future__ import annotations

import hashlib
import hmac
import json
import socket
import struct
import threading
import time
from base64 import b64decode, b64encode
from dataclasses import dataclass
from enum import StrEnum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Self

from tests.chaos.oracle import Copy

if TYPE_CHECKING:
    from collections.abc import Callable
    from http.server import HTTPServer

_KEY = b"a key of thirty-two octets......"
SECRET = "whsec_" + b64encode(_KEY).decode()
SENDER = "x-sender"
"""The header in which a replica says who it is."""
_NO_LINGER = struct.pack("ii", 1, 0)
_PIECE = 64 * 1024


class Act(StrEnum):
    """What it does with a request whose body it has read."""

    TAKE = "take"
    FAIL = "fail"
    """500."""
    LATER = "later"
    """429 with Retry-After."""
    HANG = "hang"
    """Longer than the sender waits."""
    RESET = "reset"
    """Take the body, then reset the connection."""
    INTERIM = "interim"
    """Answer `100 Continue` again and again."""
    BLANK = "blank"
    """Answer blank lines again and again."""
    ZEROS = "zeros"
    """Answer 500, then a chunk size that is all zeros and never ends."""


_ENDLESS = {
    Act.INTERIM: (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    Act.BLANK: (b"", b"\r\n"),
    Act.ZEROS: (b"HTTP/1.1 500 No\r\ntransfer-encoding: chunked\r\n\r\n", b"0"),
}


@dataclass(frozen=True, slots=True)
class Mood:
    """How it treats one request.

    Args:
        act: What it does.
        seconds: How long it waits first; with `LATER` what it asks for.
    """

    act: Act = Act.TAKE
    seconds: float = 0.0


class Listening:
    """An HTTP server in a thread of this process; a context manager.

    Args:
        server: Bound to the loopback interface; it is closed in the end.
        path: What its address ends with.
    """

    def __init__(self, server: HTTPServer, path: str = "") -> None:
        self._server = server
        self._thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        self.url = f"http://127.0.0.1:{server.server_address[1]}{path}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class Receiver:
    """Listens on a free port of the loopback interface; a context manager.

    Args:
        answer: Called in a thread with every event that is taken, before the answer; gives the status.
        name: The sink's name.
        mood: Asked for every request, in a thread, by the event's id.
    """

    def __init__(
        self,
        answer: Callable[[dict[str, Any]], int] = lambda _: 204,
        *,
        name: str = "hook",
        mood: Callable[[str], Mood] = lambda _: Mood(),
    ) -> None:
        self.answer = answer
        self.name = name
        self.mood = mood
        self._copies: list[Copy] = []
        self._lock = threading.Lock()
        self._listening: Listening | None = None
        self._port = 0
        self.refusing = False

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self._port}/hook"

    @property
    def copies(self) -> list[Copy]:
        """Everything that arrived, in order."""
        with self._lock:
            return list(self._copies)

    @property
    def bodies(self) -> list[tuple[str, bytes]]:
        """The id and the bytes of everything that arrived, in order."""
        return [(copy.id, copy.body) for copy in self.copies]

    @property
    def ids(self) -> list[str]:
        """The ids received, copies included."""
        return [copy.id for copy in self.copies]

    @property
    def events(self) -> list[dict[str, Any]]:
        """The events received, copies included."""
        return [json.loads(copy.body) for copy in self.copies]

    def distinct(self) -> list[dict[str, Any]]:
        """The events, each at its first arrival; every copy had the same bytes."""
        first: dict[str, bytes] = {}
        for one, body in self.bodies:
            assert first.setdefault(one, body) == body
        return [json.loads(body) for body in first.values()]

    def statuses(self) -> dict[str, list[str]]:
        """The statuses announced of every job, in the order of their first arrival."""
        found: dict[str, list[str]] = {}
        for event in self.distinct():
            found.setdefault(event["data"]["job_arn"], []).append(event["data"]["status"])
        return found

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(self, *_: object) -> None:
        self.shut()
        assert [copy.id for copy in self.copies if not copy.signed] == []

    def open(self) -> None:
        """Accept connections, on the same port as before."""
        if self._listening is None:
            self.refusing = False
            server = _Server(self, self._port)
            self._port = server.server_address[1]
            self._listening = Listening(server).__enter__()

    def shut(self) -> None:
        """Refuse connections, and hang up on those there are."""
        if self._listening is not None:
            self.refusing = True
            self._listening.__exit__()
            self._listening = None

    def take(self, one: str, body: bytes, *, signed: bool, sender: str = "") -> Mood:
        """Note an arrival, and say how to answer it."""
        at = time.time()
        mood = self.mood(one)
        with self._lock:
            self._copies.append(Copy(self.name, one, body, mood.act is Act.TAKE, signed, sender, at))
        return mood


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    allow_reuse_address = True

    def __init__(self, receiver: Receiver, port: int) -> None:
        self.receiver = receiver
        super().__init__(("127.0.0.1", port), _Handler)

    def handle_error(self, *_: object) -> None:
        pass  # whoever spoke to us has been killed


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def do_POST(self) -> None:
        receiver = self.server.receiver
        length = int(self.headers["content-length"])
        body = self.rfile.read(length)
        if len(body) < length or receiver.refusing:
            self.close_connection = True
            return
        one = self.headers["webhook-id"]
        sender = self.headers.get(SENDER, "")
        mood = receiver.take(one, body, signed=self._is_signed(one, body), sender=sender)
        if mood.act is Act.RESET:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
            self.close_connection = True
            return
        if mood.act in _ENDLESS:
            self._flood(mood)
            return
        if mood.act is not Act.LATER:
            time.sleep(mood.seconds)
        self._answer(mood, receiver.answer(json.loads(body)) if mood.act is Act.TAKE else 500)

    def _flood(self, mood: Mood) -> None:
        """Answer with what never ends, for as long as the mood says or the sender listens."""
        head, piece = _ENDLESS[mood.act]
        self.close_connection = True
        until = time.monotonic() + mood.seconds
        try:
            self.wfile.write(head)
            while time.monotonic() < until:
                self.wfile.write(piece * (_PIECE // len(piece)))
        except OSError:
            pass  # the sender has had enough

    def _answer(self, mood: Mood, status: int) -> None:
        try:
            self.send_response(429 if mood.act is Act.LATER else status)
            if mood.act is Act.LATER:
                self.send_header("retry-after", f"{mood.seconds:.0f}")
            self.send_header("content-length", "0")
            self.end_headers()
        except OSError:
            self.close_connection = True  # whoever asked has been killed, or waits no longer

    def _is_signed(self, one: str, body: bytes) -> bool:
        # By hand, because a library would refuse a time that a wrong clock gave.
        signed = b".".join([one.encode(), self.headers["webhook-timestamp"].encode(), body])
        right = hmac.digest(_KEY, signed, hashlib.sha256)
        given = [part.partition(",")[2] for part in self.headers["webhook-signature"].split()]
        return json.loads(body)["id"] == one and any(
            hmac.compare_digest(b64decode(one), right) for one in given
        )

    def log_message(self, *_: object) -> None:
        pass
