"""Users of version 0.1.0 upgrade: its store, its ids and its replicas go on."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from poller.events import event_id
from tests.chaos.roles import Roles, key_of, role_of
from tests.harness.daemon import Daemon, environment, eventually
from tests.harness.receiver import SECRET, Receiver

if TYPE_CHECKING:
    from pathlib import Path

    from poller.simulator import Simulator, SimulatorServer
    from tests.replicas.conftest import Scene

pytestmark = pytest.mark.slow

OPEN = [("InProgress", 0.0)]
CHANGED = "bedrock-poller.job.status_changed"
ACCOUNT = "111111111111"


def settings(receiver: Receiver, store: str, *targets: dict[str, Any]) -> dict[str, str]:
    """A configuration that both versions read."""
    named = [{"regions": ["us-east-1"], "kinds": ["async_invoke"], **target} for target in targets]
    sink = {"type": "webhook", "url": receiver.url, "secrets": [SECRET], "retry": {"initial": "100ms"}}
    return {
        "STORE__URL": store,
        "TARGETS": json.dumps(named),
        "SINKS": json.dumps({"hook": sink}),
        "LOG__FORMAT": "json",
    }


def test_a_target_renamed_with_the_upgrade_loses_nothing(
    bedrock: SimulatorServer, simulator: Simulator, tmp_path: Path, store: str, old_code: Path
) -> None:
    """A store of 0.1.0 and another name for its target: all of the gap is announced, with the old ids.

    One job was open, one ended in the gap, one began and ended in it (fault 48). What 0.1.0 still owed is
    delivered as well.
    """
    known = simulator.submit_async(script=OPEN)
    with Receiver() as receiver:
        before = environment(bedrock.url, tmp_path, **settings(receiver, store, {"name": "before"}))
        with Daemon(tmp_path, before, code=old_code) as old:
            old.polled()
            owed = simulator.submit_async(script=OPEN)
            eventually(lambda: receiver.statuses() == {owed: ["InProgress"]})
            receiver.answer = lambda _: 503
            simulator.force(owed, "Completed")
            eventually(lambda: len(receiver.ids) > 1)
            assert "0.1.0" in old.said("daemon.starting")[0]["version"]
            old.kill()
        simulator.force(known, "Failed", message="No such bucket.")
        quick = simulator.submit_async(script=OPEN)
        simulator.force(quick, "Completed")
        receiver.answer = lambda _: 204
        after = environment(bedrock.url, tmp_path, **settings(receiver, store, {"name": "after"}))
        with Daemon(tmp_path, after) as new:
            assert [line["before"] for line in new.said("store.migrated")] == ["0003"]
            wanted = {owed: ["InProgress", "Completed"], known: ["Failed"], quick: ["Completed"]}
            eventually(lambda: receiver.statuses() == wanted, f"{wanted}: {receiver.statuses()}")
            new.polled()
            assert new.terminate() == 0
    assert receiver.statuses() == wanted
    assert {event["id"] for event in receiver.distinct()} == {
        event_id(arn, CHANGED, status, 0) for arn, statuses in wanted.items() for status in statuses
    }
    labels = {(event["data"]["job_arn"], event["data"]["target"]) for event in receiver.distinct()}
    assert {(known, "after"), (quick, "after")} <= labels


def test_a_target_moved_into_an_account_of_its_own_keeps_its_jobs(
    bedrock: SimulatorServer, simulator: Simulator, tmp_path: Path, store: str, old_code: Path
) -> None:
    """The same account by a role under another name: nothing but the label changes (fault 48)."""
    simulator._accounts[key_of(ACCOUNT)] = ACCOUNT
    arn = simulator.submit_async(script=OPEN, account=ACCOUNT)
    with Receiver() as receiver, Roles() as roles:
        one = {"name": "one", "role_arn": role_of(ACCOUNT)}
        two = {"name": "two", "role_arn": role_of(ACCOUNT).replace("poller", "another")}
        sts = {"AWS_ENDPOINT_URL_STS": roles.url}
        with Daemon(
            tmp_path,
            environment(bedrock.url, tmp_path, **settings(receiver, store, one)) | sts,
            code=old_code,
        ) as old:
            old.polled()
            assert old.terminate() == 0
        simulator.force(arn, "Completed")
        with Daemon(
            tmp_path, environment(bedrock.url, tmp_path, **settings(receiver, store, two)) | sts
        ) as new:
            eventually(lambda: receiver.statuses() == {arn: ["Completed"]})
            new.polled()
            assert new.terminate() == 0
    (event,) = receiver.distinct()
    assert (event["data"]["target"], event["data"]["targets"]) == ("two", ["two"])
    assert event["data"]["account_id"] == ACCOUNT


@pytest.mark.long
def test_a_replica_of_0_1_0_goes_on_beside_one_of_this_version(
    scene: Scene, simulator: Simulator, old_code: Path
) -> None:
    """Both take the same lease on the same row: each status is sent once, whoever sees it (fault 41)."""
    old, _ = scene.start(code=old_code)
    scene.baselined()
    arns = [simulator.submit_batch(script=[("Submitted", 0)]) for _ in range(6)]
    eventually(lambda: len(scene.told()) == 6)
    new, _ = scene.start()
    new.said("poll.finished")
    for status in ("Validating", "InProgress", "Completed"):
        for arn in arns:
            simulator.force(arn, status)
        wanted = len(arns) * (2 + ["Validating", "InProgress", "Completed"].index(status))
        eventually(lambda wanted=wanted: len(scene.told()) == wanted, f"{wanted}: {len(scene.told())}")  # type: ignore[misc]
    old.said("poll.finished", len(old.log("poll.finished")) + 2)
    new.said("poll.finished", len(new.log("poll.finished")) + 2)
    assert old.log("poll.failed") == new.log("poll.failed") == []
    assert scene.ask("SELECT count(*) FROM targets") == [(1,)]
    assert old.terminate() == new.terminate() == 0
    late, _ = scene.start(code=old_code)
    assert late.process.wait(20) == 1
    assert "newer version" in late.errors
