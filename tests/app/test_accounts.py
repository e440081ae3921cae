"""Whose jobs a target shows: learned once, verified, and the same whatever the target is called."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import pytest
from structlog.testing import capture_logs

from poller.app import run_once
from poller.app.targets import discover_accounts, load_accounts
from poller.aws import Account
from poller.errors import AwsError, AwsReason
from poller.store import OrganizationMemory
from tests.app.test_targets import Sdk, settings_of
from tests.chaos.roles import Roles, key_of, role_of
from tests.e2e.test_daemon import sample
from tests.harness.daemon import Daemon, environment, eventually

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from poller.app import Components
    from poller.simulator import Simulator, SimulatorServer

OPEN = [("InProgress", 0.0)]
ACCOUNT, OTHER = "111111111111", "222222222222"
UNREACHABLE = "http://127.0.0.1:9"


def place(name: str, **more: Any) -> dict[str, Any]:
    """A target of one kind in one region."""
    return {"name": name, "regions": ["us-east-1"], "kinds": ["async_invoke"], **more}


@pytest.mark.slow
def test_two_roles_of_one_account_are_polled_once_and_routed_by_either_name(
    bedrock: SimulatorServer, simulator: Simulator, tmp_path: Path
) -> None:
    """One poll, one owner: no baseline silences the other, and events carry both names (fault 49)."""
    simulator._accounts[key_of(ACCOUNT)] = ACCOUNT
    roles = [place("one", role_arn=role_of(ACCOUNT)), place("two", role_arn=role_of(ACCOUNT) + "-2")]
    routes = [
        {"match": {"target": "one"}, "sinks": ["first"]},
        {"match": {"target": "two"}, "sinks": ["second"]},
    ]
    sinks = {name: {"type": "log"} for name in ("first", "second")}
    environ = environment(
        bedrock.url,
        tmp_path,
        TARGETS=json.dumps(roles),
        ROUTES=json.dumps(routes),
        SINKS=json.dumps(sinks),
        POLL__INTERVAL="1s",
        POLL__IDLE_INTERVAL="1s",
    )
    with Roles() as sts, Daemon(tmp_path, environ | {"AWS_ENDPOINT_URL_STS": sts.url}) as daemon:
        (line,) = daemon.said("target.shared")
        assert (line["names"], line["account_id"]) == (["one", "two"], ACCOUNT)
        daemon.said("poll.finished")
        arns = [simulator.submit_async(script=OPEN, account=ACCOUNT) for _ in range(12)]
        eventually(lambda: len(daemon.events()) == 24)
        listings, polls = simulator.requests.count("ListAsyncInvokes"), len(daemon.log("poll.finished"))
        metrics = daemon.get("/metrics")
        assert daemon.terminate() == 0
    assert {line["target"] for line in daemon.log("poll.finished")} == {"one/us-east-1/async_invoke"}
    assert polls <= listings <= polls + 3
    by_job: dict[str, list[Any]] = {}
    for event in daemon.events():
        by_job.setdefault(event["data"]["job_arn"], []).append(event["data"])
    assert by_job.keys() == set(arns)
    assert {len(seen) for seen in by_job.values()} == {2}
    assert all(data["targets"] == ["one", "two"] for seen in by_job.values() for data in seen)
    assert {data["target"] for seen in by_job.values() for data in seen} == {"one"}
    assert sample(metrics, "target_collisions") == 1
    assert sample(metrics, "targets") == 1


@pytest.mark.slow
def test_an_account_that_sts_names_is_merged_with_that_of_a_role(
    bedrock: SimulatorServer, simulator: Simulator, tmp_path: Path
) -> None:
    """A collision that only AWS can tell is found at the start (fault 49)."""
    targets = [place("own"), place("by-role", role_arn=role_of("123456789012"))]
    environ = environment(bedrock.url, tmp_path, TARGETS=json.dumps(targets))
    with Daemon(tmp_path, environ) as daemon:
        assert daemon.said("target.shared")[0]["names"] == ["own", "by-role"]
        assert daemon.said("daemon.starting")[0]["targets"] == ["own/us-east-1/async_invoke"]
        assert daemon.terminate() == 0


@pytest.mark.slow
def test_a_role_that_is_refused_leaves_the_work_to_the_other_one(
    bedrock: SimulatorServer, simulator: Simulator, tmp_path: Path
) -> None:
    """Two ways to one account are two chances: the next poll goes by the other one (fault 49)."""
    simulator._accounts[key_of(ACCOUNT)] = ACCOUNT
    simulator._accounts["AKIDE2E"] = ACCOUNT
    targets = [place("own"), place("refused", role_arn=role_of(ACCOUNT))]
    # The STS of the simulator grants no role, so that only the access without one works.
    environ = environment(bedrock.url, tmp_path, TARGETS=json.dumps(targets[::-1]), AWS__MAX_ATTEMPTS="1")
    with Daemon(tmp_path, environ) as daemon:
        daemon.said("poll.finished")
        arn = simulator.submit_async(script=OPEN, account=ACCOUNT)
        eventually(daemon.events)
        assert daemon.log("target.access_failed")[0]["role_arn"] == role_of(ACCOUNT)
        assert daemon.terminate() == 0
    assert [(event["data"]["job_arn"], event["data"]["target"]) for event in daemon.events()] == [
        (arn, "refused")
    ]


@pytest.mark.slow
@pytest.mark.parametrize("token", ["bedrock-api-key-of-another-account", ""])
def test_a_bearer_token_of_the_environment_overrides_no_role(
    bedrock: SimulatorServer, simulator: Simulator, tmp_path: Path, token: str
) -> None:
    """Each target lists by its own role's credentials, also beside an empty token (fault 50)."""
    accounts = (ACCOUNT, OTHER)
    simulator._accounts.update({key_of(account): account for account in accounts})
    targets = [place(f"in-{account}", role_arn=role_of(account)) for account in accounts]
    environ = environment(bedrock.url, tmp_path, TARGETS=json.dumps(targets))
    with Roles() as sts:
        environ |= {"AWS_ENDPOINT_URL_STS": sts.url, "AWS_BEARER_TOKEN_BEDROCK": token}
        with Daemon(tmp_path, environ) as daemon:
            daemon.said("poll.finished", 2)
            arns = {account: simulator.submit_async(script=OPEN, account=account) for account in accounts}
            eventually(lambda: len(daemon.events()) == 2)
            assert daemon.terminate() == 0
    found = {event["data"]["job_arn"]: event["data"] for event in daemon.events()}
    for account, arn in arns.items():
        assert (found[arn]["target"], found[arn]["account_id"]) == (f"in-{account}", account)
    assert {request.account for request in simulator.requests} == set(accounts)


