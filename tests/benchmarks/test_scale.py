"""The benchmark of replicas: that it sees what they do, and says so; never how fast."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from benchmarks.scale_aws import Aws
from benchmarks.scale_figures import Figures, histogram, quantile, verdict
from benchmarks.scale_fleet import statements
from poller.kinds import ASYNC_INVOKE, MODEL_INVOCATION_JOB

if TYPE_CHECKING:
    from poller.kinds import Kind

ROOT = Path(__file__).parents[2]
HEAD = (
    b"GET / HTTP/1.1\r\nAuthorization: AWS4-HMAC-SHA256 "
    b"Credential=ASIA1111222233330000/20260101/eu-west-1/bedrock/aws4_request"
)


WELL = Figures(
    replicas=1,
    targets=40,
    interval=60.0,
    seconds=120.0,
    polls=80,
    late_half=0.1,
    late_most=5.0,
    gaps=[60.0],
    twice=0,
    watched=True,
    unpolled=0,
    failures=0.0,
    claim=0.5,
    claims=1.2,
    connections=8,
    database=1.0,
    log=600.0,
    processor=[6.0],
    memory=[120.0],
    machine=0.5,
    others=0.1,
    statements={},
)


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.timeout(300)
def test_two_replicas_share_forty_targets(tmp_path: Path) -> None:
    """A small run ends well: all targets are polled, none twice in an interval, and both tables are there."""
    output = tmp_path / "scale.md"
    sizes = (
        "--targets",
        "40",
        "--regions",
        "2",
        "--interval",
        "2s",
        "--minutes",
        "0.1",
        "--replicas",
        "1",
        "2",
    )
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.scale", *sizes, "--statements", "--output", str(output)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    rows = [line.strip("| ").split(" | ") for line in done.stdout.splitlines() if line.startswith("| ")]
    cells = {row[0]: row[1:] for row in rows if len(row) == 3}
    assert rows[0][1:] == ["1 replica", "2 replicas"]
    assert all(float(rate) > 0 for rate in cells["polls a second"])
    assert cells["failed, or never polled"] == ["0, 0", "0, 0"]
    assert all(float(cost) > 0 for cost in cells["claim statement, mean ms"])
    assert all(float(cost) > 0 for cost in cells["PostgreSQL, CPU s a minute"])
    assert "met: 40 targets every 2 s on 2 replicas: each polled, none twice, none failed" in done.stdout
    assert "waiting for the service, 2 replicas poll" in done.stdout
    assert done.stdout.strip() in output.read_text()


def test_targets_are_told_apart_by_key_and_region() -> None:
    """The account comes from the access key, the region from its scope, the kind from the path."""
    aws = Aws((0.0, 0.0))
    aws.answer("/async-invoke?maxResults=1000", HEAD, b"")
    aws.answer("/model-invocation-jobs?maxResults=1000", HEAD, b"")
    assert list(aws.listed) == [
        "111122223333/eu-west-1/async_invoke",
        "111122223333/eu-west-1/model_invocation_job",
    ]


@pytest.mark.parametrize("kind", [ASYNC_INVOKE, MODEL_INVOCATION_JOB], ids=lambda kind: kind.name)
def test_listed_jobs_are_jobs_that_have_ended(kind: Kind) -> None:
    """Each target has two, of its own account and region; a window shows those behind its edge."""
    path = {ASYNC_INVOKE.name: "/async-invoke", MODEL_INVOCATION_JOB.name: "/model-invocation-jobs"}

    for edge, count in (("", 2), ("?submitTimeAfter=2025-11-03T09%3A01%3A00Z", 1)):
        _, _, body = Aws((0.0, 0.0)).answer(path[kind.name] + edge, HEAD, b"")
        jobs = [kind.observe(item) for item in json.loads(body)[kind.list_key]]
        assert len({job.arn for job in jobs}) == count
        assert all((job.account_id, job.region) == ("111122223333", "eu-west-1") for job in jobs)
        assert all(job.terminal and job.submitted_at and job.ended_at for job in jobs)


def test_a_quantile_lies_within_its_bucket() -> None:
    """It is estimated as Prometheus does, between the edges that hold it."""
    before = {"late_bucket|1.0": 5.0, "late_bucket|+Inf": 5.0}
    after = {"late_bucket|1.0": 95.0, "late_bucket|2.0": 100.0, "late_bucket|+Inf": 105.0, "other": 1.0}
    counts = histogram(before, after, "late")
    assert counts == {1.0: 90.0, 2.0: 100.0, math.inf: 100.0}
    assert quantile(counts, 0.5) == pytest.approx(5 / 9)
    assert quantile(counts, 0.95) == pytest.approx(1.5)
    assert quantile({1.0: 0.0, math.inf: 4.0}, 0.5) == 1.0
    assert math.isnan(quantile({1.0: 0.0, math.inf: 0.0}, 0.5))


def test_statements_are_read_from_the_log() -> None:
    """What a statement took is the sum of the parts that the server tells of, each with its own mean."""
    log = (
        "2026 LOG:  duration: 0.100 ms  parse <unnamed>: UPDATE targets SET lease_owner=$1, claimed_at=now\n"
        "2026 LOG:  duration: 0.300 ms  parse <unnamed>: UPDATE targets SET lease_owner=$1, claimed_at=now\n"
        "2026 LOG:  duration: 0.500 ms  execute <unnamed>: UPDATE targets SET epoch=$1, claimed_at=now\n"
        "2026 LOG:  duration: 0.700 ms  statement: COMMIT\n"
    )
    found = statements(log)
    assert found["claim"] == pytest.approx((1.5 / 0.05, 0.7))
    assert found["commit"] == pytest.approx((1 / 0.05, 0.7))


def test_what_no_machine_may_do_is_an_error() -> None:
    """A poll too early, a target left out and a failed poll are errors; a late poll is only told."""
    for wrong in ({"twice": 1}, {"unpolled": 1}, {"failures": 1.0}):
        run = replace(WELL, **wrong)
        assert (False, True) in [(met, strict) for _, met, strict in verdict([run], [])]
    late = verdict([replace(WELL, late_most=6.1)], [])
    assert [(met, strict) for _, met, strict in late] == [(True, True), (False, False)]
    assert all(met for _, met, _ in verdict([WELL], []))


@pytest.mark.parametrize(("polls", "met"), [(241, True), (239, False)])
def test_four_replicas_have_to_poll_three_times_as_much(polls: int, met: bool) -> None:
    """That is, where the service is what they wait for."""
    (line,) = verdict([], [WELL, replace(WELL, replicas=4, polls=polls)])
    assert line[1:] == (met, False)
