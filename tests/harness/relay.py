"""A relay in front of a PostgreSQL: it can speak TLS, as the server of the wheel cannot, and lose answers."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from typing import TYPE_CHECKING, Self

import sqlalchemy as sa

if TYPE_CHECKING:
    from tests.harness.postgres import Databases

_BEGIN, _COMMIT, _ALONE = b"BEGIN ", b"COMMIT\0", b"\0UPDATE "
_TLS_REQUEST = bytes.fromhex("0000000804d2162f")


class Relay:
    """Listens on a free port of the loopback; a context manager.

    Args:
        databases: The server behind it.
        tls: Speak TLS with those who ask for it.
    """

    def __init__(self, databases: Databases, tls: ssl.SSLContext | None = None) -> None:
        self._databases = databases
        self._tls = tls
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._threads: list[threading.Thread] = []
        self._sockets: list[socket.socket] = []
        self.lose = 0
        """How many commits are to be carried out without anybody hearing of it."""
        self.lost = 0
        """How many have been."""
        self.encrypted = 0
        """How many connections have spoken TLS."""

    def __enter__(self) -> Self:
        self._start(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for each in self._sockets:
            _end(each)
        for thread in self._threads:
            thread.join(10)

    def url(self, database: str = "postgres", **query: str) -> str:
        """The address of a database, by way of this relay."""
        host, port = self._listener.getsockname()
        url = sa.make_url(self._databases.url(database)).set(host=host, port=port, query=query)
        return url.render_as_string(hide_password=False)

    def by_way(self, url: str) -> str:
        """The address of a database that is given by its own."""
        return self.url(sa.make_url(url).database or "")

    def _start(self, run: object, *arguments: object) -> None:
        thread = threading.Thread(target=run, args=arguments, daemon=True)  # type: ignore[arg-type] # any function
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self._sockets.append(client)
                self._start(self._serve, client)

    def _serve(self, client: socket.socket) -> None:
        with contextlib.suppress(OSError, ssl.SSLError):
            if self._tls is not None and client.recv(8, socket.MSG_PEEK) == _TLS_REQUEST:
                client.recv(8)
                client.sendall(b"S")
                client = self._tls.wrap_socket(client, server_side=True)
                self._sockets.append(client)
                self.encrypted += 1
            server = self._connect()
            self._sockets.append(server)
            swallow = threading.Event()
            self._start(self._back, server, client, swallow)
            # Also when the client was killed, which resets the connection.
            with contextlib.ExitStack() as stack:
                stack.callback(_end, server)
                within = False
                while said := client.recv(65536):
                    within = within or _BEGIN in said
                    # A statement outside of a transaction is committed as it is run.
                    commits = _COMMIT in said if within else _ALONE in said
                    within = within and not commits
                    if commits and self.lose > 0:
                        self.lose -= 1
                        swallow.set()
                    server.sendall(said)
        _end(client)

    def _back(self, server: socket.socket, client: socket.socket, swallow: threading.Event) -> None:
        with contextlib.suppress(OSError, ssl.SSLError):
            while (said := server.recv(65536)) and not swallow.is_set():
                client.sendall(said)
            self.lost += swallow.is_set()
        _end(client)
        _end(server)

    def _connect(self) -> socket.socket:
        url = sa.make_url(self._databases.url())
        if folder := url.query.get("host"):
            found = socket.socket(socket.AF_UNIX)
            found.connect(f"{folder}/.s.PGSQL.{url.port or 5432}")
            return found
        return socket.create_connection((url.host or "127.0.0.1", url.port or 5432))


def _end(each: socket.socket) -> None:
    # A shutdown first, or a thread that reads would not notice.
    with contextlib.suppress(OSError):
        each.shutdown(socket.SHUT_RDWR)
    each.close()
