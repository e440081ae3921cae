"""The simulator on a socket: uvicorn in a thread of its own, with a loop of its own.

The application is one ASGI callable on Starlette's request and response, because the routes come from the
service's model. It can also reset a connection, for which the protocol hands it the transport.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from typing import TYPE_CHECKING, Protocol, Self

import uvicorn
from starlette.requests import Request
from starlette.responses import Response
from uvicorn.protocols.http.h11_impl import H11Protocol

from poller.errors import PollerError
from poller.simulator.wire import HttpRequest

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from starlette.types import Receive, Scope, Send

    from poller.simulator.simulator import Answer

_START_SECONDS = 10.0
_STOP_SECONDS = 1
_NO_LINGER = struct.pack("ii", 1, 0)


class Handler(Protocol):
    """What answers requests: a simulator, or something in front of one."""

    def handle(self, request: HttpRequest) -> Answer:
        """Answer one request."""
        ...


class Application:
    """The ASGI application around a simulator."""

    def __init__(self, simulator: Handler) -> None:
        self._simulator = simulator

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one HTTP request."""
        request = Request(scope, receive)
        answer = self._simulator.handle(
            HttpRequest(
                method=request.method,
                path=scope["raw_path"].decode("ascii", "replace"),
                query=scope["query_string"].decode("ascii", "replace"),
                headers={name.lower(): value for name, value in request.headers.items()},
                body=await request.body(),
            )
        )
        if answer.delay:
            await asyncio.sleep(answer.delay)
        if not answer.reset and answer.keep is None:
            await Response(answer.body, answer.status, answer.headers)(scope, receive, send)
            return
        transport: asyncio.Transport = scope["state"]["transport"]
        if answer.keep is not None:
            await _begin(answer, send)
        if answer.reset:
            linger = transport.get_extra_info("socket")
            linger.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
            transport.abort()
        else:
            transport.close()
        await receive()  # returns when the connection is lost, so that the client gets the rest of the answer


class SimulatorServer:
    """Serves a simulator over HTTP until it is stopped; a context manager.

    Args:
        simulator: What answers.
        host: The address to listen on.
        port: The port; 0 takes a free one, which `port` then names.
    """

    def __init__(self, simulator: Handler, host: str = "127.0.0.1", port: int = 0) -> None:
        self.simulator = simulator
        self.host = host
        self.port = port
        self._server: _Server | None = None
        self._thread: threading.Thread | None = None

    @property
    def url(self) -> str:
        """The endpoint URL to give to an SDK."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"

    def start(self) -> None:
        """Listen, and return once requests are answered; takes milliseconds.

        Raises:
            PollerError: The address cannot be listened on, or the server did not come up.
        """
        listener = _listen(self.host, self.port)
        self.port = listener.getsockname()[1]
        ready = threading.Event()
        config = uvicorn.Config(
            Application(self.simulator),
            http=_Protocol,
            ws="none",
            loop="asyncio",
            lifespan="off",
            log_config=None,
            access_log=False,
            date_header=False,
            server_header=False,
            timeout_keep_alive=75,
            timeout_graceful_shutdown=_STOP_SECONDS,
        )
        self._server = _Server(config, ready.set)
        self._thread = threading.Thread(
            target=self._server.run, kwargs={"sockets": [listener]}, name="simulator", daemon=True
        )
        self._thread.start()
        if not ready.wait(_START_SECONDS):
            self.stop()
            raise PollerError(f"the simulator did not start within {_START_SECONDS:.0f} s")

    def stop(self) -> None:
        """Stop listening; requests under way have a second to finish."""
        if self._server is None or self._thread is None:
            return
        self._server.should_exit = True
        self._thread.join(_STOP_SECONDS + _START_SECONDS)
        self._server = self._thread = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


class _Server(uvicorn.Server):
    """uvicorn's server that says when it is ready."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._ready()


class _Protocol(H11Protocol):
    """uvicorn's protocol that gives the application its transport."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # uvicorn narrows it
        super().connection_made(transport)
        self.app_state = {**self.app_state, "transport": transport}


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # Named as TCP because asyncio sends without delay only on sockets that say so; else answers take 40 ms.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
    except (OSError, OverflowError) as error:
        listener.close()
        raise PollerError(f"the simulator cannot listen on {host}:{port}: {error}") from error
    return listener


async def _begin(answer: Answer, send: Send) -> None:
    """Announce the whole body and send a part of it."""
    headers = {**answer.headers, "content-length": str(len(answer.body))}
    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": answer.status, "headers": raw})
    await send({"type": "http.response.body", "body": answer.body[: answer.keep or 0], "more_body": True})
