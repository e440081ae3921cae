"""A webhook's URL from a file, for receivers whose address is the secret itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web
from pydantic import ValidationError

from poller.errors import DeliveryError
from poller.redaction import redact
from poller.sinks.webhook import WebhookSettings, WebhookSink
from tests.sinks.samples import EVENT, everything_shown, in_loop, opened, receiver

if TYPE_CHECKING:
    from pathlib import Path

    from tests.sinks.samples import Received


def hook(path: Path, **settings: Any) -> WebhookSink:
    """A sink whose URL stands in a file."""
    given = {"type": "webhook", "url_file": str(path), "timeout": "5s", **settings}
    return WebhookSink("ops", WebhookSettings.model_validate(given))


@in_loop
async def test_it_is_posted_to_and_not_shown(tmp_path: Path) -> None:
    """Path, query and credentials of the address in the file arrive, and are in no error and no log."""
    path = tmp_path / "url"

    def refuse(received: Received) -> web.Response:
        return web.Response(status=401, text=f"{received.path} {received.headers['authorization']}")

    async with receiver(refuse) as found:
        path.write_text(f"http://us3r-c4nary:p4ss-c4nary@127.0.0.1:{found.port}/p4th-c4nary?k=qu3ry-c4nary\n")
        async with opened(hook(path)) as sink:
            path.unlink()  # what was read at the start stays
            with pytest.raises(DeliveryError, match=f"http://127.0.0.1:{found.port} answered 401") as caught:
                await sink.send([EVENT])
        (request,) = found.requests
    assert request.path == "/p4th-c4nary?k=qu3ry-c4nary"
    shown = everything_shown(caught.value) + repr(sink.settings) + sink.settings.model_dump_json()
    assert "c4nary" not in shown
    assert "c4nary" not in redact(
        f"http://us3r-c4nary:p4ss-c4nary@127.0.0.1:{found.port}/p4th-c4nary?k=qu3ry-c4nary p4ss-c4nary"
    )


@pytest.mark.parametrize("given", [{}, {"url": None}, {"url": "https://h.example", "url_file": "here"}])
def test_one_of_both_is_needed(tmp_path: Path, given: dict[str, Any]) -> None:
    """Neither is no address, and both are a question of which counts."""
    path = tmp_path / "url"
    path.write_text("https://h.example/c4nary")
    if "url_file" in given:
        given = {**given, "url_file": str(path)}
    with pytest.raises(ValidationError, match="needs a url: either url itself, or url_file") as caught:
        WebhookSettings.model_validate({"type": "webhook", **given})
    assert "c4nary" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("hooks.example/c4nary", "not a url to post to"),
        ("https://h.example/c4nary\nhttps://h.example/other", "no white space"),
        ("", "is empty"),
    ],
)
def test_a_file_without_a_url_is_named_and_not_shown(tmp_path: Path, content: str, says: str) -> None:
    """When the configuration is read."""
    path = tmp_path / "url"
    path.write_text(content)
    with pytest.raises(ValidationError, match=says) as caught:
        hook(path)
    assert str(path) in str(caught.value)
    assert "c4nary" not in str(caught.value)


def test_credentials_in_it_contradict_a_header(tmp_path: Path) -> None:
    """As with a URL that stands in the configuration."""
    path = tmp_path / "url"
    path.write_text("https://u:p@h.example/")
    with pytest.raises(ValidationError, match="holds credentials"):
        hook(path, headers={"authorization": "x"})
