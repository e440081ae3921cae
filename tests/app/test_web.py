"""The daemon's web server with certificates and passwords, and what it says of open doors."""

from __future__ import annotations

import json
import signal
import ssl
import urllib.error
import urllib.request
from typing import TYPE_CHECKING, Any

import bcrypt
import pytest
import trustme

from poller.settings.web import WebSettings
from poller.web.server import WebServer, exposure
from tests.harness.daemon import Daemon, environment, eventually

if TYPE_CHECKING:
    from pathlib import Path

    from poller.simulator import SimulatorServer

pytestmark = pytest.mark.slow

TOKEN = "a-token-that-is-long-enough"
HASH = bcrypt.hashpw(b"password", bcrypt.gensalt(4)).decode()
AUTHORITY = trustme.CA()


def issue(folder: Path) -> dict[str, str]:
    """Write a certificate; returns the settings."""
    certificate = AUTHORITY.issue_cert("127.0.0.1")
    certificate.private_key_and_cert_chain_pem.write_to_path(folder / "both.pem")
    (folder / "both.pem").chmod(0o600)
    return {"cert_file": str(folder / "both.pem"), "key_file": str(folder / "both.pem")}


def ask(daemon: Daemon, path: str, method: str = "GET", **headers: str) -> int:
    """The status of a request."""
    trust = ssl.create_default_context()
    AUTHORITY.configure_trust(trust)
    request = urllib.request.Request(daemon.url + path, method=method, headers=headers)  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=20, context=trust) as answer:  # noqa: S310 - our own
            return int(answer.status)
    except urllib.error.HTTPError as error:
        error.close()
        return error.code


def test_a_daemon_behind_tls_and_a_token(bedrock: SimulatorServer, tmp_path: Path) -> None:
    """Strangers reach health alone; a token reads, and reloads; SIGHUP takes new certificates.

    Injects fault 47.
    """
    token = tmp_path / "token"
    token.write_text(TOKEN)
    token.chmod(0o600)
    web = {
        "listen": "127.0.0.1:0",
        "reload": True,
        "tls": issue(tmp_path),
        "auth": {"token_file": str(token)},
    }
    config = tmp_path / "config.yaml"
    config.write_text(json.dumps({"web": web}))
    environ = environment(bedrock.url, tmp_path)
    del environ["BEDROCK_POLLER_WEB__LISTEN"]
    with Daemon(tmp_path, environ, "run", "--config", str(config)) as daemon:
        daemon.polled(1)
        assert daemon.url.startswith("https://")
        assert daemon.log("web.open") == []
        known = {"Authorization": f"Bearer {TOKEN}"}
        for path in ("/", "/metrics", "/api/jobs", "/nothing"):
            assert ask(daemon, path) == 401
        for path in ("/", "/metrics", "/api/jobs", "/-/healthy"):
            assert ask(daemon, path, **known) == 200
        assert (ask(daemon, "/-/healthy"), ask(daemon, "/-/ready")) == (200, 200)
        assert ask(daemon, "/-/reload", "POST") == 401
        assert daemon.log("config.reloaded") == []
        assert ask(daemon, "/-/reload", "POST", **known) == 200
        assert ask(daemon, "/-/reload", "POST", Origin=daemon.url, **known) == 403
        issue(tmp_path)
        daemon.process.send_signal(signal.SIGHUP)
        daemon.said("web.certificate_changed")
        eventually(lambda: len(daemon.log("config.reloaded")) == 2)
        assert ask(daemon, "/metrics", **known) == 200
        config.write_text(json.dumps({"web": web | {"reload": False}}))
        daemon.process.send_signal(signal.SIGHUP)
        daemon.said("config.restart_needed")
        assert daemon.terminate() == 0
    assert TOKEN not in daemon.errors


OPEN = "all of that network can read job names and events; set web.auth"
CLEAR = "passwords and tokens can be read on their way; set web.tls"


@pytest.mark.parametrize(
    ("listen", "guards", "why"),
    [
        ("127.0.0.1:0", (), None),
        ("localhost:0", (), None),
        ("0.0.0.0:0", (), OPEN),
        ("0.0.0.0:0", ("reload",), OPEN.replace(";", " and reload the configuration;")),
        ("0.0.0.0:0", ("tls",), OPEN),
        ("0.0.0.0:0", ("auth",), CLEAR),
        ("0.0.0.0:0", ("tls", "auth"), None),
        ("0.0.0.0:0", ("mutual",), None),
        ("127.0.0.1:0", ("auth",), None),
    ],
)
def test_what_is_open_to_a_network(
    tmp_path: Path, listen: str, guards: tuple[str, ...], why: str | None
) -> None:
    """Beyond this machine, without anything to keep strangers out or without anything to keep secrets in."""
    AUTHORITY.cert_pem.write_to_path(tmp_path / "ca.pem")
    tls = issue(tmp_path)
    choices: dict[str, dict[str, Any]] = {
        "reload": {"reload": True},
        "tls": {"tls": tls},
        "mutual": {"tls": {**tls, "client_ca_file": str(tmp_path / "ca.pem")}},
        "auth": {"auth": {"basic_auth_users": {"a": HASH}}},
    }
    given: dict[str, Any] = {"listen": listen}
    for guard in guards:
        given |= choices[guard]
    settings = WebSettings.model_validate(given)
    assert settings.address is not None

    async def app(*_: object) -> None:
        raise AssertionError("nobody asks")

    server = WebServer(app, *settings.address)
    try:
        assert exposure(server, settings) == why
    finally:
        server._listener.close()


def test_an_open_door_is_told_once(bedrock: SimulatorServer, tmp_path: Path) -> None:
    """At the start, and not again at a reload."""
    environ = environment(bedrock.url, tmp_path, WEB__LISTEN="0.0.0.0:0")
    with Daemon(tmp_path, environ) as daemon:
        daemon.polled(1)
        daemon.process.send_signal(signal.SIGHUP)
        daemon.said("config.reloaded")
        (line,) = daemon.log("web.open")
        assert (line["level"], line["why"]) == ("warning", OPEN)
        assert daemon.terminate() == 0
