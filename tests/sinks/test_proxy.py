"""Posting through a proxy, which is a real one on loopback."""

from __future__ import annotations

import asyncio
import base64
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
from pydantic import ValidationError

from poller.delivery import attempt
from poller.errors import DeliveryReason
from tests.sinks.samples import EVENT, SECRET, in_loop, opened, receiver, webhook

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator
    from pathlib import Path

CREDENTIALS = "corp:pr0xy-canary"


class Proxy:
    """An HTTP proxy that tunnels, and forwards plain requests; it may ask who is there.

    Args:
        credentials: `user:password`, if it asks.
        refuses: The status with which it refuses everything.
    """

    def __init__(self, credentials: str = "", refuses: int = 0) -> None:
        self._wanted = base64.b64encode(credentials.encode()).decode() if credentials else ""
        self._refuses = refuses
        self.asked: list[str] = []
        self.heads: list[str] = []
        self.url = ""

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            method, target, _ = head.split(" ", 2)
            self.asked.append(f"{method} {target}")
            self.heads.append(head)
            if self._refuses or (self._wanted and f"Basic {self._wanted}" not in head):
                writer.write(b"HTTP/1.1 %d No\r\ncontent-length: 0\r\n\r\n" % (self._refuses or 407))
                await writer.drain()
                return
            url = urlsplit(target if "://" in target else f"//{target}")
            to_reader, to_writer = await asyncio.open_connection(url.hostname, url.port)
            if method == "CONNECT":
                writer.write(b"HTTP/1.1 200 Connected\r\n\r\n")
            else:
                to_writer.write(head.replace(target, url.path or "/", 1).encode("latin-1"))
            await asyncio.gather(_copy(reader, to_writer), _copy(to_reader, writer))
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except OSError:
        pass
    finally:
        writer.close()


@asynccontextmanager
async def proxying(**options: Any) -> AsyncIterator[Proxy]:
    """Run a proxy."""
    proxy = Proxy(**options)
    server = await asyncio.start_server(proxy.talk, "127.0.0.1", 0)
    proxy.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield proxy
    finally:
        server.close()


async def outcome(url: str, **settings: Any) -> tuple[DeliveryReason | None, str]:
    """Why an event was not taken, and the message."""
    async with opened(webhook(url, secrets=[SECRET], **settings)) as sink:
        failure = (await attempt(sink, [EVENT])).get(EVENT.id)
        return (failure.reason, str(failure)) if failure else (None, "")


@in_loop
async def test_a_plain_receiver_is_reached_through_a_proxy() -> None:
    """The proxy gets the whole address, and the receiver no header of the proxy's (fault 88)."""
    async with receiver() as found, proxying() as proxy:
        assert await outcome(found.url, proxy=proxy.url) == (None, "")
        assert [each.split("/")[0] for each in proxy.asked] == ["POST http:"]
        (request,) = found.requests
        assert not [name for name in request.headers if name.lower().startswith("proxy-")]


@in_loop
async def test_a_receiver_with_tls_is_reached_through_a_tunnel(
    server_tls: ssl.SSLContext, ca_file: Path
) -> None:
    """The proxy sees a name and a port, and nothing of the event (fault 88)."""
    async with receiver(tls=server_tls) as found, proxying() as proxy:
        assert await outcome(found.url, proxy=proxy.url, ca_file=ca_file) == (None, "")
        assert [each.split()[0] for each in proxy.asked] == ["CONNECT"]
        assert len(found.requests) == 1


