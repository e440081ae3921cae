"""Bounds what strangers can hold of the web server: connections, and heads of requests that never end.

The server shares its file descriptors with polling, delivery and the database. So it takes a share of what
the process may have, turns further connections away at once, and closes those on which no request arrives.
"""

from __future__ import annotations

import resource
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


def bounded(most: int, head_seconds: float = _HEAD_SECONDS) -> type[BoundedProtocol]:
    """The protocol of a server's connections.

    Args:
        most: How many there may be at once; one more is closed before anything is read of it.
        head_seconds: Seconds in which a connection has to bring the head of a request, again and again.
    """
    return type(
        "Bounded", (BoundedProtocol,), {"most": most, "head_seconds": head_seconds, "open_now": set()}
    )


class BoundedProtocol(H11Protocol):
    """One connection of a server; `bounded` gives a server a class of its own."""

    most: ClassVar[int]
    head_seconds: ClassVar[float]
    open_now: ClassVar[set[BoundedProtocol]]
    _watch: asyncio.TimerHandle | None = None
    _answered: object = None

    def connection_made(self, transport: Any) -> None:
        """Begin, or end at once if there are too many."""
        if len(self.open_now) >= self.most:
            transport.abort()
            return
        self.open_now.add(self)
        super().connection_made(transport)
        self._look_again()

    def data_received(self, data: bytes) -> None:
        """Read, unless the connection was turned away."""
        if self in self.open_now:
            super().data_received(data)

    def eof_received(self) -> None:
        """The same for the end."""
        if self in self.open_now:
            super().eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        """Make room for another one."""
        if self._watch is not None:
            self._watch.cancel()
        if self in self.open_now:
            self.open_now.discard(self)
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
