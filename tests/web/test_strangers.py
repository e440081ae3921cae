"""Callers who ask for too much, hold what they do not use, or have not said who they are."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import gzip
import json
import resource
import socket
import time
import urllib.error
import urllib.request
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest
import sqlalchemy as sa

from poller.errors import StoreError
from poller.settings.web import AuthSettings
from poller.store.queries import Browser, Cut, Selection
from poller.store.tables import events
from poller.web import api, connections
from poller.web.server import Health, WebServer, application
from tests.harness.daemon import Daemon, environment, eventually
from tests.web.test_auth import HASH, basic
from tests.web.test_pages import filled
from tests.web.test_server import Site, site

if TYPE_CHECKING:
    from pathlib import Path

    from poller.simulator import SimulatorServer

__all__ = ["filled", "site"]


@pytest.mark.parametrize(
    "limit",
    ["0000000011000000", "1001", "0", "00", "-1", "1e3", "\u0661", "", "9" * 1000, "1 ", "+5", "0x10"],
)
def test_a_limit_that_is_absurd_is_refused(filled: Site, limit: str) -> None:
    """It is read once, as a whole number from 1 to 1000, whatever stands before it (fault 64)."""
    query = quote(limit)
    answers = filled.ask(*(f"/api/{what}?limit={query}" for what in ("jobs", "events", "deliveries")))
    assert [answer.status for answer in answers] == [400] * 3
    assert all("whole number from 1 to 1000" in answer.text for answer in answers)


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("job_arn=a&job_arn=b", "given twice"),
        ("limit=5&limit=5", "given twice"),
        (f"job_arn={'a' * 1025}", "longer than 1024 characters"),
        ("job_arn=a%00b", "NUL"),
        ("status=%00", "NUL"),
        (f"{'x' * 5000}=1", "cannot select by xxx"),
    ],
)
def test_a_parameter_without_sense_is_refused(filled: Site, query: str, says: str) -> None:
    """Given twice, of absurd length, or with what no database takes (fault 64)."""
    answers = filled.ask(*(f"/api/{what}?{query}" for what in ("jobs", "events", "deliveries")))
    assert [answer.status for answer in answers] == [400] * 3
    assert all(len(answer.text) < 300 for answer in answers)
    assert says in answers[1].text


def test_an_answer_counts_the_bytes_that_it_sends(filled: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Names that grow sixfold as they are written end the list as early as longer ones (fault 64)."""
    monkeypatch.setattr(api, "LARGEST_ANSWER", 10_000)
    body = json.dumps({"data": "\u20ac" * 1000}, ensure_ascii=False).encode()
    rows = [{"id": f"e{n}", "type": "t", "job_arn": "a", "created_at": 1.0, "body": body} for n in range(3)]
    with filled.database.engine.begin() as connection:
        connection.execute(sa.insert(events), rows)
    (answer,) = filled.ask("/api/events")
    found = json.loads(answer.text)
    assert (len(found["events"]), found["truncated"]) == (1, True)
    assert len(answer.text) <= 10_000


def test_zeros_before_a_limit_mean_nothing(filled: Site) -> None:
    """Seven is seven."""
    assert [answer.status for answer in filled.ask("/api/jobs?limit=0007")] == [200]


