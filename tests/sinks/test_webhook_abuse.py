"""The webhook sink against receivers that are slow, endless, broken or not who they say."""

from __future__ import annotations

import asyncio
import errno
import gzip
import socket
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
import trustme
from aiohttp import web

from poller.delivery import attempt
from poller.errors import DeliveryError, DeliveryReason
from poller.sinks.conformance import sample_event
from poller.sinks.http.client import LARGEST_ANSWER, LARGEST_RESPONSE, MOST_INTERIM_ANSWERS
from tests.sinks.samples import (
    EVENT,
    SECRET,
    everything_shown,
    in_loop,
    opened,
    raw_server,
    read_request,
    receiver,
    serving_with,
    webhook,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from typing import Any

    from tests.sinks.samples import Received

PATH = "/p4th-canary"


async def outcome(
    port: int, *, scheme: str = "http", host: str = "127.0.0.1", **settings: Any
) -> DeliveryError:
    """Send one event to `port` and return what went wrong, after a look for secrets in it."""
    url = f"{scheme}://{host}:{port}{PATH}"
    async with opened(webhook(url, secrets=[SECRET], **settings)) as sink:
        error = (await attempt(sink, [EVENT]))[EVENT.id]
    assert "canary" not in everything_shown(error)
    assert not error.permanent
    return error


async def drip(writer: asyncio.StreamWriter, *first: bytes) -> None:
    """Write a little every few milliseconds for ever, so that only a total deadline ends it."""
    for piece in first:
        writer.write(piece)
    while True:
        writer.write(b"x")
        await writer.drain()
        await asyncio.sleep(0.02)


async def drip_head(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Never finish the head."""
    await read_request(reader)
    await drip(writer, b"HTTP/1.1 200 OK\r\nx-slow: ")


async def drip_body(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Never finish the body."""
    await read_request(reader)
    await drip(writer, b"HTTP/1.1 200 OK\r\ncontent-length: 50000\r\n\r\n")


async def stay_silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Read nothing and say nothing, as in a TLS handshake that does not begin."""
    await asyncio.sleep(60)


async def interim_for_ever(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Keep saying that it goes on."""
    await read_request(reader)
    while True:
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        await writer.drain()
        await asyncio.sleep(0.02)


@pytest.mark.parametrize("talk", [drip_head, drip_body, stay_silent, interim_for_ever])
@pytest.mark.parametrize("scheme", ["http", "https"])
@in_loop
async def test_a_slow_receiver_costs_the_deadline_only(talk: Callable[..., Any], scheme: str) -> None:
    """However it dawdles, in connecting, head or body, the total deadline ends it (fault 29)."""
    async with raw_server(talk) as port:
        error = await outcome(port, scheme=scheme, timeout="250ms")
    # Over https the plain answer is a broken handshake where there is one; silence is not.
    expected = {DeliveryReason.TIMEOUT} if scheme == "http" else {DeliveryReason.TIMEOUT, DeliveryReason.TLS}
    assert error.reason in expected
    assert talk is not stay_silent or error.reason is DeliveryReason.TIMEOUT


@in_loop
async def test_a_connection_that_is_never_accepted_costs_the_deadline_only() -> None:
    """A full backlog swallows the connection attempt; the deadline covers that too."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        waiting = [socket.socket() for _ in range(4)]
        for one in waiting:
            one.setblocking(False)
            one.connect_ex(listener.getsockname())
        try:
            error = await outcome(listener.getsockname()[1], timeout="250ms")
        finally:
            for one in waiting:
                one.close()
    assert error.reason is DeliveryReason.TIMEOUT


@in_loop
async def test_an_upload_that_is_not_read_costs_the_deadline_only() -> None:
    """A receiver that stops reading in the middle of a large event holds nothing for longer."""
    async with raw_server(stay_silent) as port:
        url = f"http://127.0.0.1:{port}/"
        async with opened(webhook(url, timeout="250ms")) as sink:
            large = sample_event(job={"blob": "x" * 20_000_000})
            error = (await attempt(sink, [large]))[large.id]
    assert error.reason is DeliveryReason.TIMEOUT


@in_loop
async def test_a_connection_that_the_system_gives_up_is_a_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also before the deadline: the kernel has one of its own."""

    async def give_up(*_: object, **__: object) -> None:
        raise TimeoutError(errno.ETIMEDOUT, "Connection timed out")

    monkeypatch.setattr("aiohttp.ClientSession.post", give_up)
    error = await outcome(1)
    assert (error.reason, str(error)) == (
        DeliveryReason.TIMEOUT,
        "http://127.0.0.1:1: the connection timed out",
    )


@in_loop
async def test_an_early_answer_ends_the_upload() -> None:
    """A receiver may answer before it has read everything; a 2xx counts, and nothing hangs."""

    async def answer_at_once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n")
        await writer.drain()
        await asyncio.sleep(60)

    async with raw_server(answer_at_once) as port, opened(webhook(f"http://127.0.0.1:{port}/")) as sink:
        await sink.send([sample_event(job={"blob": "x" * 20_000_000})])
        # The half-used connection is not used again.
        await sink.send([EVENT])


@pytest.mark.parametrize(("status", "reason"), [("200 OK", None), ("500 No", DeliveryReason.SERVER_ERROR)])
@in_loop
async def test_an_endless_answer_is_cut_off(status: str, reason: DeliveryReason | None) -> None:
    """The status counts, the body is read up to the cap, and the connection is closed (fault 29)."""
    sent = 0
    ended = asyncio.Event()

    async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        await read_request(reader)
        writer.write(f"HTTP/1.1 {status}\r\n\r\n".encode())
        try:
            while True:
                writer.write(b"y" * 10_000)
                await writer.drain()
                sent += 10_000
        finally:
            ended.set()

    async with raw_server(flood) as port:
        if reason is None:
            async with opened(webhook(f"http://127.0.0.1:{port}/")) as sink:
                await sink.send([EVENT])
                await asyncio.wait_for(ended.wait(), 10)
        else:
            assert (await outcome(port)).reason is reason
    # Buffers of the kernel on both sides come on top of what is read.
    assert sent < 200 * LARGEST_ANSWER


@in_loop
async def test_a_compressed_answer_stays_compressed() -> None:
    """A small body that would unpack to hundreds of megabytes is only ever its few bytes (fault 29)."""
    bomb = gzip.compress(b"\0" * 50_000_000)

    def answer(_: Received) -> web.Response:
        return web.Response(status=500, body=bomb, headers={"content-encoding": "gzip"})

    async with receiver(answer) as found:
        error = await outcome(found.port)
        assert found.requests[0].headers["accept-encoding"] == "identity"
    assert error.reason is DeliveryReason.SERVER_ERROR
    assert len(str(error)) < 400


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 200 OK\r\nx-huge: " + b"h" * 1_000_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"".join(b"x-%d: 1\r\n" % i for i in range(10_000)) + b"\r\n",
        b"HTTP/1.1 200 " + b"r" * 1_000_000 + b"\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.9 canary\r\n\r\n",
        b"HTTP/1.1 2x0 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: many\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
    ],
)
@in_loop
async def test_an_answer_that_is_not_http_or_too_large_is_refused(head: bytes) -> None:
    """Huge heads and nonsense are a bad answer; nothing of it is quoted (fault 29)."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(head)
        await writer.drain()
        await asyncio.sleep(60)

    async with raw_server(talk) as port:
        error = await outcome(port)
    assert error.reason is DeliveryReason.RESPONSE


@pytest.mark.parametrize(
    "answer", [b"", b"HTTP/1.1 20", b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf"]
)
@pytest.mark.parametrize("reset", [True, False])
@in_loop
async def test_a_connection_lost_after_the_event_was_read_is_a_failure(answer: bytes, reset: bool) -> None:
    """Without a whole answer nobody knows, so it is sent again, with the same id and bytes (fault 31)."""
    bodies: list[bytes] = []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        bodies.append(await read_request(reader))
        if len(bodies) > 1:
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
            return
        writer.write(answer)
        await writer.drain()
        if reset:
            linger = b"\x01\x00\x00\x00\x00\x00\x00\x00"
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            writer.transport.abort()

    async with raw_server(talk) as port, opened(webhook(f"http://127.0.0.1:{port}/")) as sink:
        with pytest.raises(DeliveryError) as caught:
            await sink.send([EVENT])
        assert caught.value.reason is DeliveryReason.RESPONSE
        assert not caught.value.permanent
        await sink.send([EVENT])
    assert bodies == [EVENT.body, EVENT.body]


@in_loop
async def test_nobody_listening_is_a_failure_to_connect() -> None:
    """A closed port says so at once."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    error = await outcome(port)
    assert error.reason is DeliveryReason.CONNECT
    assert "cannot connect" in str(error)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@in_loop
