"""Which requests may change something: not those that a web page makes.

A browser says in `Origin` or `Sec-Fetch-Site` that a page made it ask; and a page whose name was pointed at
this address afterwards still asks for its own name. Programs send none of that.
"""

from __future__ import annotations

import ipaddress
import json
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from starlette.requests import Request


def refusal(request: Request) -> str:
    """Why a request that would change something is not heard; empty if it is."""
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
