"""A simulated Bedrock on a free port, and a PostgreSQL, for whoever needs one."""

from __future__ import annotations

import asyncio
import itertools
import os
import time
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

from poller.simulator import Simulator
from poller.store import Database
from tests.harness import models
from tests.harness.clock import Clock
from tests.harness.postgres import Databases, Emptied, shared
from tests.harness.service import Service, serving

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from poller.simulator import SimulatorServer

models.keep()
# A busy machine is not a failure.
settings.register_profile("without deadlines", deadline=None)
settings.load_profile("without deadlines")


def _loop_time(_loop: object, real: Callable[[], float] = time.monotonic) -> float:
    return real()


# A server's loop that went by a frozen clock for a moment would sleep for decades, and not hear of its end.
asyncio.BaseEventLoop.time = _loop_time  # type: ignore[assignment, method-assign]

BOTH = ("sqlite", "postgresql")


@pytest.fixture
def clock() -> Clock:
    """A time that only the test moves."""
    return Clock()


@pytest.fixture(scope="session")
def service() -> Iterator[Service]:
    """The AWS that all tests of this worker share."""
    yield from serving()


@pytest.fixture(autouse=True)
def nothing_left_behind(request: pytest.FixtureRequest) -> None:
    """Put an empty simulator behind the service, whatever the test before has put there."""
    found = request.getfixturevalue("service") if "service" in request.fixturenames else None
    # Some folders have a service of their own.
    if isinstance(found, Service):
        found.simulate(Simulator(seed=3))


@pytest.fixture
def simulator(service: Service) -> Simulator:
    """An empty simulator, now behind it."""
    return service.simulate(Simulator(seed=3))


@pytest.fixture
def bedrock(service: Service, simulator: Simulator) -> SimulatorServer:
    """The server, with that simulator."""
    return service.server


@pytest.fixture(scope="session")
def databases(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Databases]:
    """The PostgreSQL of this test session, which its workers share."""
    folder = tmp_path_factory.getbasetemp()
    with shared(folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder) as found:
        yield found


@pytest.fixture(scope="session")
def emptied(databases: Databases) -> Iterator[Emptied]:
    """A PostgreSQL database of this worker, with the schema and no rows."""
    found = Emptied(databases)
    yield found
    found.close()


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A SQLite file with the schema and no rows."""
    path = tmp_path_factory.mktemp("migrated") / "poller.db"
    with closing(Database(f"sqlite:///{path}")) as database:
        database.prepare()
        database.migrate()
    return path.read_bytes()


@pytest.fixture(params=BOTH)
def empty(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], str]:
    """Gives the URL of a database with the schema and no rows, again and again; only the last one is good."""
    if request.param == "postgresql":
        emptied: Emptied = request.getfixturevalue("emptied")
        return emptied.url
    content: bytes = request.getfixturevalue("migrated")
    count = itertools.count(1)

    def copied() -> str:
        path = tmp_path / f"poller-{next(count)}.db"
        path.write_bytes(content)
        return f"sqlite:///{path}"

    return copied
