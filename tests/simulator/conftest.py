"""One server for the folder, a new simulator for every test, and clients that are not ours."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from botocore.config import Config

from poller.simulator import Simulator, SimulatorServer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from poller.simulator.simulator import Answer
    from poller.simulator.wire import HttpRequest


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = datetime(2026, 11, 20, 10, 0, 0, 250_000, tzinfo=UTC)

    def __call__(self) -> datetime:
        """The time."""
        return self.now

    def tick(self, seconds: float) -> None:
        """Let time pass."""
        self.now += timedelta(seconds=seconds)


class Switchboard:
    """Hands requests to the simulator of the current test."""

    def __init__(self) -> None:
        self.simulator = Simulator()

    def handle(self, request: HttpRequest) -> Answer:
        """Answer as the current simulator."""
        return self.simulator.handle(request)


class Service:
    """The running server, and clients for it that do not retry."""

    def __init__(self, switchboard: Switchboard, url: str) -> None:
        self.switchboard = switchboard
        self.url = url
        self._session = boto3.Session(aws_access_key_id="AKIDDEFAULT", aws_secret_access_key="secret")

    def client(self, name: str, region: str = "us-east-1", **options: Any) -> Any:
        """A boto3 client of the server."""
        config = Config(retries={"mode": "standard", "total_max_attempts": 1}, max_pool_connections=50)
        return self._session.client(
            name, region_name=region, endpoint_url=self.url, **{"config": config, **options}
        )


@pytest.fixture(scope="session")
def service() -> Iterator[Service]:
    """The server all tests share."""
    switchboard = Switchboard()
    with SimulatorServer(switchboard) as server:
        yield Service(switchboard, server.url)


@pytest.fixture
def clock() -> Clock:
    """The time of the simulator."""
    return Clock()


@pytest.fixture
def simulator(service: Service, clock: Clock) -> Simulator:
    """An empty simulator, now behind the server."""
    service.switchboard.simulator = Simulator(seed=7, clock=clock, accounts={"AKIDOTHER": "999999999999"})
    return service.switchboard.simulator


@pytest.fixture(scope="session")
def clients(service: Service) -> Callable[..., Any]:
    """boto3 clients by service and region, each made once."""
    made: dict[tuple[str, str], Any] = {}

    def client(name: str, region: str = "us-east-1") -> Any:
        if (name, region) not in made:
            made[name, region] = service.client(name, region)
        return made[name, region]

    return client


@pytest.fixture
def runtime(simulator: Simulator, clients: Callable[..., Any]) -> Any:
    """The client of asynchronous invocations."""
    return clients("bedrock-runtime")


@pytest.fixture
def control(simulator: Simulator, clients: Callable[..., Any]) -> Any:
    """The client of batch jobs."""
    return clients("bedrock")
