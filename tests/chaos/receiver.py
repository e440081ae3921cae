"""A webhook receiver with moods, which notes everything that arrives before it decides how to answer."""

from __future__ import annotations

import hashlib
import hmac
import socket
import struct
import threading
import time
from base64 import b64decode, b64encode
from dataclasses import dataclass
from enum import StrEnum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Self

from tests.chaos.oracle import Copy

if TYPE_CHECKING:
    from collections.abc import Callable

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


class Receiver:
    """Listens on a free port of the loopback interface; a context manager.

    Args:
        name: The sink's name.
        mood: Asked for every request, in a thread, by the event's id.
    """

    def __init__(self, name: str, mood: Callable[[str], Mood] = lambda _: Mood()) -> None:
        self.name = name
        self.mood = mood
        self._copies: list[Copy] = []
        self._lock = threading.Lock()
        self._server: _Server | None = None
        self._thread: threading.Thread | None = None
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

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(self, *_: object) -> None:
        self.shut()

    def open(self) -> None:
        """Accept connections, on the same port as before."""
        if self._server is None:
            self.refusing = False
            self._server = _Server(self, self._port)
            self._port = self._server.server_address[1]
            self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
            self._thread.start()

    def shut(self) -> None:
        """Refuse connections, and hang up on those there are."""
        if self._server is not None and self._thread is not None:
            self.refusing = True
            self._server.shutdown()
            self._server.server_close()
            self._thread.join()
            self._server = self._thread = None

    def take(self, one: str, body: bytes, *, root_causes: bool, sender: str = "") -> Mood:
        """Note an arrival, and say how to answer it."""
        at = time.time()
        mood = self.mood(one)
        with self._lock:
            self._copies.append(Copy(self.name, one, body, mood.act is Act.TAKE, root_causes, sender, at))
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
        mood = receiver.take(one, body, root_causes=self._genuine(one, body), sender=sender)
        if mood.act is Act.RESET:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
            self.close_connection = True
            return
        if mood.act in _ENDLESS:
            self._flood(mood)
            return
        if mood.act is not Act.LATER:
            time.sleep(mood.seconds)
        self._answer(mood)

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

    def _answer(self, mood: Mood) -> None:
        try:
            self.send_response({Act.TAKE: 204, Act.LATER: 429}.get(mood.act, 500))
            if mood.act is Act.LATER:
                self.send_header("retry-after", f"{mood.seconds:.0f}")
            self.send_header("content-length", "0")
            self.end_headers()
        except OSError:
            self.close_connection = True  # whoever asked has been killed, or waits no longer

    def _genuine(self, one: str, body: bytes) -> bool:
        # By hand, because a library would refuse a time that a wrong clock gave.
        signed = b".".join([one.encode(), self.headers["webhook-timestamp"].encode(), body])
        right = hmac.digest(_KEY, signed, hashlib.sha256)
        given = [part.partition(",")[2] for part in self.headers["webhook-signature"].split()]
        return any(hmac.compare_digest(b64decode(one), right) for one in given)

    def log_message(self, *_: object) -> None:
        pass
