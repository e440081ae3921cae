"""Bounds what strangers can hold of the web server: connections, and heads of requests that never end.

The server shares its file descriptors with polling, delivery and the database. So it takes a share of what
the process may have, turns further connections away as they are accepted, before TLS and HTTP see them, and
closes those on which no request arrives.
"""

from __future__ import annotations

import resource
import socket
from typing import TYPE_CHECKING, Any, ClassVar

from uvicorn.protocols.http.h11_impl import H11Protocol

if TYPE_CHECKING:
    import asyncio

_MOST = 512
_SHARE = 4
"""The web server may hold this part of the process's file descriptors."""
_HEAD_SECONDS = 15.0
"""How long a request's head may take, and a connection stay without one."""


def most_connections() -> int:
    """How many connections there may be at once."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return _MOST if soft == resource.RLIM_INFINITY else max(8, min(_MOST, soft // _SHARE))


class BoundedListener(socket.socket):
    """A listening socket with a limit on the connections that are open at once.

    It holds one file descriptor more than the limit at most, however many connections arrive together.

    Args:
        most: How many connections may be open; one more is closed before anything of it is read.
    """

    def __init__(self, family: int, kind: int, protocol: int, *, most: int) -> None:
        super().__init__(family, kind, protocol)
        self._most = most
        self._open: set[_Connection] = set()

    def accept(self) -> tuple[socket.socket, Any]:
        """Accept a connection, and close those beyond the limit.

        Raises:
            BlockingIOError: No further connection waits.
        """
        while True:
            accepted, address = super().accept()
            if len(self._open) < self._most:
                return _Connection(accepted, self._open), address
            accepted.close()


class _Connection(socket.socket):
    """An accepted connection, which leaves the set of the open ones when it is closed."""

    def __init__(self, accepted: socket.socket, among: set[_Connection]) -> None:
        super().__init__(fileno=accepted.detach())
        self._among = among
        among.add(self)

    def close(self) -> None:
        """Make room for another one."""
        self._among.discard(self)
        super().close()


def timed(head_seconds: float = _HEAD_SECONDS) -> type[TimedProtocol]:
    """The protocol of a server's connections.

    Args:
        head_seconds: Seconds in which a connection has to bring the head of a request, again and again.
    """
    return type("Timed", (TimedProtocol,), {"head_seconds": head_seconds})


class TimedProtocol(H11Protocol):
    """One connection of a server; `timed` gives a server a class of its own."""

    head_seconds: ClassVar[float]
    _watch: asyncio.TimerHandle | None = None
    _answered: object = None

    def connection_made(self, transport: Any) -> None:
        """Begin to count."""
        super().connection_made(transport)
        self._look_again()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop counting."""
        if self._watch is not None:
            self._watch.cancel()
        super().connection_lost(exc)

    def _look_again(self) -> None:
        self._watch = self.loop.call_later(self.head_seconds, self._look)

    def _look(self) -> None:
        """Close the connection unless a request has arrived since the last look, or is being answered."""
        # uvicorn declares a cycle that is there from the start; until a head has arrived there is none.
        cycle: Any = self.cycle
        busy = cycle is not None and not cycle.response_complete
        if busy or cycle is not self._answered:
            self._answered = cycle
            self._look_again()
        else:
            self.transport.close()
