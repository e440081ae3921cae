"""Which row a target has: that of its account, region and kind, whatever it is called."""

from __future__ import annotations

import threading
from contextlib import closing
from typing import TYPE_CHECKING

from poller.model import Target
from poller.store import Database, OrganizationMemory, Snapshot
from poller.store.database import SCHEMA
from poller.store.migrations import upgrade
from tests.store.samples import START, job, silent

if TYPE_CHECKING:
    from collections.abc import Sequence

    import sqlalchemy as sa

    from tests.store.conftest import Store

REGION, KIND = "us-east-1", "model_invocation_job"
MINE, THEIRS = "123456789012", "222222222222"


def target(name: str, account: str | None = MINE, *aliases: str) -> Target:
    """A target of one place."""
    return Target(name, REGION, KIND, account, aliases)


def rows(database: Database) -> list[tuple[str, str | None, bool]]:
    """Name, account and whether it has a baseline, of every row."""
    with database.read() as connection:
        found = connection.exec_driver_sql(
            "SELECT name, account_id, baselined FROM targets ORDER BY name, coalesce(account_id, '')"
        )
        return [(name, account, bool(baselined)) for name, account, baselined in found]


def baseline(snapshot: Snapshot, one: Target, *numbers: int) -> None:
    """Record some open jobs of a target, and its first complete scan."""
    claim = snapshot.leases.claim(one)
    assert claim is not None
    snapshot.record(claim, [silent(job(number)) for number in numbers])
    snapshot.leases.finish(claim, high_water=START, full=True)


def test_a_renamed_target_keeps_its_row(database: Database) -> None:
    """Its baseline, its high water and its open jobs are the account's; only the name changes (fault 48)."""
    snapshot = Snapshot(database, owner="a", lease=15)
    snapshot.rows.register([target("before")])
    baseline(snapshot, target("before"), 1)
    after = Snapshot(database, owner="b", lease=15)
    after.rows.register([target("after")])
    claim = after.leases.claim(target("after"))
    assert claim is not None
    assert (claim.baselined, claim.high_water) == (True, START)
    assert [one.arn for one in after.open_jobs(target("after"))] == [job(1).arn]
    assert rows(database) == [("after", MINE, True)]


def test_another_account_under_the_same_name_is_another_target(database: Database) -> None:
    """A name that leads elsewhere today has no baseline there, and the jobs of before are not its own."""
    snapshot = Snapshot(database, owner="a", lease=15)
    snapshot.rows.register([target("prod")])
    baseline(snapshot, target("prod"), 1)
    snapshot.rows.register([target("prod", THEIRS)])
    claim = snapshot.leases.claim(target("prod", THEIRS))
    assert claim is not None
    assert not claim.baselined
    assert snapshot.open_jobs(target("prod", THEIRS)) == []
    assert rows(database) == [("prod", MINE, True), ("prod", THEIRS, False)]


def test_a_target_takes_over_what_its_name_recorded_while_its_account_was_unknown(
    database: Database,
) -> None:
    """The baseline of an account without jobs stands once the account is known."""
    snapshot = Snapshot(database, owner="a", lease=15)
    snapshot.rows.register([target("prod", None)])
    baseline(snapshot, target("prod", None))
    snapshot.rows.register([target("prod")])
    assert rows(database) == [("prod", MINE, True)]


def test_a_row_of_an_unknown_account_goes_once_the_account_has_one(database: Database) -> None:
    """Its jobs go to the account's row, and no job of another account is taken (fault 49)."""
    snapshot = Snapshot(database, owner="a", lease=15)
    snapshot.rows.register([target("known"), target("unknown", None)])
    baseline(snapshot, target("unknown", None), 1)
    snapshot.rows.register([target("known", MINE, "unknown")])
    assert rows(database) == [("known", MINE, False)]
    assert [one.arn for one in snapshot.open_jobs(target("known", MINE, "unknown"))] == [job(1).arn]
    snapshot.rows.register([target("other", None)])
    baseline(snapshot, target("other", None), 2)
    snapshot.rows.register([target("other", THEIRS)])
    assert rows(database) == [("known", MINE, False), ("other", None, True), ("other", THEIRS, False)]


