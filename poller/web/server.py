"""Serves metrics, health, the status page and the API on the daemon's own loop.

Health is asked, not remembered: `/-/healthy` fails when a loop is overdue, which a restart may cure;
`/-/ready` fails when the store takes no write, which it may not.
"""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import ipaddress
import socket
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import uvicorn
from prometheus_client.exposition import choose_encoder
from starlette.applications import Starlette
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from poller.errors import PollerError, StoreError
from poller.web.auth import is_stranger
from poller.web.connections import BoundedListener, most_connections, timed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from prometheus_client import CollectorRegistry
    from starlette.requests import Request
    from starlette.types import ASGIApp

    from poller.settings.web import WebSettings
    from poller.web.tls import CurrentCertificates

_START_SECONDS = 10.0
_STOP_SECONDS = 2
_PROBE_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Health:
    """What the health endpoints ask.

    Args:
        overdue: Loops that are late, and by how many seconds.
        probe: Raises `StoreError` unless the store takes a write; blocking.
        started: Whether polling and delivery have begun, and not ended.
    """

    overdue: Callable[[], dict[str, float]]
    probe: Callable[[], None]
    started: Callable[[], bool]


def application(registry: CollectorRegistry, health: Health, further: Iterable[Route] = ()) -> Starlette:
    """Build the ASGI application; `further` are the routes of the status page and the API."""

    async def metrics(request: Request) -> Response:
        encode, content_type = choose_encoder(request.headers.get("accept", ""))
        headers = {"content-type": content_type, "vary": "accept-encoding"}
        body = encode(registry)
        if "gzip" in request.headers.get("accept-encoding", ""):
            body = await asyncio.to_thread(gzip.compress, body, 1)
            headers["content-encoding"] = "gzip"
        return Response(body, headers=headers)

    async def healthy(request: Request) -> Response:
        overdue = health.overdue()
        if not overdue:
            return PlainTextResponse("healthy\n")
        if is_stranger(request.scope):
            return JSONResponse({"healthy": False, "overdue": len(overdue)}, status_code=503)
        late = {name: round(seconds, 1) for name, seconds in overdue.items()}
        return JSONResponse({"healthy": False, "overdue_seconds": late}, status_code=503)

    readiness = _Readiness(health.probe)

    async def ready(request: Request) -> Response:
        if not health.started():
            return JSONResponse({"ready": False, "why": "starting or stopping"}, status_code=503)
        if why := await readiness.problem():
            shown = "the store takes no writes" if is_stranger(request.scope) else why
            return JSONResponse({"ready": False, "why": shown}, status_code=503)
        return PlainTextResponse("ready\n")

    return Starlette(
        routes=[
            Route("/metrics", metrics),
            Route("/metrics/", metrics),
            Route("/-/healthy", healthy),
            Route("/-/ready", ready),
            *further,
        ]
    )


class _Readiness:
    """What the probe of the store said, for a second: probes of many must not become writes of many.

    Args:
        probe: Raises `StoreError` unless the store takes a write; blocking.
    """

    def __init__(self, probe: Callable[[], None]) -> None:
        self._probe = probe
        self._one = asyncio.Lock()
        self._until = 0.0
        self._problem = ""

    async def problem(self) -> str:
        """What is wrong with the store; empty if it takes writes."""
        async with self._one:
            if time.monotonic() >= self._until:
                try:
                    await asyncio.to_thread(self._probe)
                except StoreError as error:
                    self._problem = str(error)
                else:
                    self._problem = ""
                self._until = time.monotonic() + _PROBE_SECONDS
            return self._problem


class WebServer:
    """Listens and serves until it is stopped.

    Args:
        app: The ASGI application.
        host: The address to listen on.
        port: The port; 0 takes a free one.
        certificates: For HTTPS.

    Raises:
        PollerError: The address cannot be listened on.
    """

    def __init__(
        self, app: ASGIApp, host: str, port: int, certificates: CurrentCertificates | None = None
    ) -> None:
        self._listener = _listen(host, port)
        self._certificates = certificates
        self.host = host
        self.port: int = self._listener.getsockname()[1]
        config = uvicorn.Config(
            app,
            lifespan="off",
            ws="none",
            http=timed(),
            log_config=None,
            access_log=False,
            server_header=False,
            # What a stranger writes into X-Forwarded-For is not an address to log.
            proxy_headers=False,
            timeout_graceful_shutdown=_STOP_SECONDS,
            ssl_context_factory=(lambda _config, _default: certificates) if certificates else None,
        )
        self._server = _Server(config)

    @property
    def url(self) -> str:
        """Where it is."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http{'s' * (self._certificates is not None)}://{host}:{self.port}"

    @property
    def is_local(self) -> bool:
        """Whether only this machine reaches it."""
        return ipaddress.ip_address(self._listener.getsockname()[0].partition("%")[0]).is_loopback

    def refresh(self) -> None:
        """Load the certificates again if their files have changed."""
        if self._certificates is not None:
            self._certificates.refresh()

    async def serve(self) -> None:
        """Answer requests until `stop`."""
        try:
            await self._server.serve(sockets=[self._listener])
        finally:
            self._listener.close()

    def stop(self) -> None:
        """Make `serve` return; requests under way get two seconds."""
        self._server.should_exit = True


def exposure(server: WebServer, settings: WebSettings) -> str | None:
    """What those on the network of a server could do, if nothing keeps them from it."""
    if server.is_local:
        return None
    if not settings.is_guarded:
        changing = " and reload the configuration" if settings.reload else ""
        return f"all of that network can read job names and events{changing}; set web.auth"
    if settings.tls is None:
        return "passwords and tokens can be read on their way; set web.tls"
    return None


class _Server(uvicorn.Server):
    """uvicorn's server without its signal handlers: the daemon has its own."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals alone."""
        yield


def _listen(host: str, port: int) -> socket.socket:
    try:
        # Named as TCP, or asyncio would leave its sockets with Nagle's delay.
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP, flags=socket.AI_PASSIVE
        )[0]
        listener = BoundedListener(family, kind, protocol, most=most_connections())
    except OSError as error:
        raise PollerError(f"cannot listen on {host}:{port}: {error.strerror}; set web.listen") from error
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        # From here on a client can connect, and waits until the loop accepts it.
        listener.listen()
    except OSError as error:
        listener.close()
        raise PollerError(f"cannot listen on {host}:{port}: {error.strerror}; set web.listen") from error
    return listener