def test_an_answer_is_bounded_in_bytes_and_says_so(filled: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Large events end the list early; the first one is given all the same (fault 64)."""
    monkeypatch.setattr(api, "LARGEST_ANSWER", 10_000)
    body = json.dumps({"data": "x" * 8000}).encode()
    rows = [{"id": f"e{n}", "type": "t", "job_arn": "a", "created_at": 1.0, "body": body} for n in range(5)]
    with filled.database.engine.begin() as connection:
        connection.execute(sa.insert(events), rows)
    whole, cut = filled.ask("/api/events?limit=1", "/api/events")
    assert "truncated" not in json.loads(whole.text)
    found = json.loads(cut.text)
    assert found["truncated"] is True
    assert [event["id"] for event in found["events"]] == ["e4"]
    assert len(cut.text) <= 10_000
    selected = Browser(filled.database).events(Selection(most_bytes=1))
    assert isinstance(selected, Cut)
    assert len(selected) == 1


def test_readiness_is_probed_once_a_second(site: Site) -> None:
    """However many ask, the store is written once; a failure is told as soon (fault 64)."""
    probes = []

    def probe() -> None:
        probes.append(1)
        if len(probes) > 1:
            raise StoreError("the disk is full")

    async def main() -> None:
        app = application(site.metrics.registry, Health(dict, probe, lambda: True))
        server = WebServer(app, "127.0.0.1", 0)
        serving = asyncio.create_task(server.serve())

        def ask() -> list[int]:
            found = []
            for _ in range(20):
                connection = socket.create_connection(("127.0.0.1", server.port))
                connection.sendall(b"GET /-/ready HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
                found.append(int(connection.recv(100).split()[1]))
                connection.close()
            return found

        assert await asyncio.to_thread(ask) == [200] * 20
        assert len(probes) == 1
        await asyncio.sleep(1.1)
        assert await asyncio.to_thread(ask) == [503] * 20
        assert len(probes) == 2
        server.stop()
        await serving

    asyncio.run(main())


def test_metrics_are_compressed_when_asked_for(site: Site) -> None:
    """And answer with a slash at the end as well (fault 87)."""
    site.metrics.prepare([], [])
    plain, slashed = site.ask("/metrics", "/metrics/")
    assert (slashed.status, "bedrock_poller_build_info" in slashed.text) == (200, True)

    async def main() -> bytes:
        async with site.serving() as server:

            def ask() -> bytes:
                asked = urllib.request.Request(server.url + "/metrics", headers={"Accept-Encoding": "gzip"})  # noqa: S310
                with urllib.request.urlopen(asked, timeout=10) as answer:  # noqa: S310
                    assert answer.headers["content-encoding"] == "gzip"
                    return bytes(answer.read())

            return await asyncio.to_thread(ask)

    assert "bedrock_poller_build_info" in gzip.decompress(asyncio.run(main())).decode()
    assert "content-encoding" not in plain.headers


def test_names_in_health_answers_are_for_those_who_are_logged_in(site: Site) -> None:
    """Strangers learn that something is late, and not what it is called (fault 79)."""
    site.auth = AuthSettings.model_validate({"basic_auth_users": {"prom": HASH}})
    site.heartbeats.beat("sink CANARY", within=-5)
    stranger, wrong, known = (
        site.ask("/-/healthy", **headers)[0]
        for headers in ({}, {"Authorization": basic(password="no")}, {"Authorization": basic()})
    )
    assert [answer.status for answer in (stranger, wrong, known)] == [503] * 3
    assert json.loads(stranger.text) == json.loads(wrong.text) == {"healthy": False, "overdue": 1}
    assert "CANARY" in known.text
    site.auth = None
    assert "CANARY" in site.ask("/-/healthy")[0].text


@pytest.mark.parametrize("sent", [b"", b"GET /metrics HTTP/1.1\r\nhost: x\r\n"])
def test_connections_without_a_request_are_closed(
    site: Site, sent: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Idle ones, and those whose head never ends, slowly as it may come (fault 64)."""
    monkeypatch.setattr("poller.web.server.timed", lambda: connections.timed(head_seconds=0.3))

    async def main() -> None:
        async with site.serving() as server:

            def wait() -> bytes:
                with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
                    connection.sendall(sent)
                    return connection.recv(100)

            assert await asyncio.to_thread(wait) == b""

    asyncio.run(main())


@pytest.mark.slow
def test_a_crowd_of_idle_connections_slows_no_poll(bedrock: SimulatorServer, tmp_path: Path) -> None:
    """With 200 file descriptors and 190 connections, polls go on, and a request is answered (fault 64)."""
    environ = environment(bedrock.url, tmp_path)
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (200, before[1]))
    with contextlib.ExitStack() as ending:
        try:
            daemon = ending.enter_context(Daemon(tmp_path, environ, fresh=True))
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, before)
        port = int(daemon.url.rpartition(":")[2])
        idle = [ending.enter_context(_connected(port)) for _ in range(190)]
        time.sleep(0.5)
        daemon.polled(3)
        assert daemon.log("poll.failed") == []
        for each in idle[:180]:
            each.close()
        eventually(lambda: "healthy" in _get(daemon))
        for each in idle:
            each.close()
        assert daemon.terminate() == 0


