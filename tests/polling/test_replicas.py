"""Several replicas over one database: each target is polled once in an interval, by whoever comes first."""

from __future__ import annotations

import asyncio
import threading
from collections import defaultdict
from contextlib import closing
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa

from poller.errors import StoreError
from poller.heartbeats import Heartbeats
from poller.metrics import Metrics
from poller.model import Target
from poller.polling import PollReport, PollScheduler, ReplicaWatcher
from poller.store import Database, Snapshot
from poller.store.tables import targets
from tests.harness.cadence import fixed_cadence

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

TARGETS = [Target(f"target-{number}", "us-east-1", "async_invoke") for number in range(12)]
INTERVAL = 0.6
LEASE = 1.0


class Replica:
    """One process's scheduler over the shared store.

    Args:
        name: Who it is.
        url: The store.
        shared: Whether it knows of the others.
    """

    def __init__(self, name: str, url: str, *, shared: bool = True) -> None:
        self.database = Database(url)
        self.snapshot = Snapshot(self.database, owner=name, lease=LEASE)
        self.snapshot.rows.register(TARGETS)
        self.begun: dict[str, list[float]] = defaultdict(list)
        self.refused = 0
        self.metrics = Metrics()
        self.cut_off: set[str] = set()
        self.scheduler = PollScheduler(
            poller=self,  # type: ignore[arg-type]  # all it is asked for is poll()
            targets=TARGETS,
            cadence=fixed_cadence(TARGETS, self.metrics, interval=INTERVAL),
            concurrency=4,
            stop=threading.Event(),
            metrics=self.metrics,
            heartbeats=Heartbeats(),
            shared=shared,
        )
        self.follower = ReplicaWatcher(self.snapshot, self.scheduler, shared=shared)

    def poll_hourly(self) -> None:
        """Poll so rarely that only what is learned of others makes a target due."""
        self.scheduler.cadence = fixed_cadence(TARGETS, self.metrics, interval=3600)
        for pace in self.scheduler._paces.values():
            pace.interval = 3600.0

    def poll(self, target: Target, *, after: float = 0.0) -> PollReport:
        """Claim a target, and give it back, or leave it lying."""
        claim = self.snapshot.leases.claim(target, after=after)
        if claim is None:
            self.refused += 1
            return PollReport(target, claimed=False)
        with self.database.read() as connection:
            claimed_at = sa.select(targets.c.claimed_at).where(targets.c.id == claim.key)
            self.begun[target.id].append(connection.execute(claimed_at).scalar_one())
        if target.id not in self.cut_off:
            self.snapshot.leases.release(claim)
        return PollReport(target, open_jobs=1)


@pytest.fixture
def replicas(empty: Callable[[], str]) -> Iterator[Callable[..., list[Replica]]]:
    """Makes replicas over one store that knows the targets."""
    url = empty()
    with closing(Database(url)) as database:
        database.prepare()
        database.migrate()
    made: list[Replica] = []

    def make(count: int, *, shared: bool = True) -> list[Replica]:
        made.extend(Replica(f"replica-{len(made) + number}", url, shared=shared) for number in range(count))
        return made[-count:]

    yield make
    for replica in made:
        replica.database.close()


def run(replicas: list[Replica], until: Callable[[], object] | float) -> None:
    """Let them work side by side until something is true, or for so many seconds."""

    async def main() -> None:
        following = [asyncio.create_task(replica.follower.run()) for replica in replicas]
        if isinstance(until, float):
            await asyncio.sleep(until)
        else:
            async with asyncio.timeout(30):
                while not until():  # noqa: ASYNC110 - until() may be anything
                    await asyncio.sleep(0.02)
        await asyncio.gather(*(replica.scheduler.stop(5) for replica in replicas))
        for task in following:
            task.cancel()
        await asyncio.wait(following)

    asyncio.run(main())


def times(replicas: list[Replica]) -> dict[str, list[float]]:
    """When each target was polled by any of them, by the database's clock."""
    return {target.id: sorted(at for each in replicas for at in each.begun[target.id]) for target in TARGETS}


@pytest.mark.slow
def test_every_target_is_polled_once_in_an_interval(replicas: Callable[..., list[Replica]]) -> None:
    """Three replicas share the work, and none is polled twice in an interval or left out."""
    made = replicas(3)
    run(made, lambda: all(len(begun) >= 4 for begun in times(made).values()))
    for begun in times(made).values():
        assert min(later - earlier for earlier, later in pairwise(begun)) > INTERVAL * 0.85
    assert all(replica.begun for replica in made)


def test_a_start_does_not_poll_what_was_just_polled(replicas: Callable[..., list[Replica]]) -> None:
    """A replica that starts beside others plans by what they have done."""
    (first,) = replicas(1)
    for target in TARGETS:
        first.poll(target)
    (second,) = replicas(1)
    second.poll_hourly()
    run([second], INTERVAL * 0.5)
    assert second.begun == {}
    assert second.refused == 0


@pytest.mark.parametrize("shared", [True, False])
def test_what_was_cut_off_is_polled_when_its_lease_is_over(
    replicas: Callable[..., list[Replica]], shared: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not only after another interval; a replica that is alone, after a restart, does the same."""
    monkeypatch.setattr("poller.polling.replicas._SHARED_SECONDS", 0.1)
    monkeypatch.setattr("poller.polling.replicas._ALONE_SECONDS", 0.1)
    (dead,) = replicas(1)
    lost = TARGETS[0]
    dead.cut_off.add(lost.id)
    dead.poll(lost)
    (second,) = replicas(1, shared=shared)
    second.poll_hourly()
    run([second], lambda: second.begun[lost.id])
    (begun,) = second.begun[lost.id]
    assert begun - dead.begun[lost.id][0] > LEASE * 0.9


def test_what_a_poll_cost_reaches_the_other_replicas(replicas: Callable[..., list[Replica]]) -> None:
    """With the sighting of the poll: they share a budget of calls."""
    first, second = replicas(2)
    claim = first.snapshot.leases.claim(TARGETS[0])
    assert claim is not None
    first.snapshot.leases.finish(claim, high_water=None, full=False, calls=30)
    seen: dict[str, int | None] = {}

    def note(target_id: str, age: float, calls: int | None = None) -> None:
        assert age < 60
        seen[target_id] = calls

    second.scheduler.seen = note  # type: ignore[method-assign]
    asyncio.run(second.follower._look())
    assert seen == {TARGETS[0].id: 30}


def test_a_store_that_fails_is_followed_again_later(
    replicas: Callable[..., list[Replica]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was missed meanwhile is seen at the next look that works."""
    monkeypatch.setattr("poller.polling.replicas._SHARED_SECONDS", 0.1)
    first, second = replicas(2)
    real, looks = second.snapshot.leases.sightings, []

    def fail_thrice(within: float | None) -> object:
        looks.append(within)
        if len(looks) in {2, 3, 4}:
            raise StoreError("the server is gone")
        return real(within)

    monkeypatch.setattr(second.snapshot.leases, "sightings", fail_thrice)
    second.poll_hourly()
    for target in TARGETS:
        first.poll(target)
    run([second], lambda: len(looks) >= 5)
    assert looks[0] is None
    assert looks[4] is not None
    assert looks[1] is not None
    assert looks[4] > looks[1] + 0.25
    assert second.begun == {}
