"""One POST to a receiver that may be slow, wrong, endless or hostile; shared by every sink that speaks HTTP.

The receiver can cost no more than the deadline of the attempt and the caps below. It is told nothing but the
event: no cookies, no redirects, no proxy of the environment unless the operator asks for it. Its answer is
not decompressed. What it did becomes one `DeliveryError` with a reason from the closed set; the URL beyond
its host, the headers and the signatures stay out of it, and so do the exceptions of the library, whose
messages quote them.
"""

from __future__ import annotations

import asyncio
import base64
import io
import ssl
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import aiohttp
from aiohttp.client_proto import ResponseHandler

from poller import __version__
from poller.errors import DeliveryError, DeliveryReason
from poller.redaction import excerpt
from poller.sinks.http.address_guard import BlockedAddressError, Resolver, guarded_socket
from poller.sinks.http.credentials import read_header
from poller.sinks.http.settings import read_proxy_auth, trusting
from poller.sinks.http.status import classify, is_taken, parse_http_date, parse_retry_after
from poller.threads import DaemonThreads

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from yarl import URL

    from poller.sinks.http.settings import HttpSettings

LARGEST_ANSWER: Final = 64 * 1024
"""Bytes of an answer's body that are read; then the connection is closed, and the status counts."""

LARGEST_RESPONSE: Final = 1024 * 1024
"""Raw bytes of one response, whatever they are: interim answers, chunk sizes and extensions, blank lines."""

MOST_INTERIM_ANSWERS: Final = 16
"""Answers such as `100 Continue` that may come before the one that counts."""

LARGEST_HEADER: Final = 8190
"""Bytes of one line of an answer's head."""

MOST_HEADERS: Final = 100
"""Lines of an answer's head."""

_SHORTEST_SECRET_PART = 6  # shorter parts of a URL or a header are words such as `v1` or `Basic`
_PROXY_AUTHENTICATION = 407
_LARGE_BODY = 1024 * 1024
_PIECE = 8 * 1024
"""Bytes of an answer that are parsed at once."""


@dataclass(frozen=True, slots=True)
class RequestHeaders:
    """What one attempt adds to the request.

    Args:
        headers: Its own headers, such as a signature.
        secrets: What must not be shown if the receiver echoes it; the configured values that were not read
            from a file are known already.
        proxy_headers: What only the proxy is told.
    """

    headers: Mapping[str, str]
    secrets: Sequence[str] = ()
    proxy_headers: Mapping[str, str] = field(default_factory=dict)


class _BoundedHandler(ResponseHandler):
    """Reads responses up to a number of raw bytes and of interim answers each, then closes the connection.

    The parser drops chunk sizes and blank lines without limit, and the client drops interim answers. Counted
    here, where they arrive, nothing that a receiver sends can cost more.
    """

    _received = 0
    _heads = 0
    _refused = False

    def set_response_params(self, **options: Any) -> None:
        """Begin to read the response to a new request."""
        self._received = self._heads = 0
        super().set_response_params(**options)

    def data_received(self, data: bytes) -> None:
        """Take in bytes, unless there were too many."""
        # A piece at a time: the parser does not let other threads run before its end.
        for start in range(0, len(data) or 1, _PIECE):
            piece = data[start : start + _PIECE]
            self._received += len(piece)
            if self._received > LARGEST_RESPONSE:
                self._refuse("the response is too large")
            if self._refused:
                return
            super().data_received(piece)

    def feed_data(self, data: Any, size: int = 0) -> None:
        """Take in the head of an answer, unless there were too many."""
        self._heads += 1
        if self._heads <= MOST_INTERIM_ANSWERS + 1:
            super().feed_data(data, size)
        else:
            self._refuse("too many interim answers")

    def _refuse(self, why: str) -> None:
        self._refused = True
        if self.transport is not None:
            self.transport.abort()
        self.set_exception(aiohttp.ClientPayloadError(why))


