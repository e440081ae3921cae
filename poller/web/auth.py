"""Refuses requests without a password or token, but for the health endpoints, which tell no names.

bcrypt is slow on purpose, so its results are remembered for some minutes, and a scrape does not cost a
quarter of a second of a processor each time. It works in a thread, one password after the other. An address
with too many waiting is sent away, so that one that tries passwords keeps no other out. What is remembered
is bound to the hash: a changed password and a removed user count at once. Files are read again for every
request.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hmac
import secrets
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

import bcrypt
from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse

from poller import logs
from poller.errors import RefusalReason
from poller.redaction import excerpt
from poller.settings.passwords import cost

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Executor

    from starlette.types import ASGIApp, Receive, Scope, Send

    from poller.metrics import Metrics
    from poller.settings.web import AuthSettings

_T = TypeVar("_T")

_log = logs.get(__name__)

OPEN = frozenset({"/-/healthy", "/-/ready"})
"""Orchestrators and load balancers ask these without a password."""

_REMEMBERED_SECONDS = 300.0
_MOST_REMEMBERED = 128
_MOST_WAITING = 64
_MOST_WAITING_FROM_ONE = 8
"""Passwords of one address that may wait to be checked."""
_LONGEST = 4096
_LONGEST_PASSWORD = 72
"""bcrypt takes no more; a longer one matches no user."""
_QUIET_SECONDS = 10.0
_SHOWN = 100
_STATUS = {RefusalReason.BUSY: 429, RefusalReason.UNREADABLE: 503}
_NOBODY = "$2b${}$" + "." * 22 + "cEnNd8bPV2fNqGc6rcdvPZbIMWnuvgu"
"""The hash of nobody's password, checked for names that do not exist, so that time does not tell them."""


_STRANGER = "bedrock_poller.stranger"


def is_stranger(scope: Scope) -> bool:
    """Whether a request has not said who it is, where it would have to be let in elsewhere."""
    return bool(scope.get(_STRANGER))


