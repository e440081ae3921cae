"""`watch` follows one job to its end."""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING

import pytest

from tests.harness.daemon import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

    from poller.simulator import Simulator
    from tests.cli.conftest import Shell

GET = "GetModelInvocationJob"


@contextlib.contextmanager
def completed_once_seen(simulator: Simulator, arn: str) -> Iterator[None]:
    """Complete a job as soon as the command has asked for it twice."""
    before = simulator.requests.count(GET)

    def complete() -> None:
        eventually(lambda: simulator.requests.count(GET) >= before + 2)
        simulator.force(arn, "Completed")

    thread = threading.Thread(target=complete)
    thread.start()
    yield
    thread.join()


def test_a_job_is_followed_to_its_end(at_work: Shell, simulator: Simulator) -> None:
    """Every status is printed once; a success is 0, with its records and where the output is."""
    arn = simulator.submit_batch(script=[("InProgress", 0)])
    with completed_once_seen(simulator, arn):
        done = at_work("watch", arn, "--every", "50ms")
    statuses = [line.split()[-1] for line in done.out.splitlines() if line[:2].isdigit()]
    assert (done.code, statuses) == (0, ["InProgress", "Completed"])
    assert "outcome: succeeded" in done.out
    assert "records: " in done.out


def test_a_job_is_followed_by_its_id(at_work: Shell, simulator: Simulator) -> None:
    """The store knows the rest of its ARN; without a store, or with another id, it is an error (fault 86)."""
    arn = simulator.submit_batch(script=[("InProgress", 0)])
    assert "there is no store" in at_work("watch", arn[-12:]).err
    at_work("once")
    with completed_once_seen(simulator, arn):
        assert "outcome: succeeded" in at_work("watch", arn[-12:], "--every", "50ms").out
    missing = at_work("watch", "abcdefghwxyz")
    assert (missing.code, missing.out) == (1, "")


@pytest.mark.parametrize("kind", ["async", "batch"])
def test_a_job_that_failed_is_1(at_work: Shell, simulator: Simulator, kind: str) -> None:
    """Another ending is 1, and says why."""
    submit = simulator.submit_async if kind == "async" else simulator.submit_batch
    arn = submit(script=[("InProgress", 0), ("Failed", 0.3)], message="because")
    done = at_work("watch", arn, "--every", "100ms")
    assert done.code == 1
    assert "message: because" in done.out


def test_the_role_of_the_target_is_used(at_work: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """A job in the account of a target's role is asked for with that role; a refusal is 1 and one line."""
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", "http://127.0.0.1:9")
    role = '[{"name": "a", "role_arn": "arn:aws:iam::123456789012:role/r"}]'
    at_work.set(TARGETS=role, AWS__MAX_ATTEMPTS="1")
    arn = "arn:aws:bedrock:us-east-1:{}:async-invoke/abcdefghwxyz"
    for account in ("123456789012", "999999999999"):
        done = at_work("watch", arn.format(account), "--log-level", "error")
        assert done.code == 1
        assert "Traceback (most recent call last)" not in done.err.splitlines()[-1]


def test_an_arn_of_no_use(at_work: Shell) -> None:
    """What is no ARN of a job is wrong use."""
    assert at_work("watch", "arn:aws:s3:::bucket").code == 2