@pytest.mark.parametrize("tls", [False, True])
@in_loop
async def test_a_proxy_may_ask_who_is_there(
    server_tls: ssl.SSLContext, ca_file: Path, tmp_path: Path, tls: bool
) -> None:
    """User and password come from a file, read at every attempt, or from the address (fault 88)."""
    file = tmp_path / "auth"
    file.write_text(f"{CREDENTIALS}\n")
    more = {"ca_file": ca_file} if tls else {}
    async with receiver(tls=server_tls if tls else None) as found, proxying(credentials=CREDENTIALS) as proxy:
        assert await outcome(found.url, proxy=proxy.url, proxy_auth_file=file, **more) == (None, "")
        address = proxy.url.replace("//", f"//{CREDENTIALS}@")
        assert await outcome(found.url, proxy=address, **more) == (None, "")
        assert all("pr0xy-canary" not in str(request.headers) for request in found.requests)
        file.write_text("corp:wrong")
        reason, message = await outcome(found.url, proxy=proxy.url, proxy_auth_file=file, **more)
        assert (reason, "refused with 407" in message) == (DeliveryReason.PROXY, True)


@pytest.mark.parametrize("tls", [False, True])
@in_loop
async def test_a_proxy_that_is_not_there_or_refuses_is_a_failure_of_its_own(tls: bool) -> None:
    """The reason says that it was the proxy, and the message which one, without its password (fault 88)."""
    url = f"http{'s' * tls}://127.0.0.1:9/x"
    reason, message = await outcome(url, proxy="http://u:pr0xy-canary@127.0.0.1:9")
    assert (reason, "canary" in message) == (DeliveryReason.PROXY, False)
    assert "cannot connect to the proxy http://127.0.0.1:9" in message
    if tls:
        async with proxying(refuses=403) as proxy:
            assert (await outcome(url, proxy=proxy.url))[0] is DeliveryReason.PROXY


@in_loop
async def test_the_address_of_the_proxy_is_checked() -> None:
    """What is dialed is the proxy, so that is what the networks speak of (faults 44 and 88)."""
    async with proxying() as proxy:
        denied = await outcome("http://h.example/", proxy=proxy.url, deny_networks=["127.0.0.0/8"])
        assert denied[0] is DeliveryReason.BLOCKED_ADDRESS
        assert proxy.asked == []
    blocked = await outcome("http://h.example/", proxy="http://169.254.169.254:3128")
    assert blocked[0] is DeliveryReason.BLOCKED_ADDRESS


@in_loop
async def test_the_environment_is_asked_only_where_that_is_configured(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """`environment` takes HTTP_PROXY and NO_PROXY; without it, neither counts (fault 88)."""
    async with receiver() as found, proxying() as proxy:
        for name in ("http_proxy", "https_proxy", "no_proxy", "NO_PROXY", "HTTP_PROXY"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        assert await outcome(found.url) == (None, "")
        assert proxy.asked == []
        assert await outcome(found.url, proxy="environment") == (None, "")
        assert len(proxy.asked) == 1
        monkeypatch.setenv("NO_PROXY", "localhost,127.0.0.1")
        assert await outcome(found.url, proxy="environment") == (None, "")
        assert len(proxy.asked) == 1
        assert len(found.requests) == 3


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"proxy": "socks5://c4nary:1"}, "the proxy is not a url to post to"),
        ({"proxy": "http://h:1/c4nary"}, "more than a host and a port"),
        ({"proxy": "${C4NARY_PROXY}"}, "nothing replaces"),
        ({"proxy_auth_file": "AUTH"}, "proxy_auth_file is for a proxy"),
        ({"proxy": "http://h:1", "proxy_auth_file": "WRONG"}, "does not hold user:password"),
    ],
)
def test_a_proxy_of_no_use_is_refused(tmp_path: Path, settings: dict[str, str], says: str) -> None:
    """The message says what is wrong, and shows no address (fault 88)."""
    (tmp_path / "AUTH").write_text(CREDENTIALS)
    (tmp_path / "WRONG").write_text("c4nary")
    given = {
        key: str(tmp_path / value) if key == "proxy_auth_file" else value for key, value in settings.items()
    }
    with pytest.raises(ValidationError, match=says) as caught:
        webhook("http://h.example", **given)
    assert "c4nary" not in str(caught.value)
