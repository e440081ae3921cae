"""The witness can say no: a stale write, a robbed lease and a late send are found, and nothing else is."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING, Any, LiteralString

import psycopg
import pytest
from psycopg.sql import SQL
from sqlalchemy import make_url

from poller.store import Database, Outbox, Settlement, Snapshot
from tests.chaos.oracle import Copy
from tests.chaos.replica import Stop
from tests.chaos.witness import CLAIMED, GAVE_BACK, ROBBED, STALE, Deed, Witness, late_sends, takeovers
from tests.store.samples import TARGET, announced, job

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.harness.postgres import Databases

T, D = "target t", "delivery hook id"
INFINITE = float("inf")


class Run:
    """One run of a replica, under a name of its own."""

    def __init__(self, url: str, who: str) -> None:
        named = make_url(url).update_query_dict({"application_name": who})
        self.url = named.render_as_string(hide_password=False)
        self.database = Database(self.url)
        self.snapshot = Snapshot(self.database, owner=who, lease=60)
        self.outbox = Outbox(self.database)

    def break_in(self, statement: LiteralString) -> None:
        """Run what the program never would."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(SQL(statement))


@pytest.fixture
def runs(databases: Databases) -> Iterator[tuple[Witness, Run, Run]]:
    """A witness in a real database, and two runs that it knows."""
    url = databases.fresh()
    name = make_url(url).database
    one, two = Run(url, "one"), Run(url, "two")
    with closing(one.database), closing(two.database):
        one.database.migrate()
        one.snapshot.rows.register([TARGET])
        witness = Witness(lambda sql: databases.execute(sql, name))
        witness.install()
        yield witness, one, two
    databases.drop(url)


def did(witness: Witness) -> list[tuple[str, str, str]]:
    """What was done, without the times."""
    return [(deed.who, deed.did, deed.what.partition(" ")[0]) for deed in witness.deeds()]


def test_what_the_program_does_is_claimed_and_given_back(runs: tuple[Witness, Run, Run]) -> None:
    """A poll and a delivery of one replica, then of another: nothing is stale."""
    witness, *both = runs
    for run, status in zip(both, ("InProgress", "Completed"), strict=True):
        claim = run.snapshot.leases.claim(TARGET)
        assert claim is not None
        run.snapshot.record(claim, [announced(job(1, status), "hook")])
        run.snapshot.leases.finish(claim, high_water=None, full=True)
        (held,) = run.outbox.claim("hook", limit=9, lease=60)
        assert run.outbox.settle([Settlement(held, delivered=True)]) == 1
        who = run.database.engine.url.query["application_name"]
        expected = [(who, CLAIMED, "target"), (who, GAVE_BACK, "target"), (who, CLAIMED, "delivery")]
        assert did(witness)[-3:] == expected
    assert len(did(witness)) == 6
    assert witness.unsound() == []


def test_a_write_behind_the_back_of_the_holder_is_stale(runs: tuple[Witness, Run, Run]) -> None:
    """Of a lease, a job, an event or a delivery; a claim before the lease has ended is a robbery."""
    witness, one, two = runs
    claim = one.snapshot.leases.claim(TARGET)
    assert claim is not None
    one.snapshot.record(claim, [announced(job(1, "InProgress"), "hook")])
    assert one.outbox.claim("hook", limit=9, lease=60)
    known = len(did(witness))
    two.break_in("UPDATE targets SET lease_until = NULL")
    two.break_in("UPDATE jobs SET status = 'Failed'")
    two.break_in(
        "INSERT INTO events (id, type, job_arn, created_at, body) SELECT 'x', 't', arn, 0, '' FROM jobs"
    )
    two.break_in("UPDATE deliveries SET state = 'done'")
    two.break_in("UPDATE deliveries SET head = NOT head")
    assert did(witness)[known:] == [*[("two", STALE, "target")] * 3, ("two", STALE, "delivery")]
    one.break_in("UPDATE targets SET lease_until = 9e9")
    two.break_in("UPDATE targets SET epoch = epoch + 1")
    assert did(witness)[-1] == ("two", ROBBED, "target")
    assert witness.unsound() == ["the counts of jobs"]


def test_a_takeover_lasts_until_somebody_claims_what_was_held() -> None:
    """What was given back before the stop, or after it by the stopped one, was not taken over."""
    stop = Stop("one", "kill", 10.0)

    def waits(*deeds: Deed) -> list[float]:
        return takeovers(deeds, [stop])

    held, taken = Deed(9.0, "one", CLAIMED, T), Deed(24.0, "two", CLAIMED, T)
    assert waits(held, taken) == [14.0]
    assert waits(held, replace_did(taken, ROBBED)) == [14.0]
    assert waits(held) == [INFINITE]
    assert waits(held, Deed(9.5, "one", GAVE_BACK, T), taken) == []
    assert waits(held, Deed(11.0, "one", GAVE_BACK, T), taken) == []
    assert waits(Deed(9.0, "two", CLAIMED, T), taken) == []
    assert waits(Deed(9.0, "one", CLAIMED, D), taken) == []
    assert waits(taken) == []


def replace_did(deed: Deed, what: str) -> Deed:
    """The same deed of another sort."""
    return deed._replace(did=what)


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({}, 0),
        ({"at": 25.1}, 1),
        ({"at": 8.9}, 1),
        ({"sender": "two"}, 1),
        ({"sink": "log"}, 1),
        ({"sender": ""}, 0),
    ],
)
def test_a_send_is_late_when_its_claim_has_run_out(changes: dict[str, Any], found: int) -> None:
    """It is the sender's own claim of that event for that sink that counts."""
    copy = replace(Copy("hook", "id", b"", sender="one", at=24.9), **changes)
    assert len(late_sends([Deed(9.0, "one", CLAIMED, D, 25.0)], [copy], [])) == found


def test_a_send_of_one_that_slept_is_excused() -> None:
    """Only if it slept between its claim and the send; it is a copy then."""
    deeds = [Deed(9.0, "one", CLAIMED, D, 25.0)]
    copy = Copy("hook", "id", b"", sender="one", at=40.0)
    assert late_sends(deeds, [copy], [Stop("one", "halt", 10.0, 39.0)]) == []
    assert len(late_sends(deeds, [copy], [Stop("one", "halt", 2.0, 8.0)])) == 1
    assert len(late_sends(deeds, [copy], [Stop("two", "halt", 10.0, 39.0)])) == 1
