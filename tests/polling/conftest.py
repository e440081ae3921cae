"""A bench: real polls over real HTTP into a real database, in a time that only the test moves."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa
from structlog.testing import capture_logs

from poller.aws import AccountAccess, JobsApi, Sessions
from poller.kinds import KINDS
from poller.metrics import Metrics
from poller.model import Event, Target
from poller.polling import Poller, PollReport, unlimited
from poller.settings.schema import PollSettings
from poller.simulator import DEFAULT_ACCOUNT, Simulator
from poller.store import Database, Snapshot
from poller.store.tables import deliveries, events

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from structlog.typing import EventDict

    from poller.simulator import Received
    from tests.harness.clock import Clock
    from tests.harness.service import Service

BATCH = Target("prod", "us-east-1", "model_invocation_job", DEFAULT_ACCOUNT)
ASYNC = Target("prod", "us-east-1", "async_invoke", DEFAULT_ACCOUNT)
OPEN = [("InProgress", 0.0)]
LEASE = 15.0


class Calls:
    """The SDK's clients for the service, which do not retry."""

    def __init__(self) -> None:
        self.stop = threading.Event()
        self.metrics = Metrics()
        self.sessions = Sessions(
            self.metrics, requests_per_second=1000, max_attempts=1, pool_size=10, stop=self.stop
        )

    def api(self, target: Target) -> JobsApi:
        """The calls for a target; its name says with which credentials nothing more."""
        kind = KINDS[target.kind]
        return JobsApi(self.sessions.client(AccountAccess(), target.region, kind.service), kind)


@dataclass(frozen=True)
class Poll:
    """What one poll did: its report, the events it recorded, the requests it made."""

    report: PollReport
    events: list[dict[str, Any]]
    requests: list[Received]

    @property
    def calls(self) -> list[str]:
        """The operations called."""
        return [request.operation for request in self.requests]

    @property
    def told(self) -> list[tuple[str | None, str]]:
        """The transitions announced: previous status and status."""
        return [(event["data"]["previous_status"], event["data"]["status"]) for event in self.events]


class Bench:
    """One poller with its store, in front of the simulator."""

    def __init__(self, calls: Calls, simulator: Simulator, clock: Clock, url: str) -> None:
        self.calls = calls
        self.clock = clock
        self.simulator = simulator
        self.metrics = Metrics()
        self.url = url
        self.database = self.open()
        self.snapshot = Snapshot(self.database, owner="bench", lease=LEASE)
        self.snapshot.rows.register([BATCH, ASYNC])
        self._last = 0

    def open(self) -> Database:
        """Open the store, in the test's time."""
        database = Database(self.url, now=self.clock.sql)
        database.prepare()
        database.migrate()
        return database

    def poller(
        self,
        *,
        snapshot: Snapshot | None = None,
        emit: bool = False,
        gets: Callable[[Target], int] = unlimited,
        overlap: timedelta = timedelta(minutes=10),
        full_scan_interval: timedelta = timedelta(hours=24),
        route: Callable[[Mapping[str, Any]], tuple[str, ...]] = lambda _: ("audit",),
        on_progress: Callable[[Target], None] = lambda _: None,
        now: Callable[[], datetime] | None = None,
        first_scan: Any = None,
        details: str = "always",
        details_wait: float = 10.0,
        details_concurrency: int = 8,
    ) -> Poller:
        """What polls."""
        return Poller(
            snapshot=snapshot or self.snapshot,
            api=self.calls.api,
            kind=lambda target: KINDS[target.kind],
            # A test's full scans may be due sooner than a configuration may have them.
            settings=PollSettings(
                overlap=overlap,
                first_scan=first_scan or ("emit" if emit else "baseline"),
                details=details,
                details_wait=timedelta(seconds=details_wait),
                details_concurrency=details_concurrency,
            ).model_copy(update={"full_scan_interval": full_scan_interval}),
            route=route,
            metrics=self.metrics,
            gets=gets,
            stop=self.calls.stop,
            now=now or self.clock,
            on_progress=on_progress,
        )

    def poll(self, target: Target = BATCH, poller: Poller | None = None, **options: Any) -> Poll:
        """Poll once."""
        self.simulator.requests.clear()
        report = (poller or self.poller(**options)).poll(target)
        return Poll(report, self.news(), list(self.simulator.requests))

    def polls(self, count: int, target: Target = BATCH, every: float = 60) -> list[Poll]:
        """Poll several times, with some time before each."""
        found = []
        for _ in range(count):
            self.clock.tick(every)
            found.append(self.poll(target))
        return found

    def news(self) -> list[dict[str, Any]]:
        """The events recorded since it was last asked, in order."""
        with self.database.read() as connection:
            rows = connection.execute(
                sa.select(events).where(events.c.seq > self._last).order_by(events.c.seq)
            ).all()
        self._last = rows[-1].seq if rows else self._last
        bodies = [Event.from_body(bytes(row.body)) for row in rows]
        return [{"id": event.id, "type": event.type, "data": event.data} for event in bodies]

    def owed(self) -> list[tuple[str, str]]:
        """Every delivery that was ever owed: event id and sink."""
        with self.database.read() as connection:
            rows = connection.execute(sa.select(deliveries).order_by(deliveries.c.id)).all()
        return [(row.event_id, row.sink) for row in rows]

    def statuses(self) -> dict[str, str]:
        """What the snapshot says of every job."""
        with self.database.read() as connection:
            return {
                row.arn: row.status for row in connection.execute(sa.text("SELECT arn, status FROM jobs"))
            }

    def count(self, metric: str, **labels: str) -> float:
        """A metric's value."""
        return self.metrics.registry.get_sample_value(f"bedrock_poller_{metric}", labels) or 0.0


