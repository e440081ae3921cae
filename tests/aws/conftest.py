"""One HTTP server for the folder, with a simulator or canned answers behind it, and clients for it."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from poller.aws import AccountAccess, JobsApi, Sessions
from poller.metrics import Metrics
from poller.simulator import DEFAULT_REGION, Simulator
from tests.harness.clock import Clock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from poller.kinds import Kind
    from tests.harness.service import Service

NOW = Clock().now + timedelta(milliseconds=250)


@pytest.fixture
def clock() -> Clock:
    """The simulator's clock, which does not stand at a full second."""
    return Clock(NOW)


@pytest.fixture
def simulator(service: Service, clock: Clock) -> Simulator:
    """An empty simulator, now behind the server."""
    return service.simulate(Simulator(seed=7, clock=clock))


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, service: Service) -> pytest.MonkeyPatch:
    """The SDK's variables: the server as endpoint, fake credentials, and nothing of this machine's own."""
    surroundings = {
        "AWS_ENDPOINT_URL_BEDROCK": service.url,
        "AWS_ENDPOINT_URL_BEDROCK_RUNTIME": service.url,
        "AWS_ENDPOINT_URL_STS": service.url,
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
