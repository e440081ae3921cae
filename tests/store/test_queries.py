"""What the store tells whoever looks into it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from poller.errors import PollerError
from poller.store.queries import Browser, Cut, Selection
from tests.store.samples import OTHER, TARGET, announced, arn, job, silent

if TYPE_CHECKING:
    from tests.store.conftest import Store


def test_jobs_are_counted_and_told_with_their_status(store: Store) -> None:
    """By account, region, kind and status; and one by one."""
    store.record(announced(job(1)), silent(job(2)), silent(job(3, "Completed")))
    browser = Browser(store.database)
    place = {"account_id": "123456789012", "region": "us-east-1", "kind": "model_invocation_job"}
    assert browser.job_counts() == [
        {**place, "status": "Completed", "jobs": 1},
        {**place, "status": "InProgress", "jobs": 2},
    ]
    assert dict(browser.statuses()) == {arn(1): "InProgress", arn(2): "InProgress", arn(3): "Completed"}


def test_the_ids_of_events_are_told(store: Store) -> None:
    """Of every event that a sink is still owed, and of no other."""
    first, second = announced(job(1), "hook", "log"), announced(job(2), "hook")
    store.record(first, second, silent(job(3)))
    owed = {item.event.id for item in (first, second) if item.event is not None}
    assert Browser(store.database).event_ids() == owed


def test_the_names_of_targets_are_told_once(store: Store) -> None:
    """However many regions and kinds a name stands for."""
    assert TARGET.name == OTHER.name
    assert store.snapshot.rows.names() == [TARGET.name]


def test_rows_end_before_they_become_too_large(store: Store) -> None:
    """The first one is given however large it is, and a list that ends early says so (fault 64)."""
    store.record(*(announced(job(number), "hook") for number in range(3)))
    browser = Browser(store.database)
    for read in (browser.jobs, browser.events, browser.deliveries):
        whole = read(Selection(most_bytes=10**9))
        assert (len(whole), isinstance(whole, Cut)) == (3, False)
        assert (
            read(Selection(most_bytes=10**9, equal={"job_arn" if read != browser.jobs else "arn": "no"}))
            == []
        )
    first = browser.events(Selection(most_bytes=1))
    assert (len(first), isinstance(first, Cut)) == (1, True)


def test_the_row_that_would_exceed_the_limit_is_left_out(store: Store) -> None:
    """Characters of several bytes count as many (fault 64)."""
    store.record(*(announced(job(number, jobName="\u20ac" * 1000), "hook") for number in range(3)))
    browser = Browser(store.database)
    assert len(browser.jobs(Selection(most_bytes=2 * 3000 - 1))) == 1
    assert len(browser.jobs(Selection(most_bytes=10_000))) == 3


def test_a_job_is_found_by_its_id_or_by_an_end_of_its_arn(store: Store) -> None:
    """What names no job, or several, is an error that says which there are (fault 86)."""
    store.record(*(silent(job(number)) for number in (*range(12), *range(20, 120, 10))))
    browser = Browser(store.database)
    assert browser.job_arn(arn(3)) == arn(3)
    assert browser.job_arn(arn(3).rpartition("/")[2]) == arn(3)
    assert browser.job_arn(arn(3)[-14:]) == arn(3)
    for nothing in ("", "nothing", "%", "_"):
        with pytest.raises(PollerError, match="no job of the store has an ARN that ends with"):
            browser.job_arn(nothing)
    with pytest.raises(PollerError, match="several jobs") as caught:
        browser.job_arn("1")
    assert arn(1) in str(caught.value)
    assert arn(11) in str(caught.value)
    with pytest.raises(PollerError, match=r"and more$"):
        browser.job_arn("0")
