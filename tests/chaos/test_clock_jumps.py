"""A wall clock that jumps an hour and back (fault 12): work goes on when the clock is right again."""

from __future__ import annotations

import time
from contextlib import closing
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING

import pytest

from poller.model import Event, Target
from poller.store import Database, Outbox, Settlement, Snapshot
from poller.store.outbox import Enqueue
from tests.chaos.stage import LOG, Stage, eventually
from tests.harness.clock import NOW, Clock
from tests.harness.daemon import Daemon
from tests.harness.receiver import Receiver

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

HOUR = 3600.0
LEASE = 15.0
TARGET = Target("default", "us-east-1", "async_invoke", "123456789012")


@pytest.fixture
def database(tmp_path: Path, clock: Clock) -> Iterator[Database]:
    """A store that goes by that clock."""
    with closing(Database(f"sqlite:///{tmp_path}/poller.db", now=clock.sql)) as database:
        database.prepare()
        database.migrate()
        yield database


def owe(database: Database) -> None:
    """Record an event that is due at once."""
    event = Event.with_data("id", "type", b"{}", {"job_arn": "arn"})
    owed = Enqueue(database)
    database.write(lambda connection: owed(connection, [(event, ["hook"])]))


def test_what_was_recorded_while_the_clock_was_ahead_is_due_when_it_is_right(
    database: Database, clock: Clock
) -> None:
    """An event recorded while the clock was an hour ahead does not wait for that hour to pass."""
    clock.now = NOW + timedelta(seconds=HOUR)
    owe(database)
    clock.now = NOW + timedelta(seconds=1)
    assert len(Outbox(database).claim("hook", limit=1, lease=LEASE)) == 1


def test_what_was_recorded_in_a_jump_that_its_worker_did_not_see_is_due_when_the_clock_is_right(
    database: Database, clock: Clock
) -> None:
    """A jump so short that no worker looked at the clock meanwhile holds up nothing either."""
    outbox = Outbox(database)
    assert outbox.claim("hook", limit=1, lease=LEASE) == []
    clock.now = NOW + timedelta(seconds=HOUR)
    owe(database)
    clock.now = NOW + timedelta(seconds=1)
    assert len(outbox.claim("hook", limit=1, lease=LEASE)) == 1


def test_a_delivery_claimed_while_the_clock_was_ahead_is_free_when_its_lease_is_over(
    database: Database, clock: Clock
) -> None:
    """What a process claimed before it was killed is free after one lease, not after the hour as well."""
    owe(database)
    outbox = Outbox(database)
    clock.now = NOW + timedelta(seconds=HOUR)
    assert len(outbox.claim("hook", limit=1, lease=LEASE)) == 1
    clock.now = NOW + timedelta(seconds=LEASE)
    assert outbox.claim("hook", limit=1, lease=LEASE) == []
    clock.tick(LEASE)
    assert len(outbox.claim("hook", limit=1, lease=LEASE)) == 1


def test_a_target_claimed_while_the_clock_was_ahead_is_free_when_its_lease_is_over(
    database: Database, clock: Clock
) -> None:
    """A target whose poller was killed is polled again after one lease, not after the hour as well."""
    first, second = (Snapshot(database, owner=owner, lease=LEASE) for owner in ("first", "second"))
    first.rows.register([TARGET])
    clock.now = NOW + timedelta(seconds=HOUR)
    assert first.leases.claim(TARGET) is not None
    clock.now = NOW + timedelta(seconds=2 * LEASE)
    assert second.leases.claim(TARGET) is not None


def test_a_retry_that_was_put_off_while_the_clock_was_ahead_is_tried_when_it_is_right(
    database: Database, clock: Clock
) -> None:
    """Its wait counts from a time that was wrong, so it is over; at a start, waits are believed."""
    owe(database)
    outbox = Outbox(database)
    (delivery,) = outbox.claim("hook", limit=1, lease=LEASE)
    clock.now = NOW + timedelta(seconds=HOUR)
    outbox.settle([Settlement(delivery, delivered=False, retry_in=60.0)])
    assert outbox.claim("hook", limit=1, lease=LEASE) == []
    clock.now = NOW + timedelta(seconds=1)
    (delivery,) = outbox.claim("hook", limit=1, lease=LEASE)
    outbox.settle([Settlement(delivery, delivered=False, retry_in=60.0)])
    assert Outbox(database).claim("hook", limit=1, lease=LEASE) == []


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.timeout(200)
@pytest.mark.parametrize("jump", [HOUR, -HOUR])
def test_polls_go_on_after_a_short_jump(jump: float, tmp_path: Path) -> None:
    """The clock is an hour off for a second: the next poll is not an hour away."""
    with Stage(1, tmp_path, [Receiver()], owed=lambda _: ("hook", LOG)) as stage:
        clock = stage.outputs / "clock"
        clock.write_text("0")
        environ = {**stage.environ(), "CHAOS_CLOCK": str(clock)}
        with Daemon(stage.outputs, environ, fresh=True):
            eventually(stage.baselined, "no baseline")
            # More than one, because the daemon may happen to look at the clock during a jump.
            for _ in range(3):
                clock.write_text(str(jump))
                time.sleep(1.0)  # several intervals
                clock.write_text("0")
                arn = stage.simulator.submit_batch(script=[("Submitted", 0)])
                eventually(partial(stage.arrived, arn, "Submitted"), "no poll after the jump", seconds=8)
