"""A service manager's side of sd_notify: a datagram socket, and what has been said to it."""

from __future__ import annotations

import socket
import threading
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from pathlib import Path


class Manager:
    """Listens on `$NOTIFY_SOCKET`; a context manager.

    Args:
        folder: Where the socket is to be.
        watchdog: Seconds without a sign of life that it allows; 0 for ever.
    """

    def __init__(self, folder: Path, *, watchdog: float = 0.0) -> None:
        self._path = folder / "notify"
        self._watchdog = watchdog
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self.said: list[dict[str, str]] = []

    def __enter__(self) -> Self:
        self._socket.bind(str(self._path))
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join(5)
        self._socket.close()

    @property
    def environ(self) -> dict[str, str]:
        """What it leaves in the environment of a service."""
        watchdog = {"WATCHDOG_USEC": str(int(self._watchdog * 1e6))} if self._watchdog else {}
        return {"NOTIFY_SOCKET": str(self._path), **watchdog}

    def _listen(self) -> None:
        while data := self._socket.recv(4096):
            self.said.append(dict(line.split("=", 1) for line in data.decode().split("\n")))

    def count(self, name: str) -> int:
        """How many messages had a value for `name`."""
        return sum(name in message for message in tuple(self.said))

    def states(self) -> list[str]:
        """What changed the service's state, in order."""
        states = ("READY", "RELOADING", "STOPPING")
        return [name for message in tuple(self.said) for name in states if name in message]
