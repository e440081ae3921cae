"""The webhook sink: what is sent, how it is signed, what its settings refuse."""

from __future__ import annotations

import base64
import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web
from freezegun import freeze_time
from pydantic import ValidationError
from standardwebhooks import Webhook
from standardwebhooks.webhooks import WebhookVerificationError

from poller.errors import DeliveryError, DeliveryReason
from poller.sinks.conformance import Subject, sample_event
from poller.sinks.webhook import WebhookSettings
from tests.sinks.samples import (
    EVENT,
    OTHER_SECRET,
    SECRET,
    everything_shown,
    in_loop,
    opened,
    raw_server,
    read_request,
    receiver,
    webhook,
)

if TYPE_CHECKING:
    import asyncio
    from collections.abc import AsyncIterator, Mapping
    from pathlib import Path

    from tests.sinks.samples import Received


@asynccontextmanager
async def subject(up: bool) -> AsyncIterator[Subject]:
    """The sink with its receiver there or not, for the checks of conformance."""
    given = {"secrets": [SECRET, OTHER_SECRET], "headers": {"authorization": "h3ader-canary"}}
    secrets = [SECRET, OTHER_SECRET, SECRET[6:], "h3ader-canary", "p4th-canary"]
    async with receiver() as found:
        url = f"{found.url if up else 'http://127.0.0.1:9'}/p4th-canary"
        yield Subject(lambda: webhook(url, **given), secrets)


def verify(secret: str, received: Received) -> Any:
    """Verify a delivery as the documentation tells receivers to."""
    return Webhook(secret).verify(received.body, dict(received.headers))


@in_loop
async def test_the_receiver_gets_exactly_the_events_bytes() -> None:
    """Body, method, path and content type are what the contract says."""
    async with receiver() as found, opened(webhook(found.url + "?tenant=7")) as sink:
        await sink.send([EVENT])
    (got,) = found.requests
    assert got.body == EVENT.body
    assert (got.method, got.path) == ("POST", "/hook?tenant=7")
    assert got.headers["content-type"] == "application/cloudevents+json"
    assert got.headers["webhook-id"] == EVENT.id
    assert got.headers["user-agent"].startswith("bedrock-poller/")
    assert got.headers["content-length"] == str(len(EVENT.body))


@in_loop
async def test_the_signature_verifies_with_each_secret() -> None:
    """Every configured secret signs; a receiver that knows any one of them can verify."""
    settings = {"secrets": [SECRET, OTHER_SECRET]}
    async with receiver() as found, opened(webhook(found.url, **settings)) as sink:
        await sink.send([EVENT])
    (got,) = found.requests
    assert verify(SECRET, got)["id"] == EVENT.id
    assert verify(OTHER_SECRET, got)["id"] == EVENT.id
    assert got.headers["webhook-signature"].count("v1,") == 2
    with pytest.raises(WebhookVerificationError):
        verify("whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", got)


@in_loop
async def test_nothing_is_signed_without_a_secret() -> None:
    """No secret means no signature header, rather than one that proves nothing."""
    async with receiver() as found, opened(webhook(found.url)) as sink:
        await sink.send([EVENT])
    assert "webhook-signature" not in found.requests[0].headers


@in_loop
async def test_the_timestamp_is_that_of_the_attempt() -> None:
    """A retry is signed anew, so that a receiver with a tolerance of minutes takes it; id and bytes stay."""
    async with receiver() as found, opened(webhook(found.url, secrets=[SECRET])) as sink:
        for moment in ("2026-11-20T10:00:00Z", "2026-11-23T14:00:00Z"):
            with freeze_time(moment, real_asyncio=True):
                await sink.send([EVENT])
                verify(SECRET, found.requests[-1])
    first, second = found.requests
    assert first.headers["webhook-timestamp"] == "1795168800"
    assert second.headers["webhook-timestamp"] == "1795442400"
    assert first.headers["webhook-signature"] != second.headers["webhook-signature"]
    assert (first.headers["webhook-id"], first.body) == (second.headers["webhook-id"], second.body)


@in_loop
async def test_secrets_rotated_between_attempts_are_used(tmp_path: Path) -> None:
    """Files are read at each attempt: the new secret signs what waits, and both do while both are there.

    Injects fault 36.
    """
    file = tmp_path / "whsec"
    file.write_text(SECRET + "\n")
    async with receiver() as found, opened(webhook(found.url, secret_file=file)) as sink:
        await sink.send([EVENT])
        file.write_text(f"{SECRET}\n{OTHER_SECRET}\n")
        await sink.send([EVENT])
        file.write_text(OTHER_SECRET)
        await sink.send([EVENT])
    old, both, new = found.requests
    assert verify(SECRET, old) == verify(SECRET, both) == verify(OTHER_SECRET, both)
    verify(OTHER_SECRET, new)
    with pytest.raises(WebhookVerificationError):
        verify(SECRET, new)


