"""A server in a thread of the tests' own process."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from http.server import HTTPServer


class Listening:
    """Serves between its beginning and its end as a context manager.

    Args:
        server: Bound to the loopback interface; it is closed in the end.
        path: What its address ends with.
    """

    def __init__(self, server: HTTPServer, path: str = "") -> None:
        self._server = server
        self._thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        self.url = f"http://127.0.0.1:{server.server_address[1]}{path}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
