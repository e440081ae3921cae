"""Metrics and health over a real socket."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import sqlite3
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from poller.errors import PollerError
from poller.heartbeats import Heartbeats
from poller.metrics import Metrics
from poller.model import Target
from poller.store import Database
from poller.web import Health, WebServer
from poller.web.auth import AuthMiddleware
from poller.web.server import application
from poller.web.tls import CurrentCertificates

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path

    from starlette.routing import Route
    from starlette.types import ASGIApp

    from poller.settings.web import AuthSettings, TlsSettings


@dataclass
class Answer:
    """What came back."""

    status: int
    headers: dict[str, str]
    text: str


@dataclass
class Site:
    """The parts behind a web server, and requests to it."""

    database: Database
    metrics: Metrics = field(default_factory=Metrics)
    now: float = 0.0
    started: bool = True
    further: list[Route] = field(default_factory=list)
    auth: AuthSettings | None = None
    tls: TlsSettings | None = None
    trust: ssl.SSLContext | None = None

    def __post_init__(self) -> None:
        self.heartbeats = Heartbeats(lambda: self.now)

    @contextlib.asynccontextmanager
    async def serving(self, host: str = "127.0.0.1") -> AsyncIterator[WebServer]:
        """A server that runs as long as the block."""
        health = Health(self.heartbeats.overdue, self.database.probe, lambda: self.started)
        app: ASGIApp = application(self.metrics.registry, health, self.further)
        if self.auth is not None:
            app = AuthMiddleware(app, self.auth, self.metrics, lambda: self.now)
        certificates = CurrentCertificates(self.tls, self.metrics) if self.tls else None
        server = WebServer(app, host, 0, certificates)
        serving = asyncio.create_task(server.serve())
        try:
            yield server
        finally:
            server.stop()
            await serving

    def ask(self, *paths: str, method: str = "GET", host: str = "127.0.0.1", **headers: str) -> list[Answer]:
        """Serve, request each path in turn, and stop."""

        async def main() -> list[Answer]:
            async with self.serving(host) as server:
                return [
                    await asyncio.to_thread(request, server.url + path, method, headers, self.trust)
                    for path in paths
                ]

        return asyncio.run(main())


def request(
    url: str, method: str = "GET", headers: dict[str, str] | None = None, trust: ssl.SSLContext | None = None
) -> Answer:
    """One request."""
    asked = urllib.request.Request(url, method=method, headers=headers or {})  # noqa: S310 - loopback
    try:
        with urllib.request.urlopen(asked, timeout=10, context=trust) as answer:  # noqa: S310 - the same
            return Answer(answer.status, dict(answer.headers), answer.read().decode())
    except urllib.error.HTTPError as error:
        with error:
            return Answer(error.code, dict(error.headers), error.read().decode())


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """A site with an empty store that does not wait long for a lock."""
    monkeypatch.setattr("poller.store.dialects._BUSY_SECONDS", 0)
    database = Database(f"sqlite:///{tmp_path}/poller.db")
    database.prepare()
    database.migrate()
    yield Site(database)
    database.close()


@pytest.mark.parametrize(
    ("accept", "parse"),
    [
        ("", parse_text),
        ("text/plain;version=0.0.4", parse_text),
        ("application/openmetrics-text; version=1.0.0", parse_openmetrics),
    ],
    ids=["none", "text", "openmetrics"],
)
def test_metrics_can_be_parsed(site: Site, accept: str, parse: Callable[[str], Any]) -> None:
    """Prometheus's own parsers read the page in the format asked for, which the content type names."""
    site.metrics.prepare([Target("a", "us-east-1", "async_invoke")], ["ops"])
    (answer,) = site.ask("/metrics", accept=accept)
    assert answer.status == 200
    assert ("openmetrics" in answer.headers["content-type"]) == ("openmetrics" in accept)
    names = {family.name.removesuffix("_total") for family in parse(answer.text)}
    assert {"bedrock_poller_build", "bedrock_poller_build_info"} & names
    assert "bedrock_poller_deliveries" in names