def test_replicas_that_start_at_once_make_one_row(url: str) -> None:
    """Each registers the same target under a name of its own (fault 39)."""
    with closing(Database(url)) as database:
        database.prepare()
        database.migrate()
    made: list[Sequence[tuple[str, str | None, bool]]] = []

    def start(number: int) -> None:
        with closing(Database(url)) as own:
            Snapshot(own, owner=f"{number}", lease=15).rows.register([target(f"name-{number}")])
            made.append(rows(own))

    threads = [threading.Thread(target=start, args=[number]) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [len(found) for found in made] == [1] * 4


def test_a_target_that_was_never_registered_has_no_row(store: Store) -> None:
    """It cannot be claimed, and looking at it says that nothing is known."""
    assert store.snapshot.leases.claim(target("nobody", THEIRS)) is None
    assert not store.snapshot.leases.peek(target("nobody", THEIRS)).baselined


def test_the_account_of_a_name_is_remembered_unless_it_led_to_several(database: Database) -> None:
    """What a start without STS goes by."""
    snapshot = Snapshot(database, owner="a", lease=15)
    snapshot.rows.register(
        [target("one"), Target("two", "eu-west-1", KIND, MINE), Target("two", REGION, KIND, THEIRS)]
    )
    assert snapshot.rows.accounts_by_name() == {"one": MINE}
    assert snapshot.rows.identities() == {
        (MINE, REGION, KIND),
        (MINE, "eu-west-1", KIND),
        (THEIRS, REGION, KIND),
    }


def test_what_an_organization_said_last_is_remembered(database: Database) -> None:
    """By its name, with the filters that its accounts were found by; a later answer replaces it."""
    known = Snapshot(database, owner="a", lease=15).rows
    assert known.organization("org") is None
    for accounts in ({MINE: "aws"}, {MINE: "aws", THEIRS: "aws-us-gov"}):
        known.remember_organization("org", OrganizationMemory("{}", accounts))
        assert known.organization("org") == OrganizationMemory("{}", accounts)


OLD = """
INSERT INTO targets (id, name, region, kind, baselined, high_water, full_scan_at, claimed_at, epoch) VALUES
    ('before/r/k', 'before', 'r', 'k', {true}, 1000, 10.0, 50.0, 3),
    ('twin/r/k', 'twin', 'r', 'k', {true}, 3000, 20.0, 90.0, 7),
    ('moved/r/k', 'moved', 'r', 'k', {true}, 2000, 30.0, 90.0, 1),
    ('empty/r/k', 'empty', 'r', 'k', {true}, NULL, 40.0, 90.0, 1);
INSERT INTO jobs (arn, target_id, kind, account_id, region, status, terminal, entries, submitted_at) VALUES
    ('a1', 'before/r/k', 'k', '111111111111', 'r', 'InProgress', {false}, '[]', 1),
    ('a2', 'twin/r/k', 'k', '111111111111', 'r', 'Completed', {true}, '[]', 2),
    ('b1', 'moved/r/k', 'k', '222222222222', 'r', 'InProgress', {false}, '[]', 1),
    ('c1', 'moved/r/k', 'k', '333333333333', 'r', 'InProgress', {false}, '[]', 9);
"""


def test_the_targets_of_an_old_store_become_those_of_their_accounts(url: str) -> None:
    """Two names of one account are merged; a name that led to two accounts is split (faults 48 and 49)."""
    with closing(Database(url)) as database:
        database.prepare()
        database.write(lambda connection: upgrade(connection, "0003"))
        words = {"true": "1", "false": "0"} if database.path else {"true": "true", "false": "false"}

        def fill(connection: sa.Connection) -> None:
            for statement in OLD.format(**words).strip().removesuffix(";").split(";"):
                connection.exec_driver_sql(statement)

        database.write(fill)
        assert database.migrate() == ("0003", SCHEMA)
        columns = "id, name, account_id, baselined, high_water, full_scan_at, epoch"
        with database.read() as connection:
            found = connection.exec_driver_sql(f"SELECT {columns} FROM targets ORDER BY id").all()  # noqa: S608
            jobs = connection.exec_driver_sql("SELECT arn, target_id FROM jobs ORDER BY arn").all()
    assert [tuple(row) for row in found] == [
        ("account/222222222222/r/k", "moved", "222222222222", True, 2000, 30.0, 0),
        ("empty/r/k", "empty", None, True, None, 40.0, 1),
        ("moved/r/k", "moved", "333333333333", True, 2000, 30.0, 1),
        ("twin/r/k", "twin", "111111111111", True, 1000, 10.0, 7),
    ]
    assert [tuple(row) for row in jobs] == [
        ("a1", "twin/r/k"),
        ("a2", "twin/r/k"),
        ("b1", "account/222222222222/r/k"),
        ("c1", "moved/r/k"),
    ]
