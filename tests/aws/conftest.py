"""One HTTP server for the folder, with a simulator or canned answers behind it, and clients for it."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from poller.aws import AccountAccess, JobsApi, Sessions
from poller.metrics import Metrics
from poller.simulator import DEFAULT_REGION, Simulator, SimulatorServer
from poller.simulator.simulator import Answer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from poller.kinds import Kind
    from poller.simulator.wire import HttpRequest

NOW = datetime(2026, 11, 20, 10, 0, 0, 250_000, tzinfo=UTC)


class Clock:
    """The simulator's clock: stands still until it is moved."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        """The time."""
        return self.now

    def tick(self, seconds: float) -> None:
        """Let time pass."""
        self.now += timedelta(seconds=seconds)


class Switchboard:
    """Hands requests to whatever the current test has put behind the server."""

    def __init__(self) -> None:
        self.url = ""
        self.requests: list[HttpRequest] = []
        self.answer: Callable[[HttpRequest], Answer] = Simulator().handle

    def handle(self, request: HttpRequest) -> Answer:
        """Answer, and remember the request."""
        self.requests.append(request)
        return self.answer(request)

    def can(self, *bodies: bytes, status: int = 200, headers: Mapping[str, str] | None = None) -> None:
        """Answer these bodies in turn, the last one for ever."""
        left = list(bodies)

        def answer(_request: HttpRequest) -> Answer:
            body = left.pop(0) if len(left) > 1 else left[0]
            return Answer(status, {"content-type": "application/json"} | dict(headers or {}), body)

        self.answer = answer


@pytest.fixture(scope="session")
def server() -> Iterator[Switchboard]:
    """The server that all tests share."""
    switchboard = Switchboard()
    with SimulatorServer(switchboard) as running:
        switchboard.url = running.url
        yield switchboard


@pytest.fixture
def switchboard(server: Switchboard) -> Switchboard:
    """The server, with no requests so far."""
    server.requests.clear()
    return server


@pytest.fixture
def clock() -> Clock:
    """The simulator's clock."""
    return Clock()


@pytest.fixture
def simulator(switchboard: Switchboard, clock: Clock) -> Simulator:
    """An empty simulator, now behind the server."""
    simulator = Simulator(seed=7, clock=clock)
    switchboard.answer = simulator.handle
    return simulator


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, switchboard: Switchboard) -> pytest.MonkeyPatch:
    """The SDK's variables: the server as endpoint, fake credentials, and nothing of this machine's own."""
    surroundings = {
        "AWS_ENDPOINT_URL_BEDROCK": switchboard.url,
        "AWS_ENDPOINT_URL_BEDROCK_RUNTIME": switchboard.url,
        "AWS_ENDPOINT_URL_STS": switchboard.url,
        "AWS_ACCESS_KEY_ID": "AKIDDEFAULT",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": "/nonexistent",
        "AWS_SHARED_CREDENTIALS_FILE": "/nonexistent",
    }
    for name, value in surroundings.items():
        monkeypatch.setenv(name, value)
    for name in ("AWS_PROFILE", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


@pytest.fixture
def stop() -> threading.Event:
    """Set at shutdown."""
    return threading.Event()


@pytest.fixture
def metrics() -> Metrics:
    """Fresh counters."""
    return Metrics()


@pytest.fixture
def make_sessions(metrics: Metrics, stop: threading.Event) -> Iterator[Callable[..., Sessions]]:
    """Makes sessions that are closed after the test; by default nothing is retried or held back."""
    made: list[Sessions] = []

    def make(*, requests_per_second: float = 10_000, max_attempts: int = 1) -> Sessions:
        made.append(
            Sessions(
                metrics,
                requests_per_second=requests_per_second,
                max_attempts=max_attempts,
                pool_size=4,
                stop=stop,
            )
        )
        return made[-1]

    yield make
    for sessions in made:
        sessions.close()


@pytest.fixture(scope="session")
def shared() -> Iterator[Sessions]:
    """Sessions for tests that need nothing special of them: clients take a while to make."""
    sessions = Sessions(
        Metrics(), requests_per_second=10_000, max_attempts=1, pool_size=4, stop=threading.Event()
    )
    yield sessions
    sessions.close()


@pytest.fixture
def api(shared: Sessions) -> Callable[[Kind], JobsApi]:
    """Makes the calls of a kind."""
    return lambda kind: JobsApi(shared.client(AccountAccess(), DEFAULT_REGION, kind.service), kind)
