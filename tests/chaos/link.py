"""A replica's own way to the database, which can be cut, and can fall silent.

When it is cut, both ends hear of it at once, and new connections are refused. When it is silent, nobody hears
anything: what is said is held back, and may still arrive when it is mended, as in a network that was slow.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import TYPE_CHECKING, Any

from tests.harness.relay import Relay

if TYPE_CHECKING:
    from tests.harness.postgres import Databases


class Link(Relay):
    """A relay to a PostgreSQL; a context manager.

    Args:
        databases: The server behind it.
    """

    def __init__(self, databases: Databases) -> None:
        super().__init__(databases)
        self._flows = threading.Event()
        self._flows.set()
        self._is_cut = False

    def __exit__(self, *_: object) -> None:
        self.cut()
        self._flows.set()
        super().__exit__()

    def cut(self) -> None:
        """Hang up on everybody, and let nobody in."""
        self._is_cut = True
        for each in tuple(self._sockets):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def silence(self) -> None:
        """Hold back what either side says."""
        self._flows.clear()

    def mend(self, *, late: bool = False) -> None:
        """Let everything pass again; what was held back arrives late, or not at all."""
        if not late and not self._flows.is_set():
            self.cut()
        self._is_cut = False
        self._flows.set()

    def _connect(self) -> socket.socket:
        if self._is_cut:
            raise ConnectionRefusedError
        return _Held(super()._connect(), self._flows)


class _Held(socket.socket):
    """The server's end of a connection, through which nothing passes while it is silent."""

    def __init__(self, found: socket.socket, flows: threading.Event) -> None:
        super().__init__(found.family, found.type, found.proto, found.detach())
        self._flows = flows

    def recv(self, *arguments: Any) -> bytes:
        said = super().recv(*arguments)
        self._flows.wait()
        return said

    def sendall(self, *arguments: Any) -> None:
        self._flows.wait()
        super().sendall(*arguments)