@in_loop
async def test_a_secret_file_that_went_away_is_a_failure_to_be_tried_again(tmp_path: Path) -> None:
    """Nothing goes out unsigned; the delivery waits until the file is back."""
    file = tmp_path / "whsec"
    file.write_text(SECRET)
    async with receiver() as found, opened(webhook(found.url, secret_files=[file])) as sink:
        for broken in (None, "", "hunter2-canary"):
            file.unlink()
            if broken is not None:
                file.write_text(broken)
            with pytest.raises(DeliveryError, match="whsec") as caught:
                await sink.send([EVENT])
            assert caught.value.reason is DeliveryReason.CREDENTIALS
            assert not caught.value.permanent
            assert "hunter2-canary" not in everything_shown(caught.value)
            file.touch()
        assert found.requests == []
        file.write_text(SECRET)
        await sink.send([EVENT])
    verify(SECRET, found.requests[0])


@in_loop
async def test_headers_come_from_settings_and_files(tmp_path: Path) -> None:
    """Configured headers are sent; those from files with what the file holds at that attempt."""
    file = tmp_path / "token"
    file.write_text("Bearer one\n")
    settings = {"headers": {"X-Tenant": "7", "User-Agent": "mine"}, "header_files": {"Authorization": file}}
    async with receiver() as found, opened(webhook(found.url, **settings)) as sink:
        await sink.send([EVENT])
        file.write_text("Bearer two\n")
        await sink.send([EVENT])
    first, second = (request.headers for request in found.requests)
    assert (first["x-tenant"], first["user-agent"]) == ("7", "mine")
    assert (first["authorization"], second["authorization"]) == ("Bearer one", "Bearer two")


@in_loop
async def test_credentials_in_the_url_become_basic_authentication() -> None:
    """What stands before the @ is sent as a header, also with characters that need escaping."""
    async with receiver() as found:
        url = f"http://us%40er:p%C3%A4ss%3A@127.0.0.1:{found.port}/"
        async with opened(webhook(url)) as sink:
            await sink.send([EVENT])
    scheme, _, token = found.requests[0].headers["authorization"].partition(" ")
    assert scheme == "Basic"
    assert base64.b64decode(token).decode() == "us@er:päss:"


@in_loop
async def test_connections_are_kept_and_cookies_are_not() -> None:
    """Posts in a row use one connection, and a receiver's cookie never comes back."""

    def answer(_: Received) -> web.Response:
        return web.Response(text="ok", headers={"set-cookie": "session=1"})

    async with receiver(answer) as found, opened(webhook(found.url)) as sink:
        for _ in range(3):
            await sink.send([EVENT])
    assert len({request.peer for request in found.requests}) == 1
    assert all("cookie" not in request.headers for request in found.requests)


@in_loop
async def test_an_event_of_megabytes_arrives_whole() -> None:
    """Large bodies are fed to the connection piece by piece, with their length."""
    events = [sample_event(job={"blob": "x" * size}) for size in (900_000, 3_000_000)]
    bodies: list[bytes] = []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            bodies.append(await read_request(reader))
            writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")

    async with raw_server(talk) as port, opened(webhook(f"http://127.0.0.1:{port}/")) as sink:
        for event in events:
            await sink.send([event])
    assert bodies == [event.body for event in events]