@pytest.mark.slow
def test_an_empty_bearer_token_is_none(
    bedrock: SimulatorServer, simulator: Simulator, tmp_path: Path
) -> None:
    """Without a role as well, requests are signed by the credentials that the SDK finds (fault 50)."""
    environ = environment(bedrock.url, tmp_path) | {"AWS_BEARER_TOKEN_BEDROCK": ""}
    with Daemon(tmp_path, environ) as daemon:
        daemon.said("poll.finished", 2)
        assert daemon.terminate() == 0
    assert {request.account for request in simulator.requests} == {"123456789012"}


def test_the_account_is_learned_from_the_jobs_where_sts_does_not_answer(
    components: Callable[..., Components], simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By one listing before anything is recorded; a warning says that STS could not be asked (fault 50)."""
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", UNREACHABLE)
    simulator._accounts["AKIDE2E"] = OTHER
    simulator.submit_async(script=OPEN, account=OTHER)
    built = components()
    with capture_logs() as said:
        built.open_store()
    assert {target.account_id for target in built.targets} == {OTHER}
    (line,) = [line for line in said if line["event"] == "account.sts_failed"]
    assert line["credentials"] == "default"


def test_the_budget_of_an_account_is_shown_under_its_number_alone(
    components: Callable[..., Components],
) -> None:
    """Not also under the target's name, which stood for the account until it was known."""
    built = components()
    built.open_store()
    (family,) = (each for each in built.metrics.registry.collect() if each.name.endswith("budget_used_ratio"))
    assert {sample.labels["account_id"] for sample in family.samples} == {"123456789012"}


def test_a_target_of_an_unknown_account_records_nothing_before_it_is_known(
    components: Callable[..., Components], simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An empty listing is its baseline; the first job tells the account, and is announced by then."""
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", UNREACHABLE)
    built = components(TARGETS=json.dumps([place("a")]))
    built.open_store()
    (target,) = built.targets
    assert target.account_id is None
    poller = built.poller()
    assert poller.poll(target).account_id is None
    arn = simulator.submit_async(script=OPEN)
    report = poller.poll(target)
    assert (report.account_id, report.events, report.changes) == ("123456789012", 0, 0)
    assert built.learn(target, "123456789012")
    built.announce(discover=False)
    (known,) = built.targets
    assert known.account_id == "123456789012"
    assert built.poller().poll(known).events == 1
    assert [one.arn for one in built.snapshot.open_jobs(known)] == [arn]


@pytest.mark.slow
def test_a_daemon_learns_an_account_while_it_runs(
    bedrock: SimulatorServer, simulator: Simulator, tmp_path: Path
) -> None:
    """Without STS and with nothing listed, the first job tells the account, and its story is told."""
    environ = environment(bedrock.url, tmp_path, TARGETS=json.dumps([place("a")]))
    with Daemon(tmp_path, environ | {"AWS_ENDPOINT_URL_STS": UNREACHABLE}) as daemon:
        daemon.said("poll.finished", 2)
        assert daemon.said("account.unknown")[0]["targets"] == ["a"]
        arn = simulator.submit_async(script=OPEN)
        eventually(daemon.events)
        simulator.force(arn, "Completed")
        eventually(lambda: len(daemon.events()) == 2)
        assert daemon.said("account.learned")[0]["account_id"] == "123456789012"
        assert daemon.terminate() == 0
    assert [event["data"]["status"] for event in daemon.events()] == ["InProgress", "Completed"]


def test_once_learns_an_account_and_polls_again(
    components: Callable[..., Components], simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first listing fails, so that only the poll itself can tell whose jobs these are."""
    import asyncio

    from poller.simulator import faults

    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", UNREACHABLE)
    simulator.submit_async(script=OPEN)
    simulator.faults.add(faults.AccessDenied(times=1))
    built = components(TARGETS=json.dumps([place("a")]), AWS__MAX_ATTEMPTS="1")
    found = asyncio.run(run_once(built))
    assert (found.jobs, found.failed) == (1, ())


def test_jobs_of_another_account_are_said(
    components: Callable[..., Components], simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A role that leads elsewhere than its ARN says has a metric and one line of the log (fault 50)."""
    with Roles() as sts:
        monkeypatch.setenv("AWS_ENDPOINT_URL_STS", sts.url)
        simulator.submit_async(script=OPEN)
        built = components(TARGETS=json.dumps([place("a", role_arn=role_of(ACCOUNT))]))
        built.open_store()
        (target,) = built.targets
        with capture_logs() as said:
            poller = built.poller()
            poller.poll(target)
            poller.poll(target)
    lines = [line for line in said if line["event"] == "target.account_mismatch"]
    assert [(line["account_id"], line["listed_account_id"]) for line in lines] == [(ACCOUNT, "123456789012")]
    labels = {"target": "a", "region": "us-east-1", "kind": "async_invoke"}
    found = built.metrics.registry.get_sample_value("bedrock_poller_account_mismatches_total", labels)
    assert found == 2


def test_excluded_accounts_and_those_of_other_filters_are_not_remembered(tmp_path: Path) -> None:
    """Where an organization cannot be asked, only what its present filters had found counts (fault 73)."""
    organization: dict[str, Any] = {"role_name": "r", "tags": {"team": "a"}, "exclude": [OTHER]}
    target = {"name": "org", "organization": organization, "regions": ["eu-west-1"]}
    sdk: Any = Sdk()
    memory = OrganizationMemory(
        json.dumps({"units": [], "tags": {"team": "a"}}, sort_keys=True), {ACCOUNT: "aws", OTHER: "aws"}
    )
    names = [f"org-{ACCOUNT}", f"org-{OTHER}"]

    def found(**changed: Any) -> tuple[Account, ...]:
        settings = settings_of(tmp_path, {**target, "organization": organization | changed})
        return load_accounts(settings, sdk, names, lambda _: memory)["org"]

    assert found() == (Account(ACCOUNT),)
    assert found(exclude=[ACCOUNT, OTHER]) == ()
    assert found(tags={"team": "b"}) == ()
    assert found(units=["ou-abcd-11111111"]) == ()
    settings = settings_of(tmp_path, target)
    assert load_accounts(settings, sdk, names) == {"org": (Account(ACCOUNT, "aws-cn"),)}


def test_what_an_organization_says_is_kept_for_the_next_start(
    components: Callable[..., Components], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A look that succeeds is remembered; a look that fails keeps what was known."""
    target = place("org", organization={"role_name": "r"})
    built = components(TARGETS=json.dumps([target]))
    built.database.prepare()
    built.database.migrate()
    answers: list[Any] = [(Account(ACCOUNT), Account(OTHER)), AwsError("no", reason=AwsReason.NETWORK)]

    def accounts_of(*_: Any, **__: Any) -> Any:
        answer = answers.pop(0)
        if isinstance(answer, AwsError):
            raise answer
        return answer

    monkeypatch.setattr("poller.app.targets.accounts_of", accounts_of)
    first = discover_accounts(
        built.settings, built.sessions, built.metrics, {}, built.snapshot.rows.remember_organization
    )
    second = discover_accounts(built.settings, built.sessions, built.metrics, first)
    assert first == second == {"org": (Account(ACCOUNT), Account(OTHER))}
    memory = built.snapshot.rows.organization("org")
    assert memory is not None
    assert memory.accounts == {ACCOUNT: "aws", OTHER: "aws"}


@pytest.mark.slow
def test_removed_targets_leave_the_gauges(
    bedrock: SimulatorServer, simulator: Simulator, tmp_path: Path
) -> None:
    """Their jobs, and how long the oldest is open, are shown no more, after a restart too (fault 73)."""
    simulator.submit_async(script=OPEN)
    simulator.submit_async(script=OPEN, region="eu-west-1")
    gauge = "oldest_open_job_submitted_timestamp_seconds"

    def shown(*targets: dict[str, Any]) -> set[float]:
        environ = environment(
            bedrock.url, tmp_path, STORE__URL=f"sqlite:///{tmp_path}/p.db", TARGETS=json.dumps(list(targets))
        )
        with Daemon(tmp_path, environ) as daemon:
            daemon.said("poll.finished", len(targets))

            def regions() -> set[str]:
                page = daemon.get("/metrics")
                each = {target["regions"][0] for target in (place("a"), place("b", regions=["eu-west-1"]))}
                return {region for region in each if sample(page, gauge, region=region)}

            wanted = {target["regions"][0] for target in targets}
            eventually(lambda: regions() == wanted, f"{wanted}")
            time.sleep(0.3)
            return {len(regions())}

    assert shown(place("a"), place("b", regions=["eu-west-1"])) == {2}
    assert shown(place("a")) == {1}