async def test_a_redirect_is_never_followed(status: int) -> None:
    """The event does not go to wherever the receiver points (fault 28)."""
    async with receiver() as elsewhere:

        def answer(_: Received) -> web.Response:
            return web.Response(status=status, headers={"location": elsewhere.url})

        async with receiver(answer) as found:
            error = await outcome(found.port)
    assert error.reason is DeliveryReason.REDIRECT
    assert elsewhere.requests == []


@in_loop
async def test_a_receiver_of_the_operators_authority_is_trusted(authority: trustme.CA, ca_file: Path) -> None:
    """`ca_file` makes a private certificate good, for connections that are kept alive as well."""
    tls = serving_with(authority.issue_cert("127.0.0.1"))
    async with receiver(tls=tls) as found, opened(webhook(found.url, ca_file=ca_file)) as sink:
        await sink.send([EVENT])
        await sink.send([EVENT])
    assert [request.body for request in found.requests] == [EVENT.body] * 2
    assert len({request.peer for request in found.requests}) == 1


@in_loop
async def test_no_wrong_certificate_is_accepted(authority: trustme.CA, ca_file: Path) -> None:
    """Unknown authority, wrong host and expiry each fail with the reason, and nothing is sent (fault 30)."""
    now = datetime.now(tz=UTC)
    expired = authority.issue_cert(
        "127.0.0.1", not_before=now - timedelta(days=9), not_after=now - timedelta(days=2)
    )
    cases: list[tuple[trustme.LeafCert, dict[str, Any], str]] = [
        (authority.issue_cert("127.0.0.1"), {}, "unable to get local issuer certificate|self-signed"),
        (trustme.CA().issue_cert("127.0.0.1"), {"ca_file": ca_file}, "issuer certificate|self-signed"),
        (authority.issue_cert("other.example"), {"ca_file": ca_file}, "IP address mismatch"),
        (expired, {"ca_file": ca_file}, "certificate has expired"),
    ]
    for certificate, settings, says in cases:
        async with receiver(tls=serving_with(certificate)) as found:
            error = await outcome(found.port, scheme="https", **settings)
            assert found.requests == []
        assert error.reason is DeliveryReason.TLS
        with pytest.raises(DeliveryError, match=says):
            raise error