@pytest.mark.parametrize("variable", ["http_proxy", "HTTP_PROXY", "all_proxy"])
@in_loop
async def test_a_proxy_in_the_environment_is_not_used(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where events go is in the configuration and nowhere else."""
    monkeypatch.setenv(variable, "http://127.0.0.1:1")
    async with receiver() as found, opened(webhook(found.url)) as sink:
        await sink.send([EVENT])
    assert len(found.requests) == 1


@in_loop
async def test_retry_after_dates_count_by_the_receivers_clock() -> None:
    """With a Date in the answer, a receiver whose clock is off still gets the pause it asked for."""

    def answer(_: Received) -> web.Response:
        headers = {"date": "Fri, 20 Nov 2026 07:00:00 GMT", "retry-after": "Fri, 20 Nov 2026 07:01:30 GMT"}
        return web.Response(status=503, headers=headers)

    async with receiver(answer) as found, opened(webhook(found.url)) as sink:
        with pytest.raises(DeliveryError) as caught:
            await sink.send([EVENT])
    assert caught.value.retry_after == 90.0


CANARIES: Mapping[str, Any] = {
    "url": "http://us3r-canary:p4ss-canary@127.0.0.1:{port}/hooks/p4th-canary?key=qu3ry-canary",
    "secrets": [SECRET, OTHER_SECRET],
    "headers": {"x-api-key": "h3ader-canary", "x-token": "Bearer t0ken-canary"},
}


@in_loop
async def test_an_echo_of_every_secret_shows_none() -> None:
    """A receiver that answers with any part of the request, raw or as JSON, gets no secret into the error."""
    echoes: list[str] = []

    def answer(received: Received) -> web.Response:
        if not echoes:
            echoes.extend([*received.headers.values(), received.path, json.dumps(dict(received.headers))])
        return web.Response(status=401, text=echoes.pop())

    canaries = ["us3r", "p4ss", "p4th", "qu3ry", "h3ader", "t0ken", SECRET[6:], OTHER_SECRET[6:], "dXMzci"]
    async with receiver(answer) as found:
        settings = {**CANARIES, "url": CANARIES["url"].format(port=found.port)}
        async with opened(webhook(**settings)) as sink:
            while len(found.requests) < 2 or echoes:
                with pytest.raises(DeliveryError) as caught:
                    await sink.send([EVENT])
                shown = everything_shown(caught.value)
                signatures = found.requests[0].headers["webhook-signature"].split()
                assert not [word for word in [*canaries, *signatures] if word in shown], shown
                assert f"http://127.0.0.1:{found.port} answered 401 Unauthorized" in shown


def test_settings_show_no_secret() -> None:
    """Printing the settings, or dumping them as JSON, shows no secret and no path."""
    settings = WebhookSettings.model_validate({**CANARIES, "url": "https://u:pw@h.example:8443/p4th?k=qu3ry"})
    for shown in (repr(settings), str(settings), settings.model_dump_json()):
        assert not [word for word in ("pw", "p4th", "qu3ry", "canary", SECRET[6:]) if word in shown]
    assert settings.safe_url == "https://h.example:8443"


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"url": "ftp://h.example/"}, "not a url to post to"),
        ({"url": "hooks.example/c4nary"}, "not a url to post to"),
        ({"url": "https:///c4nary"}, "not a url to post to"),
        ({"url": "https://h.example:0/c4nary"}, "not a url to post to"),
        ({"url": "https://h.example:99999/c4nary"}, "not a url to post to"),
        ({"url": "https://[::1/c4nary"}, "not a url to post to"),
        ({"url": "https://[]@c4nary"}, "not a url to post to"),
        ({"url": "https://h.example/c4nary\r\nx: y"}, "no white space"),
        ({"url": "https://h.example/ c4nary"}, "no white space"),
        ({"url": "http://2130706433/c4nary"}, "four decimal parts"),
        ({"url": "http://127.1/c4nary"}, "four decimal parts"),
        ({"secrets": ["c4nary"]}, "starts with whsec_"),
        ({"secrets": ["whsec_c4nary!"]}, "not base64"),
        ({"secrets": ["whsec_"]}, "nothing follows"),
        ({"secret_file": "/nonexistent/file"}, "cannot read /nonexistent/file: No such file"),
        ({"secret_files": ["/nonexistent/other"]}, "cannot read /nonexistent/other: No such file"),
        ({"headers": {"x-a": "c4nary\r\nx-b: c"}}, "no line break"),
        ({"headers": {"x-a": "c4nary\x00"}}, "no line break"),
        ({"headers": {"x a": "c4nary"}}, "not the name of a header"),
        ({"headers": {"": "c4nary"}}, "not the name of a header"),
        ({"headers": {"x-a\n": "c4nary"}}, "not the name of a header"),
        ({"headers": {"Content-Type": "c4nary"}}, "cannot be configured"),
        ({"headers": {"webhook-signature": "c4nary"}}, "cannot be configured"),
        ({"headers": {"x-a": "c4nary", "X-A": "c4nary"}}, "configured twice"),
        ({"header_files": {"x-a": "/nonexistent/token"}}, "cannot read /nonexistent/token"),
        ({"url": "https://u:c4nary@h.example", "headers": {"Authorization": "x"}}, "holds credentials"),
        ({"ca_file": "/nonexistent/ca.pem"}, "/nonexistent/ca.pem cannot be read"),
        ({"ca_file": __file__}, "holds no certificates"),
        ({"allow_networks": ["10.0.0.0/33"]}, "network"),
        ({"deny_networks": ["everything"]}, "network"),
        ({"unknown": 1}, "Extra inputs are not permitted"),
    ],
)
def test_wrong_settings_are_named_and_not_shown(wrong: dict[str, Any], says: str) -> None:
    """Each mistake is found when the configuration is read, in words that hold no secret (fault 45)."""
    with pytest.raises(ValidationError) as caught:
        WebhookSettings.model_validate({"type": "webhook", "url": "https://h.example", **wrong})
    assert says in str(caught.value)
    assert "c4nary" not in str(caught.value)


def test_what_is_left_out_may_be_written_out() -> None:
    """An explicit null is the same as leaving an optional file out."""
    settings = webhook("https://h.example", ca_file=None, secret_file=None).settings
    assert settings.files == ()
    assert settings.ca_file is None


def test_a_header_may_not_come_twice_from_different_places(tmp_path: Path) -> None:
    """One header from the settings and from a file is a contradiction, not a question of order."""
    file = tmp_path / "token"
    file.write_text("x")
    with pytest.raises(ValidationError, match="configured twice"):
        webhook("https://h.example", headers={"x-a": "1"}, header_files={"X-A": file})