class HttpClient:
    """Posts to one URL over connections that are kept alive.

    Args:
        name: The sink's name, for its threads.
        settings: Where and how.
    """

    def __init__(self, name: str, settings: HttpSettings) -> None:
        self._name = f"sink-{name}"
        self._settings = settings
        self._receiver = settings.safe_url
        url = settings.address
        self._url = url.with_user(None)
        configured = {key.lower(): value.get_secret_value() for key, value in settings.headers.items()}
        configured.update(_basic_auth(url))
        self._headers = {
            "user-agent": f"bedrock-poller/{__version__}",
            "accept-encoding": "identity",
            **configured,
        }
        self._proxy = settings.proxy_url
        self._proxy_headers = _basic_auth(self._proxy, "proxy-authorization") if self._proxy else {}
        self._secrets = (
            *(_secrets_of_headers(self._proxy_headers.values())),
            *_secrets_of_url(url),
            *_secrets_of_headers(configured.values()),
        )
        self._reads_files = settings.reads_files
        self._threads = DaemonThreads(self._name, 1)
        self._resolver = Resolver(self._name)
        self._session: aiohttp.ClientSession | None = None

    async def post(self, body: bytes, content_type: str, compose: Callable[[], RequestHeaders]) -> None:
        """Send `body`; returning means that the receiver answered 2xx.

        Args:
            body: Exactly what is sent.
            content_type: Its media type.
            compose: Makes this attempt's part of the request, and may raise ValueError with a message fit to
                be shown. Called in a thread if the settings name files to read.

        Raises:
            DeliveryError: The receiver did not take it.
        """
        try:
            attempt = await self._compose(compose)
            await self._exchange(body, content_type, attempt)
        except (aiohttp.ClientError, OSError) as error:
            # `from None`: a library's message may quote the URL, and a traceback shows the whole chain.
            raise _translate(error, self._receiver, self._proxy) from None

    async def close(self) -> None:
        """Close the connections. Repeating it does no harm."""
        self._threads.close()
        if self._session is not None:
            await self._session.close()
        await self._resolver.close()

    async def _compose(self, compose: Callable[[], RequestHeaders]) -> RequestHeaders:
        try:
            return await self._threads.run(self._read, compose) if self._reads_files else compose()
        except ValueError as error:
            raise DeliveryError(str(error), reason=DeliveryReason.CREDENTIALS) from None

    def _read(self, compose: Callable[[], RequestHeaders]) -> RequestHeaders:
        attempt = compose()
        headers = {key.lower(): read_header(path) for key, path in self._settings.header_files.items()}
        path = self._settings.proxy_auth_file
        to_proxy = {"proxy-authorization": read_proxy_auth(path)} if path is not None else {}
        return RequestHeaders(
            {**headers, **attempt.headers},
            (*attempt.secrets, *_secrets_of_headers((*headers.values(), *to_proxy.values()))),
            to_proxy,
        )

    async def _exchange(self, body: bytes, content_type: str, attempt: RequestHeaders) -> None:
        headers = {**attempt.headers, "content-type": content_type}
        to_proxy = {**self._proxy_headers, **attempt.proxy_headers}
        if self._proxy is not None and self._url.scheme == "http":
            # Without a tunnel the proxy reads the request itself.
            headers |= to_proxy
        response = await self._open().post(
            self._url,
            # Raw bytes go out in one piece with the head; large ones are fed, so that the loop can breathe.
            data=body if len(body) < _LARGE_BODY else io.BytesIO(body),
            headers=headers,
            allow_redirects=False,
            proxy=None if self._proxy is None else self._proxy.with_user(None),
            proxy_headers=to_proxy,
        )
        try:
            answer = bytearray()
            while len(answer) < LARGEST_ANSWER and (piece := await response.content.read(LARGEST_ANSWER)):
                answer += piece
        finally:
            # After the end of the answer this keeps the connection for the next post; before it, it ends it.
            response.close()
        if is_taken(response.status):
            return
        if response.status == _PROXY_AUTHENTICATION and self._proxy is not None:
            raise _refused_by_proxy(self._receiver, self._proxy, response.status)
        now = parse_http_date(response.headers.get("date")) or datetime.now(tz=UTC)
        raise classify(
            response.status,
            receiver=self._receiver,
            retry_after=parse_retry_after(response.headers.get("retry-after"), now),
            excerpt=excerpt(bytes(answer), [*self._secrets, *attempt.secrets]),
        )

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            settings = self._settings
            try:
                trust = True if settings.ca_file is None else trusting(settings.ca_file)
            except ValueError as error:
                raise DeliveryError(str(error), reason=DeliveryReason.TLS) from None
            connector = aiohttp.TCPConnector(
                ssl=trust,
                limit=settings.concurrency,
                resolver=self._resolver,
                socket_factory=guarded_socket(allow=settings.allow_networks, deny=settings.deny_networks),
            )
            # aiohttp has no public place for the protocol of its connections.
            connector._factory = partial(_BoundedHandler, loop=asyncio.get_running_loop())  # type: ignore[assignment] # noqa: SLF001
            self._session = aiohttp.ClientSession(
                connector=connector,
                headers=self._headers,
                cookie_jar=aiohttp.DummyCookieJar(),
                # The deadline of the attempt covers it all.
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=None),
                auto_decompress=False,
                trust_env=False,
                max_line_size=LARGEST_HEADER,
                max_field_size=LARGEST_HEADER,
                max_headers=MOST_HEADERS,
            )
        return self._session