def test_connections_beyond_the_limit_are_closed_as_they_are_accepted() -> None:
    """No crowd holds more file descriptors than the limit, not for a moment (fault 64)."""
    with (
        connections.BoundedListener(socket.AF_INET, socket.SOCK_STREAM, 0, most=2) as listener,
        contextlib.ExitStack() as ending,
    ):
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        listener.setblocking(False)
        port = listener.getsockname()[1]

        def accept() -> list[socket.socket]:
            accepted = []
            with contextlib.suppress(BlockingIOError):
                while True:
                    accepted.append(ending.enter_context(listener.accept()[0]))
            return accepted

        crowd = [ending.enter_context(_connected(port)) for _ in range(5)]
        accepted = accept()
        assert len(accepted) == 2
        assert [each.recv(1) for each in crowd[2:]] == [b""] * 3
        accepted[0].close()
        ending.enter_context(_connected(port))
        assert len(accept()) == 1


def _connected(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=10)


def _get(daemon: Daemon) -> str:
    try:
        return daemon.get("/-/healthy")
    except OSError:
        return ""


@pytest.mark.slow
def test_users_change_with_a_reload(bedrock: SimulatorServer, tmp_path: Path) -> None:
    """Who may get in follows `web.auth`; what needs a restart is in the answer and in a metric (fault 79)."""
    file = tmp_path / "config.yaml"

    def write(**web: Any) -> None:
        file.write_text(json.dumps({"web": {"listen": "127.0.0.1:0", "reload": True, **web}}))

    write()
    environ = environment(bedrock.url, tmp_path)
    del environ["BEDROCK_POLLER_WEB__LISTEN"]
    with Daemon(tmp_path, environ, "run", "--config", str(file)) as daemon:
        assert "bedrock_poller" in daemon.get("/metrics")
        write(auth={"basic_auth_users": {"prom": HASH}})
        assert _post(daemon) == {"reloaded": True}
        assert daemon.ask("/metrics")[0] == 401
        write(auth={"basic_auth_users": {"prom": HASH}}, listen="127.0.0.1:1")
        assert _post(daemon, Authorization=basic()) == {"reloaded": True, "restart_needed": ["web"]}
        write(listen="127.0.0.1:0")
        assert _post(daemon, Authorization=basic()) == {"reloaded": True}
        assert "bedrock_poller_config_restart_needed 0.0" in daemon.get("/metrics")
        assert daemon.terminate() == 0


def _post(daemon: Daemon, **headers: str) -> Any:
    asked = urllib.request.Request(daemon.url + "/-/reload", method="POST", headers=headers)  # noqa: S310
    with urllib.request.urlopen(asked, timeout=20) as answer:  # noqa: S310 - our own
        return json.loads(answer.read())


def test_a_login_that_is_used_is_not_forgotten_for_others_wrong_ones(site: Site) -> None:
    """Eight passwords wait to be checked at most; the right one was checked before (fault 64)."""
    site.auth = AuthSettings.model_validate({"basic_auth_users": {"prom": HASH}})

    async def main() -> None:
        async with site.serving() as server:

            def ask(password: str) -> int:
                asked = urllib.request.Request(  # noqa: S310
                    server.url + "/metrics", headers={"Authorization": basic(password=password)}
                )
                try:
                    with urllib.request.urlopen(asked, timeout=20) as answer:  # noqa: S310
                        return int(answer.status)
                except urllib.error.HTTPError as error:
                    with error:
                        return error.code

            right = base64.b64decode(basic().split()[1]).decode().partition(":")[2]
            assert await asyncio.to_thread(ask, right) == 200
            for number in range(5):
                site.now += 200
                wrong = [asyncio.to_thread(ask, f"{number}-{each}") for each in range(30)]
                answers = await asyncio.gather(asyncio.to_thread(ask, right), *wrong)
                assert answers[0] == 200
                assert 200 not in answers[1:]

    asyncio.run(main())
