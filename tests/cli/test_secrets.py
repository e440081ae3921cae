"""Canaries: no secret comes out of any command, at any level of the log, in any way of failing."""

from __future__ import annotations

import contextlib
import json
import ssl
import threading
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import pytest

from poller.cli import main
from poller.cli.context import Context
from poller.simulator import faults
from tests.cli.canaries import (
    ACCESS_KEY,
    AUTHORITY,
    CANARIES,
    PUBLIC,
    STORE,
    STORE_FILE,
    everything,
    planted,
    secret_settings,
    written,
)
from tests.harness.daemon import Daemon, environment, eventually
from tests.harness.receiver import Listening

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from poller.simulator import Simulator, SimulatorServer
    from tests.cli.conftest import Shell

COMMANDS = [
    ["check-config"],
    ["iam-policy"],
    ["iam-policy", "--member"],
    ["schema"],
    ["once", "--dry-run"],
    ["once"],
    ["targets", "list"],
    ["jobs", "list"],
    ["events", "list"],
    ["deliveries", "list"],
    ["deliveries", "list", "--output", "json"],
    ["deliveries", "show", "1"],
    ["deliveries", "replay", "--sink", "ops", "--dry-run"],
    ["sinks", "list"],
    ["sinks", "test", "ops"],
    ["sinks", "test", "more"],
    ["sinks", "unpark", "ops"],
    ["migrate"],
    ["run"],
]


WEB = [setting for setting in CANARIES if setting.startswith("web.auth.")]


