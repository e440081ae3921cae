"""`POST /api/targets/NAME/REGION/KIND/poll` polls a target at once, as a wake-up does.

It answers when a poll that began after the request has committed. Requests for one target share its polls,
which the scheduler keeps a second apart.
"""

from __future__ import annotations

import asyncio
import ipaddress
from typing import TYPE_CHECKING

from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from poller import logs
from poller.errors import PollerError
from poller.redaction import excerpt
from poller.web.origin import refusal

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from starlette.requests import Request

_log = logs.get(__name__)

LONGEST_WAIT_SECONDS = 10.0
"""After this the answer is that the poll is still to come, or still runs."""


def route(wake: Callable[[str], Awaitable[object] | None], is_guarded: Callable[[], bool]) -> Route:
    """The route.

    Args:
        wake: Has a target polled, by its id; what it returns completes when that poll has committed, and
            raises `PollerError` if it failed. `None` for an unknown target.
        is_guarded: Whether every client has to authenticate; if not, only clients on this
            machine may ask.
    """

    async def answer(request: Request) -> Response:
        target_id = request.path_params["target_id"]
        client = request.client.host if request.client else None
        if why := refusal(request) or _refusal_of(client, guarded=is_guarded()):
            _log.warning("poll.refused", why=why, client=client)
            return JSONResponse({"polled": False, "why": why}, status_code=403)
        polled = wake(target_id)
        if polled is None:
            why = f"there is no target {excerpt(target_id)}; bedrock-poller targets list names them"
            return JSONResponse({"polled": False, "why": why}, status_code=404)
        try:
            async with asyncio.timeout(LONGEST_WAIT_SECONDS):
                await polled
        except TimeoutError:
            return JSONResponse({"polled": False, "why": "it is not done yet"}, status_code=202)
        except PollerError as error:
            return JSONResponse({"polled": False, "why": str(error)}, status_code=502)
        return JSONResponse({"polled": True})

    return Route("/api/targets/{target_id:path}/poll", answer, methods=["POST"])


def _refusal_of(client: str | None, *, guarded: bool) -> str:
    """Why a client may not ask; empty if it may."""
    if guarded or (client is not None and ipaddress.ip_address(client.partition("%")[0]).is_loopback):
        return ""
    return "it comes from another machine, without authentication; set web.auth"
