"""A webhook receiver as a user would write one: it verifies the signature and drops copies."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aiohttp import web
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

if TYPE_CHECKING:
    from collections.abc import Callable


class Receiver:
    """Listens on a free port of the loopback interface.

    Args:
        secret: The shared secret, `whsec_…`.
        arrived: Called with every new event whose signature is right.
    """

    def __init__(self, secret: str, arrived: Callable[[dict[str, Any]], None]) -> None:
        self._webhook = Webhook(secret)
        self._arrived = arrived
        self.bodies: dict[str, bytes] = {}
        self.duplicates = 0
        self.forged = 0
        self.altered = 0
        app = web.Application(client_max_size=8 * 1024 * 1024)
        app.router.add_post("/events", self._receive)
        self._runner = web.AppRunner(app, access_log=None)
        self.url = ""

    async def start(self) -> None:
        """Listen."""
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}/events"

    async def stop(self) -> None:
        """Stop listening."""
        await self._runner.cleanup()

    async def _receive(self, request: web.Request) -> web.Response:
        body = await request.read()
        try:
            event = self._webhook.verify(body, dict(request.headers))
        except WebhookVerificationError:
            self.forged += 1
            return web.Response(status=401)
        before = self.bodies.get(event["id"])
        if before is not None:
            self.duplicates += 1
            self.altered += before != body
            return web.Response(status=204)
        self.bodies[event["id"]] = body
        self._arrived(event)
        return web.Response(status=204)