@pytest.fixture
def echo() -> Iterator[str]:
    """The address of a receiver that refuses, and answers with all that it was sent."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            # Each answer leads with another part, because only the beginning is kept.
            Handler.answers += 1
            told = [self.path, *self.headers.values()]
            turn = Handler.answers % len(told)
            answer = " ".join([*told[turn:], *told[:turn]]).encode()
            self.send_response(400)
            self.send_header("content-length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            pass

        answers = 0

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    with Listening(server) as listening:
        yield listening.url


def test_every_secret_setting_has_a_canary() -> None:
    """A new one is added to `canaries.py`, planted in a configuration, or said to be public."""
    assert set(secret_settings()) == set(CANARIES) | PUBLIC


def test_every_canary_is_planted(tmp_path: Path) -> None:
    """In the configuration itself, or in a file that it names."""
    written(tmp_path, planted(tmp_path, "https://h.example"))
    text = " ".join(path.read_text() for path in tmp_path.iterdir())
    assert set(everything(text)) == set(CANARIES) - {STORE, STORE_FILE}


@pytest.mark.parametrize(
    ("store", "broken", "form"),
    [
        ("sqlite", False, "json"),
        ("sqlite", False, "console"),
        ("sqlite", True, "json"),
        ("sqlite", True, "console"),
        ("postgresql", False, "console"),
        ("password file", False, "json"),
    ],
)
def test_no_command_tells_a_secret(  # noqa: PLR0917 - fixtures and parameters
    at_work: Shell,
    bedrock: SimulatorServer,
    simulator: Simulator,
    monkeypatch: pytest.MonkeyPatch,
    store: str,
    broken: bool,
    form: str,
) -> None:
    """Secrets planted in every setting that takes one are in no output of any command (fault 46)."""
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", ACCESS_KEY)
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", "http://127.0.0.1:9")
    at_work.set(POLL__FIRST_SCAN="emit", AWS__MAX_ATTEMPTS="1")
    if store == "postgresql":
        at_work.set(STORE__URL=f"postgresql://poller:{CANARIES[STORE]}@127.0.0.1:9/none")
    if store == "password file":
        path = at_work.write(CANARIES[STORE_FILE], "password")
        at_work.set(STORE__URL="postgresql://poller@127.0.0.1:9/none", STORE__PASSWORD_FILE=path)
    configuration = planted(at_work.folder, bedrock.url, timeout="1x" if broken else "1s")
    path = written(at_work.folder, configuration)
    simulator.submit_batch(script=[("InProgress", 0)])
    simulator.faults.add(faults.Garbage(operation="ListAsyncInvokes"))
    monkeypatch.setenv("BEDROCK_POLLER_WEB__LISTEN", f"127.0.0.1:{bedrock.port}")  # so that run ends at once
    for command in COMMANDS:
        done = at_work(*command, "--config", path, "--log-level", "debug", "--log-format", form)
        assert done.code in {0, 1, 2}
        assert everything(done.out + done.err) == [], " ".join(command)
    if at_work.store.exists():
        assert everything(at_work.store.read_bytes().decode("latin-1")) == []


def _asked(daemon: Daemon, path: str, given: str = f"Bearer {CANARIES['web.auth.token_file']}") -> str:
    """A page, for somebody who has the token."""
    trust = ssl.create_default_context()
    AUTHORITY.configure_trust(trust)
    request = urllib.request.Request(daemon.url + path, headers={"Authorization": given})  # noqa: S310
    with urllib.request.urlopen(request, timeout=10, context=trust) as answer:  # noqa: S310 - our own
        return str(answer.read().decode())


@pytest.mark.long
@pytest.mark.slow
def test_a_daemon_with_an_echoing_receiver_tells_no_secret(
    bedrock: SimulatorServer, simulator: Simulator, tmp_path: Path, echo: str
) -> None:
    """Neither its log nor its metrics, status page, API, dead letters and database have any (fault 46)."""
    environ = environment(
        bedrock.url,
        tmp_path,
        POLL__FIRST_SCAN="emit",
        AWS__MAX_ATTEMPTS="1",
        STORE__URL=f"sqlite:///{tmp_path}/poller.db",
    )
    environ |= {"AWS_SECRET_ACCESS_KEY": ACCESS_KEY, "AWS_ENDPOINT_URL_STS": "http://127.0.0.1:9"}
    retry = {"initial": "1ms", "max": "2ms", "give_up_after": "0s"}
    path = written(tmp_path, planted(tmp_path, echo, retry=retry))
    for _ in range(10):
        simulator.submit_batch(script=[("InProgress", 0)])
    arguments = ("run", "--config", path, "--log-level", "debug", "--log-format", "json")
    with Daemon(tmp_path, environ, *arguments) as daemon:
        daemon.said("delivery.dead", 20)
        daemon.said("poll.failed", 2)
        dead = json.loads(
            eventually(
                lambda: _asked(daemon, "/api/deliveries?state=dead&limit=1000")
            )  # settled with the log line
        )["deliveries"]
        eventually(lambda: 'state="dead"} 10.0' in _asked(daemon, "/metrics"))
        pages = [
            _asked(daemon, each) for each in ("/", "/metrics", "/api/jobs", "/api/events", "/api/deliveries")
        ]
        for setting in WEB:
            given = f"Bearer {CANARIES[setting]}x"
            with pytest.raises(urllib.error.HTTPError, match="401") as refused:
                _asked(daemon, f"/{CANARIES['web.auth.token_file']}", given)
            pages.append(f"{refused.value.headers} {refused.value.read().decode()}")
        daemon.terminate()
    assert any("[secret]" in each["error"] or "answered 400" in each["error"] for each in dead)
    for what in (daemon.errors, daemon.output, *pages):
        assert what is daemon.output or what
        assert everything(what) == []
    for suffix in ("", "-wal"):
        with contextlib.suppress(FileNotFoundError):
            stored = (tmp_path / f"poller.db{suffix}").read_bytes().decode("latin-1")
            assert everything(stored) == []


@pytest.mark.parametrize("where", ["main", "thread"])
def test_a_crash_tells_no_secret(
    shell: Shell, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], where: str
) -> None:
    """A mistake of ours ends with a traceback, for whoever reports it, and without what was secret in it.

    Injects fault 46.
    """
    path = written(shell.folder, planted(shell.folder, "https://h.example"))
    before = threading.excepthook
    real = Context.settings

    def crash(values: object) -> None:
        raise RuntimeError(f"lost in {values}")

    def settings(self: Context, **options: bool) -> object:
        real(self, **options)
        if where == "main":
            crash(list(CANARIES.values()))
        thread = threading.Thread(target=crash, args=(list(CANARIES.values()),))
        thread.start()
        thread.join()
        return real(self, **options)

    monkeypatch.setattr(Context, "settings", settings)
    monkeypatch.setattr("sys.argv", ["bedrock-poller", "sinks", "list", "--config", path])
    capfd.readouterr()
    with pytest.raises(SystemExit) as caught:
        main()
    monkeypatch.setattr(threading, "excepthook", before)
    out, err = capfd.readouterr()
    assert caught.value.code == (1 if where == "main" else 0)
    assert "Traceback (most recent call last)" in err
    assert "RuntimeError: lost in" in err
    # This process has no such store.
    assert set(everything(out + err)) <= {STORE, STORE_FILE}