class AuthMiddleware:
    """An ASGI application in front of another one.

    Args:
        app: What a user gets to see.
        settings: The users; `None` lets everyone in. May change while it works.
        metrics: Counts the others.
        clock: Seconds that only grow.
    """

    def __init__(
        self,
        app: ASGIApp,
        settings: AuthSettings | None,
        metrics: Metrics,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._app = app
        self.settings = settings
        self._metrics = metrics
        self._clock = clock
        # Its own threads: a login does not wait for pages that read the store.
        self._threads = ThreadPoolExecutor(2, thread_name_prefix="web-auth")
        self._passwords = _Passwords(self._threads, clock)
        self._quiet_until = clock()
        self._unsaid = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or have it answered."""
        settings = self.settings
        if settings is None:
            await self._app(scope, receive, send)
        elif scope["path"] in OPEN:
            # Answered to everybody, with names to those who say who they are.
            named = "authorization" in Headers(scope=scope) and await self._refusal(scope, settings) is None
            await self._app({**scope, _STRANGER: not named}, receive, send)
        elif (why := await self._refusal(scope, settings)) is not None:
            self._note(why, scope)
            await self._refused(why, settings)(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _refusal(self, scope: Scope, settings: AuthSettings) -> RefusalReason | None:
        given = Headers(scope=scope).getlist("authorization")
        if not given:
            return RefusalReason.MISSING
        scheme, _, rest = given[0].partition(" ")
        if len(given) > 1 or len(given[0]) > _LONGEST or scheme.title() not in settings.schemes:
            return RefusalReason.MALFORMED
        try:
            if scheme.lower() == "bearer":
                return await self._bearer(rest.strip(), settings)
            address = scope["client"][0] if scope.get("client") else ""
            return await self._basic(rest.strip(), settings, address)
        except ValueError as error:
            _log.error("web.credentials_unreadable", error=str(error))
            return RefusalReason.UNREADABLE

    async def _bearer(self, token: str, settings: AuthSettings) -> RefusalReason | None:
        tokens = await self._in_thread(settings.read_tokens)
        given = token.encode("latin-1")
        # All of them, so that time does not tell which one was nearly right.
        right = [hmac.compare_digest(given, each.encode()) for each in tokens]
        return None if any(right) else RefusalReason.WRONG

    async def _basic(self, encoded: str, settings: AuthSettings, address: str) -> RefusalReason | None:
        try:
            name, colon, password = base64.b64decode(encoded, validate=True).partition(b":")
            user = name.decode()
        except (binascii.Error, UnicodeDecodeError):
            return RefusalReason.MALFORMED
        if not colon:
            return RefusalReason.MALFORMED
        users = await self._in_thread(settings.read_users)
        hashed = users.get(user) or _NOBODY.format(max(map(cost, users.values())))
        return await self._passwords.check(user, password, hashed, address)

    async def _in_thread(self, read: Callable[[], _T]) -> _T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, read)

    @staticmethod
    def _refused(why: RefusalReason, settings: AuthSettings) -> PlainTextResponse:
        answer = PlainTextResponse(f"{why}\n", status_code=_STATUS.get(why, 401))
        answer.headers["cache-control"] = "no-store"
        if answer.status_code == 401:  # noqa: PLR2004 - unauthorized
            for scheme in settings.schemes:
                charset = ', charset="UTF-8"' if scheme == "Basic" else ""
                answer.headers.append("www-authenticate", f'{scheme} realm="bedrock-poller"{charset}')
        else:
            answer.headers["retry-after"] = "1"
        return answer

    def _note(self, why: RefusalReason, scope: Scope) -> None:
        """Count it, and log it unless another one was logged just now: strangers must not fill a disk."""
        self._metrics.web_refused.labels(why).inc()
        if self._clock() < self._quiet_until:
            self._unsaid += 1
            return
        self._quiet_until = self._clock() + _QUIET_SECONDS
        unsaid, self._unsaid = self._unsaid, 0
        client = scope.get("client")
        # Nothing of what was given, the user neither: people type passwords where names belong.
        _log.warning(
            "web.refused",
            why=str(why),
            client=client[0] if client else None,
            method=excerpt(scope["method"], length=_SHOWN),
            path=excerpt(scope["path"], length=_SHOWN),
            unsaid=unsaid,
        )


class _Passwords:
    """Checks passwords, and remembers for a while what came out.

    Args:
        threads: Where bcrypt works.
        clock: Seconds that only grow.
    """

    def __init__(self, threads: Executor, clock: Callable[[], float]) -> None:
        self._threads = threads
        self._clock = clock
        self._key = secrets.token_bytes(32)
        self._right: dict[bytes, float] = {}
        self._wrong: dict[bytes, float] = {}
        self._one = asyncio.Semaphore(1)
        self._waiting = Counter[str]()

    async def check(self, user: str, password: bytes, hashed: str, address: str) -> RefusalReason | None:
        """Hold a password that came from an address against a hash; `None` if it is right."""
        what = hmac.digest(self._key, b"\0".join([user.encode(), hashed.encode(), password]), "sha256")
        if (known := self._known(what)) is not None:
            return None if known else RefusalReason.WRONG
        if self._waiting[address] >= _MOST_WAITING_FROM_ONE or self._waiting.total() >= _MOST_WAITING:
            return RefusalReason.BUSY
        self._waiting[address] += 1
        try:
            async with self._one:
                # An earlier request in the queue may have asked the same.
                right = self._known(what)
                if right is None:
                    loop = asyncio.get_running_loop()
                    right = await loop.run_in_executor(self._threads, _is_password, password, hashed)
                    self._remember(what, right=right)
        finally:
            self._waiting -= Counter([address])
        return None if right else RefusalReason.WRONG

    def _known(self, what: bytes) -> bool | None:
        now = self._clock()
        if self._right.get(what, now) > now:
            # A login that is used stays known, however many others are being checked meanwhile.
            self._remember(what, right=True)
            return True
        return False if self._wrong.get(what, now) > now else None

    def _remember(self, what: bytes, *, right: bool) -> None:
        # Apart, so that no number of wrong ones makes the right ones forgotten.
        kept = self._right if right else self._wrong
        kept.pop(what, None)
        if len(kept) >= _MOST_REMEMBERED:
            del kept[next(iter(kept))]
        kept[what] = self._clock() + _REMEMBERED_SECONDS


def _is_password(password: bytes, hashed: str) -> bool:
    return len(password) <= _LONGEST_PASSWORD and bcrypt.checkpw(password, hashed.encode())
