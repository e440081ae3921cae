"""The read-only JSON API: `/api/jobs`, `/api/events`, `/api/deliveries`, the newest rows first.

Query parameters select by equality (`/api/jobs?status=Failed&region=us-east-1`); `limit` is at most 1000.
"""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from poller.errors import StoreError
from poller.store.browse import Browser, Selection

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from starlette.requests import Request

    from poller.store.browse import Row

DEFAULT_LIMIT = 100
LARGEST_LIMIT = 1000

SELECTABLE: Mapping[str, tuple[str, ...]] = {
    "jobs": ("arn", "kind", "status", "outcome", "region", "account_id"),
    "events": ("id", "type", "job_arn"),
    "deliveries": ("event_id", "sink", "state", "job_arn"),
}
"""What each list can be selected by."""


def routes(browser: Browser) -> Sequence[Route]:
    """The API's routes."""
    reads: dict[str, Callable[[Selection], list[Row]]] = {
        "jobs": browser.jobs,
        "events": browser.events,
        "deliveries": browser.deliveries,
    }
    return [_route(name, read) for name, read in reads.items()]


class _AsciiJson(JSONResponse):
    """JSON in ASCII: what a service sent may hold half of a surrogate pair, which UTF-8 cannot."""

    def render(self, content: object) -> bytes:
        return json.dumps(content, separators=(",", ":")).encode("ascii")


def _route(name: str, read: Callable[[Selection], list[Row]]) -> Route:
    async def answer(request: Request) -> Response:
        try:
            selection = _selection(request.query_params, SELECTABLE[name])
        except ValueError as error:
            return JSONResponse({"error": str(error)}, status_code=400)
        try:
            rows = await asyncio.to_thread(read, selection)
        except StoreError as error:
            return JSONResponse({"error": str(error)}, status_code=503)
        return _AsciiJson({name: rows}, headers={"cache-control": "no-store"})

    return Route(f"/api/{name}", answer)


def _selection(asked: Mapping[str, str], selectable: Sequence[str]) -> Selection:
    unknown = sorted(set(asked) - {"limit", *selectable})
    if unknown:
        raise ValueError(f"cannot select by {unknown[0]}; there are: {', '.join(selectable)}, limit")
    limit = asked.get("limit", str(DEFAULT_LIMIT))
    if not (limit.isascii() and limit.isdigit() and 1 <= int(limit[:9]) <= LARGEST_LIMIT):
        raise ValueError(f"limit must be a whole number from 1 to {LARGEST_LIMIT}")
    return Selection(limit=int(limit), equal={name: asked.get(name) for name in selectable})
