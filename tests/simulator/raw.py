"""Plain requests, for what no SDK would send."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from poller.simulator.wire import HttpRequest

if TYPE_CHECKING:
    from poller.simulator import Simulator


def authorization(
    *, key: str = "AKIDDEFAULT", region: str = "us-east-1", service: str = "bedrock"
) -> dict[str, str]:
    """A SigV4 header with a signature that is none."""
    scope = f"{key}/20261120/{region}/{service}/aws4_request"
    return {"authorization": f"AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host, Signature=0"}


def call(
    simulator: Simulator,
    method: str,
    path: str,
    query: str = "",
    body: Any = None,
    *,
    headers: dict[str, str] | None = None,
) -> tuple[int, dict[str, str], Any]:
    """Send one request past the socket; returns status, headers and the parsed body."""
    raw = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
    sent = authorization() if headers is None else headers
    answer = simulator.handle(HttpRequest(method, path, query, sent, raw))
    return answer.status, dict(answer.headers), json.loads(answer.body)


def everything(
    simulator: Simulator, path: str, query: str = "", **limits: Any
) -> tuple[list[dict[str, Any]], int]:
    """Follow a listing to its end; returns the items and the number of pages."""
    items: list[dict[str, Any]] = []
    token, pages = None, 0
    while pages < limits.get("most", 10_000):
        asked = "&".join(part for part in (query, token and f"nextToken={token}") if part)
        status, _, page = call(simulator, "GET", path, asked)
        assert status == 200, page
        token = page.pop("nextToken", None)
        (found,) = page.values()
        items += found
        pages += 1
        if token is None:
            break
    return items, pages
