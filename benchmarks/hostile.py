"""How soon a daemon answers a probe while eight receivers answer without end, and while they are honest."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from contextlib import closing, contextmanager
from http.client import HTTPConnection
from typing import TYPE_CHECKING

from benchmarks.bench import OPEN_JOBS
from benchmarks.pages import Account, PageServer
from benchmarks.processes import PROGRAM, environment, running
from benchmarks.serving import no_answer, serving, spawned
from benchmarks.table import Figures, Row, percentile

if TYPE_CHECKING:
    from collections.abc import Iterator
    from multiprocessing.connection import Connection

    from benchmarks.bench import Bench

_SINKS = 8
_PROBES = 400
_PAUSE_SECONDS = 0.02
_START_SECONDS = 60
_SETTLE_SECONDS = 5
_HALF, _NEARLY_ALL = 0.5, 0.99

_CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
_ENDLESS = (
    (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    (b"", b"\r\n"),
    (_CHUNKED, b"0"),
    (_CHUNKED + b"1;", b"a=b;"),
)
"""The beginning of an answer, and what follows for ever."""


def rows(bench: Bench) -> Iterator[Row]:
    """The median and the 99th percentile of the answers to `GET /-/healthy`."""
    hostile: list[list[float]] = []
    honest: list[list[float]] = []
    for run in range(bench.sizes.runs):
        bench.say(f"run {run + 1}: probes beside {_SINKS} hostile receivers, and beside honest ones")
        with spawned(_flood, None) as (url, _):
            hostile.append(_probe(bench, url))
        with serving(no_answer) as url:
            honest.append(_probe(bench, url))
    for name, share, limit in (("median", _HALF, None), ("99th percentile", _NEARLY_ALL, 50.0)):
        yield Row(
            f"answer to a health probe beside {_SINKS} hostile receivers, {name}",
            "ms",
            Figures([percentile(run, share) for run in hostile]),
            rival="the same beside honest ones",
            theirs=Figures([percentile(run, share) for run in honest]),
            limit=limit,
        )


def _probe(bench: Bench, receiver: str) -> list[float]:
    """Milliseconds of each answer of a daemon that delivers to this receiver by all of its sinks."""
    sinks = {
        f"sink{number}": {
            "type": "webhook",
            "url": receiver,
            "retry": {"initial": "100ms", "max": "100ms", "give_up_after": "1h"},
        }
        for number in range(_SINKS)
    }
    with (
        serving(PageServer(Account(OPEN_JOBS, OPEN_JOBS))) as url,
        _daemon(bench, url, {"SINKS": json.dumps(sinks), "POLL__FIRST_SCAN": "emit"}) as port,
    ):
        time.sleep(_SETTLE_SECONDS)
        return [_ask(port) for _ in range(_PROBES)]


@contextmanager
def _daemon(bench: Bench, url: str, settings: dict[str, str]) -> Iterator[int]:
    """Run the program until the end of the block, and give the port of its web server."""
    with closing(_free_socket()) as found:
        port: int = found.getsockname()[1]
    settings |= {
        "STORE__URL": f"sqlite:///{bench.new_store()}",
        "WEB__LISTEN": f"127.0.0.1:{port}",
    }
    prefixed = {f"BEDROCK_POLLER_{name}": value for name, value in settings.items()}
    with running((PROGRAM, "run"), environment(url, **prefixed), bench.folder) as daemon:
        daemon.wait_until("the web server", lambda: _listens(port), _START_SECONDS)
        yield port


def _free_socket() -> socket.socket:
    found = socket.socket()
    found.bind(("127.0.0.1", 0))
    return found


def _listens(port: int) -> bool:
    with closing(socket.socket()) as connection:
        return connection.connect_ex(("127.0.0.1", port)) == 0


def _ask(port: int) -> float:
    time.sleep(_PAUSE_SECONDS)
    began = time.monotonic()
    with closing(HTTPConnection("127.0.0.1", port, timeout=60)) as connection:
        connection.request("GET", "/-/healthy")
        connection.getresponse().read()
    return (time.monotonic() - began) * 1000


def _flood(_: None, ready: Connection) -> None:
    """Answer every request by one of the answers that have no end, each in turn."""
    count = 0

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal count
        head, piece = _ENDLESS[count % len(_ENDLESS)]
        count += 1
        block = piece * (64 * 1024 // len(piece))
        try:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(head)
            while True:
                writer.write(block)
                await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            writer.close()

    async def main() -> None:
        server = await asyncio.start_server(talk, "127.0.0.1", 0)
        ready.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(main())
