"""The Security Token Service and others, by moto, behind a door that refuses one role, or everything."""

from __future__ import annotations

import io
import urllib.request
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server
from werkzeug.wrappers import Response

from tests.harness.receiver import Listening

if TYPE_CHECKING:
    from collections.abc import Iterable

_DENIED = """<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><Error><Type>Sender</Type>
<Code>AccessDenied</Code><Message>not authorized: sts:AssumeRole</Message></Error></ErrorResponse>"""


class SecurityTokens(Listening):
    """Listens on a free port; a context manager.

    Args:
        refused: The role that nobody may assume.
    """

    def __init__(self, refused: str) -> None:
        self._refused = refused
        self.refuse_all = False
        self._moto = DomainDispatcherApplication(create_backend_app)
        super().__init__(make_server("127.0.0.1", 0, self._answer, threaded=True))

    def reset(self) -> None:
        """Begin anew; all of moto's services in a process share one world."""
        reset = urllib.request.Request(f"{self.url}/moto-api/reset", method="POST")  # noqa: S310
        urllib.request.urlopen(reset, timeout=10).close()  # noqa: S310 - our own

    def _answer(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        environ["wsgi.input"] = io.BytesIO(body)
        asked = parse_qs(body.decode())
        if self.refuse_all or asked.get("RoleArn") == [self._refused]:
            return Response(_DENIED, 403, mimetype="text/xml")(environ, start_response)
        found: Iterable[bytes] = self._moto(environ, start_response)
        return found
