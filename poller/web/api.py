"""The read-only JSON API: `/api/jobs`, `/api/events`, `/api/deliveries`, the newest rows first.

Query parameters select by equality (`/api/jobs?status=Failed&region=us-east-1`); `limit` is at most 1000. An
answer ends before it would exceed 8 MiB: then it has `"truncated": true`.
"""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from poller.errors import StoreError
from poller.store.queries import Browser, Cut, Selection

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from starlette.requests import Request

    from poller.store.queries import Row

DEFAULT_LIMIT = 100
LARGEST_LIMIT = 1000
LARGEST_ANSWER = 8 * 1024 * 1024
"""Bytes of rows in one answer; a single row that is larger is given all the same."""
LONGEST_VALUE = 1024
"""Characters of a query parameter."""

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


def _rendered(name: str, read: Callable[[Selection], list[Row]], selection: Selection) -> bytes:
    """An answer in ASCII: what a service sent may hold half of a surrogate pair, which UTF-8 cannot."""
    rows = read(selection)
    texts: list[str] = []
    room = LARGEST_ANSWER
    for row in rows:
        text = json.dumps(row, separators=(",", ":"))
        room -= len(text) + 1
        if texts and room < 0:
            break
        texts.append(text)
    truncated = isinstance(rows, Cut) or len(texts) < len(rows)
    end = ',"truncated":true}' if truncated else "}"
    return f'{{"{name}":[{",".join(texts)}]{end}'.encode("ascii")


def _route(name: str, read: Callable[[Selection], list[Row]]) -> Route:
    async def answer(request: Request) -> Response:
        try:
            selection = parse_query(request.query_params.multi_items(), SELECTABLE[name])
        except ValueError as error:
            return JSONResponse({"error": str(error)}, status_code=400)
        try:
            # Rendered there as well: megabytes of JSON would hold up the loop.
            body = await asyncio.to_thread(_rendered, name, read, selection)
        except StoreError as error:
            return JSONResponse({"error": str(error)}, status_code=503)
        return Response(body, media_type="application/json", headers={"cache-control": "no-store"})

    return Route(f"/api/{name}", answer)


def parse_query(given: Sequence[tuple[str, str]], selectable: Sequence[str]) -> Selection:
    """Read the parameters of a request.

    Raises:
        ValueError: One is unknown, given twice, or of no use; the message says which.
    """
    asked = dict(given)
    for name, value in given:
        shown = name[:64]
        if len(value) > LONGEST_VALUE:
            raise ValueError(f"{shown} is longer than {LONGEST_VALUE} characters")
        if "\0" in value:
            raise ValueError(f"{shown} holds a NUL character")
    if len(asked) < len(given):
        raise ValueError("a parameter is given twice; give each once")
    unknown = sorted(set(asked) - {"limit", *selectable})
    if unknown:
        raise ValueError(f"cannot select by {unknown[0][:64]}; there are: {', '.join(selectable)}, limit")
    return Selection(
        limit=_limit(asked.get("limit", str(DEFAULT_LIMIT))),
        equal={name: asked.get(name) for name in selectable},
        most_bytes=LARGEST_ANSWER,
    )


def _limit(text: str) -> int:
    if text.isascii() and text.isdigit() and len(digits := text.lstrip("0")) <= len(str(LARGEST_LIMIT)):
        limit = int(digits or "0")
        if 1 <= limit <= LARGEST_LIMIT:
            return limit
    raise ValueError(f"limit must be a whole number from 1 to {LARGEST_LIMIT}")