STORE_BOUND = ("test_leases.py",)
"""What a store could break; the rest is tried on PostgreSQL where there is time."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave most polls into PostgreSQL to the long tests; they would find out little about the store."""
    for item in items:
        callspec = getattr(item, "callspec", None)
        if callspec is None or callspec.params.get("empty") != "postgresql":
            continue
        if item.path.parent == Path(__file__).parent and item.path.name not in STORE_BOUND:
            item.add_marker(pytest.mark.long)


CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "AKIDPOLLER",
    "AWS_SECRET_ACCESS_KEY": "not-a-secret",
    "AWS_CONFIG_FILE": "/dev/null",
    "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
}


@pytest.fixture(autouse=True)
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the SDK finds; also when it looks again, because the service has refused what it had."""
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)


@pytest.fixture(scope="session")
def calls(service: Service) -> Iterator[Calls]:
    """The clients that all tests share."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("AWS_PROFILE", "AWS_DEFAULT_PROFILE", "AWS_SESSION_TOKEN"):
            patch.delenv(name, raising=False)
        for name, value in CREDENTIALS.items():
            patch.setenv(name, value)
        patch.setenv("AWS_ENDPOINT_URL_BEDROCK", service.url)
        patch.setenv("AWS_ENDPOINT_URL_BEDROCK_RUNTIME", service.url)
        found = Calls()
        for target in (BATCH, ASYNC):
            found.api(target)
        found.sessions.credentials(AccountAccess())
        patch.undo()
        yield found
        found.sessions.close()


@pytest.fixture
def log() -> Iterator[list[EventDict]]:
    """What is logged during the test."""
    with capture_logs() as entries:
        yield entries


@pytest.fixture
def simulator(service: Service, clock: Clock) -> Simulator:
    """An empty simulator, now behind the server."""
    return service.simulate(Simulator(seed=7, clock=clock))


@pytest.fixture
def bench(calls: Calls, simulator: Simulator, clock: Clock, empty: Callable[[], str]) -> Iterator[Bench]:
    """A poller with an empty store, on both databases, before an empty simulator."""
    calls.stop.clear()
    found = Bench(calls, simulator, clock, empty())
    yield found
    found.database.close()


@pytest.fixture
def baselined(bench: Bench) -> Bench:
    """The same, after a first scan of both targets that found nothing but one old job of each kind."""
    for kind in ("batch", "async"):
        submit = bench.simulator.submit_batch if kind == "batch" else bench.simulator.submit_async
        submit(submitted_at=bench.clock.now - timedelta(days=3), script=[("InProgress", 0), ("Completed", 9)])
    for target in (BATCH, ASYNC):
        poll = bench.poll(target)
        assert (poll.report.failure, poll.events) == (None, [])
    bench.clock.tick(60)
    return bench


@pytest.fixture
def crowded(bench: Bench) -> tuple[Bench, str]:
    """After a first scan with one old open job, so many younger ended ones that a Get is cheaper."""
    old = bench.simulator.submit_batch(script=OPEN)
    for second in range(1100):
        at = bench.clock.now + timedelta(seconds=3600 + second)
        bench.simulator.submit_batch(submitted_at=at, script=[("Submitted", 0), ("Completed", 1)])
    bench.clock.tick(7200)
    assert bench.poll().report.failure is None
    bench.clock.tick(60)
    return bench, old


__all__ = ["ASYNC", "BATCH", "LEASE", "OPEN", "Bench", "Calls", "Poll"]
