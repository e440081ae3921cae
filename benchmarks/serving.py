"""HTTP servers with as little in them as possible, each in a process of its own."""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import time
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import format_datetime
from http.client import HTTPConnection
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from multiprocessing.connection import Connection

    Answer = Callable[[str, bytes], bytes | None]
    """Request target and body in, body of the answer out, or none at all; must be picklable."""


def no_answer(_target: str, _body: bytes) -> bytes:
    """A receiver's answer: 200, and nothing else."""
    return b""


@dataclass(slots=True)
class Arrivals:
    """A receiver's answer, which notes when each event came; `/control/arrivals` tells."""

    _came: list[tuple[float, bytes]] = field(default_factory=list)

    def __call__(self, target: str, body: bytes) -> bytes:
        """Take one event, or tell of all."""
        if target != "/control/arrivals":
            self._came.append((time.monotonic(), body))
            return b""
        told = []
        for moment, event in self._came:
            data = json.loads(event)["data"]
            told.append((data["job_arn"], data["status"], moment))
        return json.dumps(told).encode()


def ask(url: str, name: str) -> Any:
    """Call one of a server's control paths."""
    with closing(HTTPConnection(urlsplit(url).netloc, timeout=60)) as connection:
        connection.request("GET", f"/control/{name}")
        return json.loads(connection.getresponse().read())


def first_request(received: bytes) -> tuple[bytes, bytes, bytes] | None:
    """Head and body of the first request, and what follows them; `None` until all of it is there."""
    end = received.find(b"\r\n\r\n")
    if end < 0:
        return None
    head, length = received[:end], 0
    if (at := head.lower().find(b"content-length:")) >= 0:
        length = int(head[at + 15 :].split(b"\r\n", 1)[0])
    whole = end + 4 + length
    return (head, received[end + 4 : whole], received[whole:]) if len(received) >= whole else None


class _Protocol(asyncio.Protocol):
    """HTTP/1.1 with keep-alive and content-length, and nothing else."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self._buffer = b""
        self._transport: asyncio.WriteTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)  # noqa: S101 - a TCP server gives no other
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (request := first_request(self._buffer)) is not None:
            head, asked, self._buffer = request
            body = self._answer(head.split(b" ", 2)[1].decode(), asked)
            if body is None:
                continue
            date = format_datetime(datetime.now(UTC), usegmt=True)
            answer = (
                "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nx-amzn-requestid: bench\r\n"
                f"date: {date}\r\ncontent-length: {len(body)}\r\n\r\n"
            )
            assert self._transport is not None  # noqa: S101 - data comes after the connection
            self._transport.write(answer.encode() + body)


def _serve(answer: Answer, ready: Connection) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: _Protocol(answer), "127.0.0.1", 0)
        ready.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(main())


@contextmanager
def serving(answer: Answer) -> Iterator[str]:
    """Serve until the end of the block, and give the URL."""
    with spawned(_serve, answer) as (url, _):
        yield url


@contextmanager
def spawned(serve: Callable[[Any, Connection], None], given: Any) -> Iterator[tuple[str, int]]:
    """Let a process serve, which says on which port, and give the URL and the process id."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=serve, args=(given, theirs), daemon=True)
    process.start()
    # So that a child that dies ends the wait for its port.
    theirs.close()
    try:
        yield f"http://127.0.0.1:{ours.recv()}", process.pid or 0
    finally:
        process.terminate()
        process.join()
