"""The status page: what is polled, what is owed, what happened last. No script; it changes nothing."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.routing import Route

from poller import __version__
from poller.errors import StoreError
from poller.store.queries import Selection
from poller.web.api import LARGEST_ANSWER

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from starlette.requests import Request

    from poller.store import Outbox
    from poller.store.queries import Browser

_EVENTS = 25
_ROWS = 1000
"""Rows of a table at most: a service may invent statuses without end."""
# Names come from strangers. Escaping keeps them text; this keeps them powerless should it ever fail.
_HEADERS = {
    "cache-control": "no-store",
    "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}


def route(browser: Browser, outbox: Outbox, sinks: Callable[[], Iterable[str]]) -> Route:
    """The page's route.

    Args:
        browser: Reads targets and events.
        outbox: Reads what is owed.
        sinks: Says which sinks are configured now.
    """
    environment = Environment(
        loader=PackageLoader("poller.web"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    template = environment.get_template("status.html")

    def render() -> str:
        backlog, parked = outbox.backlog(), outbox.parked()
        owed = [
            {
                "name": name,
                "pending": backlog[name].states.get("pending", 0) if name in backlog else 0,
                "dead": backlog[name].states.get("dead", 0) if name in backlog else 0,
                "parked": parked.get(name, ""),
            }
            for name in sorted({*sinks(), *backlog})
        ]
        return template.render(
            version=__version__,
            targets=browser.targets(Selection(limit=_ROWS)),
            counts=browser.job_counts(_ROWS),
            sinks=owed,
            events=browser.events(Selection(limit=_EVENTS, most_bytes=LARGEST_ANSWER)),
        )

    async def answer(_request: Request) -> Response:
        try:
            return HTMLResponse(await asyncio.to_thread(render), headers=_HEADERS)
        except StoreError as error:
            return PlainTextResponse(f"the store cannot be read: {error}\n", status_code=503)

    return Route("/", answer)