def test_healthy_while_every_loop_keeps_its_word(site: Site) -> None:
    """A loop that is heard of in time is healthy, and one that has ended is not expected."""
    site.heartbeats.beat("sink ops", within=10)
    site.heartbeats.beat("gone", within=1)
    site.heartbeats.forget("gone")
    site.now = 9.9
    (answer,) = site.ask("/-/healthy")
    assert (answer.status, answer.text) == (200, "healthy\n")


def test_an_overdue_loop_is_named(site: Site) -> None:
    """A loop that is late turns the answer to 503 and is named, with by how much."""
    site.heartbeats.beat("sink ops", within=10)
    site.heartbeats.beat("poll a/us-east-1/async_invoke", within=100)
    site.now = 12.34
    (answer,) = site.ask("/-/healthy")
    assert answer.status == 503
    assert json.loads(answer.text) == {"healthy": False, "overdue_seconds": {"sink ops": 2.3}}


def test_ready_only_between_start_and_stop(site: Site) -> None:
    """Before polling and delivery have begun, or after they have ended, it is not ready."""
    assert [answer.status for answer in site.ask("/-/ready")] == [200]
    site.started = False
    (answer,) = site.ask("/-/ready")
    assert (answer.status, json.loads(answer.text)["why"]) == (503, "starting or stopping")


def test_not_ready_while_the_store_is_locked(site: Site) -> None:
    """A store that takes no write is not ready, and is again when the lock is gone; nothing is written."""
    assert site.database.path is not None
    other = sqlite3.connect(site.database.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    (answer,) = site.ask("/-/ready")
    assert answer.status == 503
    assert "locked" in json.loads(answer.text)["why"]
    other.execute("ROLLBACK")
    other.close()
    assert site.ask("/-/ready")[0].status == 200


def test_not_ready_while_the_store_is_read_only(site: Site) -> None:
    """A store that only lets itself be read is not ready."""
    with site.database.engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA query_only = 1")
    (answer,) = site.ask("/-/ready")
    assert answer.status == 503
    assert "the store" in json.loads(answer.text)["why"]


def test_everything_is_read_only(site: Site) -> None:
    """What is not there is 404, and nothing but GET and HEAD is taken (fault 47)."""
    assert [answer.status for answer in site.ask("/nothing", "/-/", "/../etc")] == [404] * 3
    paths = ("/metrics", "/-/healthy", "/-/ready")
    for method in ("POST", "PUT", "DELETE"):
        assert [answer.status for answer in site.ask(*paths, method=method)] == [405] * 3
    assert [answer.status for answer in site.ask(*paths, method="HEAD")] == [200] * 3


def test_the_server_does_not_name_itself(site: Site) -> None:
    """No header tells what serves."""
    assert "server" not in {name.lower() for name in site.ask("/metrics")[0].headers}


def test_an_address_that_is_taken(site: Site) -> None:
    """Listening where somebody else listens is an error that names address and setting."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        health = Health(dict, site.database.probe, lambda: True)
        with pytest.raises(PollerError, match=rf"cannot listen on 127.0.0.1:{port}: .*; set web.listen"):
            WebServer(application(site.metrics.registry, health), "127.0.0.1", port)


def test_an_address_that_does_not_exist(site: Site) -> None:
    """So is a name that does not resolve."""
    health = Health(dict, site.database.probe, lambda: True)
    with pytest.raises(PollerError, match=r"cannot listen on no\.such.host.invalid:1: .*; set web.listen"):
        WebServer(application(site.metrics.registry, health), "no.such.host.invalid", 1)


def test_it_listens_on_ipv6(site: Site) -> None:
    """An IPv6 address works, and stands in brackets in the URL."""
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("no IPv6 here")
    assert site.ask("/-/healthy", host="::1")[0].status == 200
