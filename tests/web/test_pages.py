"""The status page and the read-only API."""

from __future__ import annotations

import json
import sqlite3
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from poller.events import job_event
from poller.kinds import KINDS
from poller.model import Change, EventType, Target
from poller.store import Database, Observation, Outbox, Snapshot
from poller.store.queries import Browser
from poller.web import api, page
from tests.web.test_server import Site

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NAME = "<script>alert(1)</script>"
ARN = "arn:aws:bedrock:us-east-1:123456789012:model-invocation-job/abcdefghwxyz"


def record(database: Database, *items: dict[str, str]) -> None:
    """Record jobs, each with its event, which is owed to one sink."""
    target = Target("prod", "us-east-1", "model_invocation_job")
    snapshot = Snapshot(database, owner="test", lease=15)
    snapshot.rows.register([target])
    claim = snapshot.leases.claim(target)
    assert claim is not None
    observations = []
    for item in items:
        change = Change(KINDS[target.kind].observe(item), None, {item["status"]: 1}, EventType.STATUS_CHANGED)
        event = job_event(change, EventType.STATUS_CHANGED, target, datetime.now(UTC))
        observations.append(Observation(change, event, ("ops",)))
    snapshot.record(claim, observations)
    snapshot.leases.release(claim)


@pytest.fixture
def filled(tmp_path: Path) -> Iterator[Site]:
    """A site whose store has one job with a hostile name, its event and its delivery."""
    database = Database(f"sqlite:///{tmp_path}/poller.db")
    database.prepare()
    database.migrate()
    record(database, {"jobArn": ARN, "jobName": NAME, "status": "Failed"})
    outbox, browser = Outbox(database), Browser(database)
    yield Site(database, further=[page.route(browser, outbox, lambda: ("audit",)), *api.routes(browser)])
    database.close()


def test_the_page_shows_what_is_there_and_runs_nothing(filled: Site) -> None:
    """Targets, sinks and the last events; a job's name is text, and a policy forbids every script.

    Injects fault 47.
    """
    (answer,) = filled.ask("/")
    assert answer.status == 200
    assert all(word in answer.text for word in ("prod", "us-east-1", "ops", "audit", "Failed"))
    assert NAME not in answer.text
    assert "default-src 'none'" in answer.headers["content-security-policy"]


def test_the_page_reads_a_bounded_number_of_bytes(filled: Site) -> None:
    """Large events are shown until they come to 8 MiB, and statuses to a thousand rows (fault 64)."""
    many = [{"jobArn": f"{ARN[:-4]}{n:04}", "jobName": "many", "status": f"T{n}"} for n in range(1200)]
    large = [{"jobArn": f"{ARN[:-1]}{n}", "jobName": "n" * 2**20, "status": f"S{n}"} for n in range(10)]
    record(filled.database, *many, *large)
    (answer,) = filled.ask("/")
    assert answer.status == 200
    assert 0 < answer.text.count("n" * 2**20) < 8
    assert answer.text.count("<td>123456789012</td>") == 1000


@pytest.mark.parametrize("what", ["jobs", "events", "deliveries"])
def test_the_api_lists(filled: Site, what: str) -> None:
    """Each list has its rows; it can be narrowed; what it cannot be narrowed by is 400."""
    name = "arn" if what == "jobs" else "job_arn"
    paths = ("", f"?{name}={ARN}&limit=1", f"?{name}=nothing", "?mood=good", "?limit=0", "?limit=x")
    answers = filled.ask(*(f"/api/{what}{path}" for path in paths))
    assert [answer.status for answer in answers] == [200, 200, 200, 400, 400, 400]
    assert [len(json.loads(answer.text)[what]) for answer in answers[:3]] == [1, 1, 0]
    assert "error" in json.loads(answers[3].text)


def test_a_store_of_no_use_is_503(filled: Site) -> None:
    """If the store cannot be read, the page and the API say so."""
    assert filled.database.path is not None
    other = sqlite3.connect(filled.database.path)
    for table in ("jobs", "targets"):
        other.execute(f"DROP TABLE {table}")
    other.close()
    assert [answer.status for answer in filled.ask("/", "/api/jobs")] == [503, 503]