def _refused_by_proxy(receiver: str, proxy: URL, status: int) -> DeliveryError:
    what = f"{receiver}: the proxy {proxy.origin()} refused with {status}"
    return DeliveryError(what, reason=DeliveryReason.PROXY)


def _translate(error: Exception, receiver: str, proxy: URL | None) -> DeliveryError:
    """Turn whatever a request can raise into a `DeliveryError`; most specific first."""
    cause = _cause(error)
    if proxy is not None and (failure := _of_proxy(error, cause, receiver, proxy)) is not None:
        return failure
    detail = ""
    match error:
        case TimeoutError():
            reason, what = DeliveryReason.TIMEOUT, "the connection timed out"
        case aiohttp.ClientConnectorDNSError():
            reason, what, detail = DeliveryReason.DNS, "the name does not resolve", _strerror(cause)
        case ssl.SSLError() | aiohttp.ClientSSLError():
            reason, what = DeliveryReason.TLS, "no trusted TLS connection"
            detail = getattr(cause, "verify_message", None) or _strerror(cause)
        case aiohttp.ClientConnectorError() if isinstance(cause, BlockedAddressError):
            reason, what = DeliveryReason.BLOCKED_ADDRESS, f"{cause.address} must not be dialled"
        case aiohttp.ClientConnectorError():
            reason, what, detail = DeliveryReason.CONNECT, "cannot connect", _strerror(cause)
        case aiohttp.ClientResponseError():
            reason, what = DeliveryReason.RESPONSE, "the answer is not HTTP, or its head is too large"
        case aiohttp.ClientPayloadError():
            reason, what = DeliveryReason.RESPONSE, "the answer was cut short"
        case _:
            reason, what = DeliveryReason.RESPONSE, "the connection was closed before the answer"
    message = f"{receiver}: {what}" + (f": {excerpt(detail)}" if detail else "")
    return DeliveryError(message, reason=reason)


def _cause(error: BaseException) -> BaseException:
    """What the socket said: aiohttp wraps it, except during a transfer; what a proxy's socket said, twice."""
    while isinstance(error, aiohttp.ClientConnectorError) and error.os_error is not error:
        error = error.os_error
    return error


def _of_proxy(error: Exception, cause: BaseException, receiver: str, proxy: URL) -> DeliveryError | None:
    """What a proxy did; `None` if it was not the proxy, or is one that must not be dialed."""
    if isinstance(error, aiohttp.ClientHttpProxyError):
        return _refused_by_proxy(receiver, proxy, error.status)
    if isinstance(error, aiohttp.ClientProxyConnectionError) and not isinstance(cause, BlockedAddressError):
        what = f"{receiver}: cannot connect to the proxy {proxy.origin()}"
        detail = excerpt(_strerror(cause))
        return DeliveryError(f"{what}: {detail}", reason=DeliveryReason.PROXY)
    return None


def _strerror(error: BaseException) -> str:
    return getattr(error, "strerror", None) or type(error).__name__


def _basic_auth(url: URL, header: str = "authorization") -> dict[str, str]:
    if url.user is None and url.password is None:
        return {}
    token = base64.b64encode(f"{url.user or ''}:{url.password or ''}".encode()).decode()
    return {header: f"Basic {token}"}


def _secrets_of_url(url: URL) -> list[str]:
    whole = [str(url), str(url.with_user(None)), url.raw_path_qs, url.path_qs, url.raw_path, url.path]
    parts = [*url.parts, *url.raw_parts, *url.query.values()]
    return [
        *(secret for secret in (url.user, url.password, url.raw_user, url.raw_password) if secret),
        *(secret for secret in (*whole, *parts) if len(secret) >= _SHORTEST_SECRET_PART),
    ]


def _secrets_of_headers(values: Iterable[str]) -> list[str]:
    parts = [part for value in values for part in value.split() if len(part) >= _SHORTEST_SECRET_PART]
    return [*values, *parts]
