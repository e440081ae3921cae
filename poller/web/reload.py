"""`POST /-/reload` reads the configuration again, as SIGHUP does."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from poller import logs
from poller.web.origin import refusal

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
        if why := refusal(request):
            _log.warning("reload.refused", why=why, client=request.client.host if request.client else None)
            return JSONResponse({"reloaded": False, "why": why}, status_code=403)
        if wrong := await reload():
            return JSONResponse({"reloaded": False, "why": wrong}, status_code=422)
        sections = list(restart_needed())
        return JSONResponse({"reloaded": True, **({"restart_needed": sections} if sections else {})})

    return Route("/-/reload", answer, methods=["POST"])
