"""`POST /-/reload`: the one request that changes something, so the one that a web page must not make.

A browser says in `Origin` or `Sec-Fetch-Site` that a page made it ask; and a page whose name was pointed at
this address afterwards still asks for its own name. Programs send none of that.
"""

from __future__ import annotations

import ipaddress
import json
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from poller import logs

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from starlette.requests import Request

_log = logs.get(__name__)


def route(reload: Callable[[], Awaitable[str]], restart_needed: Callable[[], Sequence[str]] = tuple) -> Route:
    """The route.

    Args:
        reload: Reloads, and says what is wrong with the configuration; nothing if it is in force now.
        restart_needed: Names the sections that have changed and count after a restart only.
    """

    async def answer(request: Request) -> Response:
        if why := _refusal(request):
            _log.warning("reload.refused", why=why, client=request.client.host if request.client else None)
            return JSONResponse({"reloaded": False, "why": why}, status_code=403)
        if wrong := await reload():
            return JSONResponse({"reloaded": False, "why": wrong}, status_code=422)
        sections = list(restart_needed())
        return JSONResponse({"reloaded": True, **({"restart_needed": sections} if sections else {})})

    return Route("/-/reload", answer, methods=["POST"])


def _refusal(request: Request) -> str:
    """Why a request is not heard; empty if it is."""
    for name in ("origin", "sec-fetch-site"):
        if name in request.headers:
            return f"a browser sent it, as its header {name} shows"
    # Not the request's URL, which makes up for a header that makes no sense.
    host = request.headers.get("host", "")
    if not _is_here(host):
        return f"it is addressed to {json.dumps(host)}; use an IP address or localhost"
    return ""


def _is_here(host: str) -> bool:
    """Whether a `Host` is an address, or a name that others cannot point at this machine."""
    try:
        name = urlsplit(f"//{host}").hostname or ""
        return name == "localhost" or bool(ipaddress.ip_address(name))
    except ValueError:
        return False