@in_loop
async def test_plain_http_behind_an_https_url_is_no_downgrade() -> None:
    """A receiver without TLS gets nothing (fault 30)."""
    async with receiver() as found:
        error = await outcome(found.port, scheme="https")
    assert error.reason is DeliveryReason.TLS
    assert found.requests == []


@in_loop
async def test_an_authority_that_went_away_is_a_failure_of_tls(ca_file: Path) -> None:
    """A CA file that is gone when the first event is due does not fall back to the system's authorities."""
    async with opened(webhook("https://127.0.0.1:9/", ca_file=ca_file)) as sink:
        ca_file.rename(ca_file.with_suffix(".gone"))  # noqa: ASYNC240 - a test has time
        with pytest.raises(DeliveryError, match=r"ca\.pem cannot be read") as caught:
            await sink.send([EVENT])
    assert caught.value.reason is DeliveryReason.TLS


@in_loop
async def test_a_slow_receiver_does_not_hold_up_the_next_send() -> None:
    """Sends run side by side up to the configured concurrency."""

    async def slow_for_some(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        body = await read_request(reader)
        if b"slow" in body:
            await asyncio.sleep(60)
        writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")

    async with (
        raw_server(slow_for_some) as port,
        opened(webhook(f"http://127.0.0.1:{port}/", concurrency=2, timeout="10s")) as sink,
    ):
        slow = asyncio.create_task(sink.send([sample_event(job_name="slow")]))
        await asyncio.sleep(0.05)
        await asyncio.wait_for(sink.send([EVENT]), 5)
        assert not slow.done()
        slow.cancel()
        with pytest.raises(asyncio.CancelledError):
            await slow


ENDLESS = {
    "interim answers": (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "blank lines": (b"", b"\r\n"),
    "zeros of a chunk's size": (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", b"0"),
    "a chunk's extensions": (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1;", b"a=b;"),
    "headers": (b"HTTP/1.1 200 OK\r\n", b"a: b\r\n"),
    "a body": (b"HTTP/1.1 500 No\r\n\r\n", b"x" * 50),
}


@pytest.mark.parametrize(("head", "piece"), ENDLESS.values(), ids=ENDLESS)
@in_loop
async def test_an_answer_without_end_costs_a_bounded_number_of_bytes(head: bytes, piece: bytes) -> None:
    """Whatever it consists of, the connection is closed long before the deadline (fault 63)."""
    written = 0

    async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal written
        await read_request(reader)
        writer.write(head)
        while True:
            writer.write(piece * (64 * 1024 // len(piece)))
            written += 64 * 1024
            await writer.drain()

    async with raw_server(flood) as port:
        error = await outcome(port, timeout="30s")
    assert error.reason is not DeliveryReason.TIMEOUT
    # What the sockets and the writer hold in between is not read by anybody.
    assert written < 16 * LARGEST_RESPONSE


@pytest.mark.parametrize("surplus", [0, 1])
@in_loop
async def test_a_few_interim_answers_are_taken_and_more_are_not(surplus: int) -> None:
    """A proxy may say that it goes on; one that says it again and again is cut off (fault 63)."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(b"HTTP/1.1 102 Processing\r\n\r\n" * (MOST_INTERIM_ANSWERS + surplus))
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
        await writer.drain()

    async with (
        raw_server(talk) as port,
        opened(webhook(f"http://127.0.0.1:{port}", secrets=[SECRET])) as sink,
    ):
        failures = await attempt(sink, [EVENT])
    reasons = [failure.reason for failure in failures.values()]
    assert reasons == ([DeliveryReason.RESPONSE] if surplus else [])


@in_loop
async def test_the_bytes_of_one_answer_do_not_count_for_the_next() -> None:
    """A connection that is kept alive serves any number of answers (fault 63)."""

    def answer(_request: Received) -> web.Response:
        return web.Response(text="x" * 60_000)

    async with receiver(answer) as found, opened(webhook(found.url, secrets=[SECRET])) as sink:
        for _ in range(2 * LARGEST_RESPONSE // 60_000):
            assert await attempt(sink, [EVENT]) == {}
