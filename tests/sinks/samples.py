"""Events, receivers and small helpers for the tests of sinks."""

from __future__ import annotations

import asyncio
import functools
import ssl
import traceback
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ParamSpec

from aiohttp import web

from poller.sinks.conformance import sample_event
from poller.sinks.webhook import WebhookSettings, WebhookSink

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping

    import trustme

    from poller.errors import DeliveryError

P = ParamSpec("P")

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
OTHER_SECRET = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"
EVENT = sample_event()


def in_loop(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """Let pytest run an asynchronous test."""

    @functools.wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        asyncio.run(test(*args, **kwargs))

    return run


def everything_shown(error: DeliveryError) -> str:
    """Return all that a log could show of an error."""
    return "".join(traceback.format_exception(error)) + repr(error) + repr(vars(error))


@dataclass(frozen=True, slots=True)
class Received:
    """One request as it arrived."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes
    peer: Any


@dataclass(slots=True)
class Receiver:
    """A server on loopback, and what it got."""

    port: int
    scheme: str = "http"
    requests: list[Received] = field(default_factory=list)

    @property
    def url(self) -> str:
        """Where to post."""
        return f"{self.scheme}://127.0.0.1:{self.port}/hook"


@asynccontextmanager
async def receiver(
    answer: Callable[[Received], web.StreamResponse] | None = None, *, tls: ssl.SSLContext | None = None
) -> AsyncIterator[Receiver]:
    """Serve HTTP on loopback; `answer` makes the responses, 204 if it is missing."""
    found = Receiver(0, "https" if tls else "http")

    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        assert request.transport is not None
        received = Received(
            request.method,
            request.raw_path,
            request.headers,
            await request.read(),
            request.transport.get_extra_info("peername"),
        )
        found.requests.append(received)
        return answer(received) if answer else web.Response(status=204)

    runner = web.ServerRunner(web.Server(handle), handle_signals=False, shutdown_timeout=0.1)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
        await site.start()
        found.port = runner.addresses[0][1]
        yield found
    finally:
        await runner.cleanup()


@asynccontextmanager
async def raw_server(
    talk: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
    *,
    tls: ssl.SSLContext | None = None,
) -> AsyncIterator[int]:
    """Serve bytes on loopback; yields the port. Whatever still talks at the end is cancelled."""
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            await talk(reader, writer)
        except (ConnectionError, asyncio.CancelledError, asyncio.IncompleteReadError):
            pass
        finally:
            tasks.discard(task)
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def read_request(reader: asyncio.StreamReader) -> bytes:
    """Read one request with a content-length off a raw connection and return its body."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = next(
        int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length")
    )
    return await reader.readexactly(length)


def serving_with(certificate: trustme.LeafCert) -> ssl.SSLContext:
    """Serve TLS with `certificate`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    return context


def webhook(url: str, **settings: Any) -> WebhookSink:
    """Make a webhook sink as the configuration would; its deadline is short unless said otherwise."""
    return WebhookSink(
        "ops", WebhookSettings.model_validate({"type": "webhook", "url": url, "timeout": "5s", **settings})
    )


@asynccontextmanager
async def opened(sink: WebhookSink) -> AsyncIterator[WebhookSink]:
    """Close the sink at the end."""
    try:
        yield sink
    finally:
        await sink.close()
