"""What a configuration's targets become: accounts by regions by kinds, some of them asked for."""

from __future__ import annotations

import json
import signal
from typing import TYPE_CHECKING, Any

import boto3
import pytest

from poller.app import Daemon as Embedded
from poller.app import load_settings
from poller.app.targets import load_accounts, resolve_targets
from poller.aws import Account, AccountAccess
from poller.errors import ConfigError
from tests.app.conftest import running
from tests.e2e.tokens import SecurityTokens
from tests.harness.daemon import Daemon, environment, eventually

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from poller.app import Components
    from poller.settings.schema import Settings
    from poller.simulator import Simulator, SimulatorServer

ROLE = "arn:aws:iam::111111111111:role/r"
GOV = "arn:aws-us-gov:iam::111111111111:role/r"


class Sdk:
    """What the targets ask of the SDK."""

    def region(self, access: AccountAccess) -> str | None:
        """The current region, with a role only."""
        return "ap-south-1" if access.role_arn else None

    def partition(self, access: AccountAccess) -> str:
        """The role's partition."""
        return access.role_arn.split(":")[1] if access.role_arn else "aws-cn"

    def regions(self, partition: str) -> tuple[str, ...]:
        """Two, or none."""
        return {"aws": ("us-east-1", "eu-west-1"), "aws-us-gov": ("us-gov-west-1",)}.get(partition, ())


def settings_of(folder: Path, *targets: dict[str, Any]) -> Settings:
    """A configuration with some targets."""
    named = [{"kinds": ["async_invoke"], **target} for target in targets]
    return load_settings(None, environment("", folder, TARGETS=json.dumps(named)))


def ids(folder: Path, *targets: dict[str, Any], **accounts: tuple[Account, ...]) -> list[str]:
    """The ids of the targets."""
    found = resolve_targets(settings_of(folder, *targets), Sdk(), accounts)  # type: ignore[arg-type]
    return [target.id for target in found.access]


def test_targets_are_accounts_by_regions_by_kinds(tmp_path: Path) -> None:
    """Every region and kind is a target of its own; a target without regions takes the SDK's current one."""
    assert ids(
        tmp_path,
        {"name": "a", "regions": ["us-east-1", "eu-west-1"]},
        {"name": "b", "role_arn": ROLE},
    ) == ["a/us-east-1/async_invoke", "a/eu-west-1/async_invoke", "b/ap-south-1/async_invoke"]
    with pytest.raises(ConfigError, match=r"targets\[0\].regions: there is no current region"):
        ids(tmp_path, {"name": "a"})


def test_auto_means_every_region_of_the_partition(tmp_path: Path) -> None:
    """Such targets are optional; a partition without a known region has to be spelt out."""
    settings = settings_of(
        tmp_path,
        {"name": "a", "regions": "auto", "role_arn": ROLE},
        {"name": "b", "regions": "auto", "role_arn": GOV},
        {"name": "c", "regions": ["eu-west-1"]},
    )
    found = resolve_targets(settings, Sdk(), {})  # type: ignore[arg-type]
    assert [target.region for target in found.access] == [
        *("us-east-1", "eu-west-1"),
        "us-gov-west-1",
        "eu-west-1",
    ]
    assert {target.name for target in found.optional} == {"a", "b"}
    with pytest.raises(ConfigError, match="no region of aws-cn is known; name those to watch"):
        ids(tmp_path, {"name": "a", "regions": "auto"})


def test_an_organization_s_accounts_are_targets_by_role(tmp_path: Path) -> None:
    """Each account by its own role, with the external id, in its own partition; none without accounts."""
    organization = {"role_name": "path/reader", "exclude": ["222222222222"]}
    target = {
        "name": "org",
        "organization": organization,
        "external_id": "xid-1",
        "regions": ["eu-west-1"],
    }
    settings = settings_of(tmp_path, target)
    accounts = (Account("111111111111"), Account("333333333333", "aws-us-gov"))
    found = resolve_targets(settings, Sdk(), {"org": accounts}).access  # type: ignore[arg-type]
    assert [target.name for target in found] == ["org-111111111111", "org-333333333333"]
    assert [access.role_arn for (access,) in found.values()] == [
        "arn:aws:iam::111111111111:role/path/reader",
        "arn:aws-us-gov:iam::333333333333:role/path/reader",
    ]
    assert {access.external_id() for (access,) in found.values()} == {"xid-1"}
    assert ids(tmp_path, target) == []


def test_accounts_are_remembered_by_their_names(tmp_path: Path) -> None:
    """Only names that an account of this very organization can have."""
    settings = settings_of(
        tmp_path,
        {"name": "org", "organization": {"role_name": "r"}, "regions": ["eu-west-1"]},
        {"name": "b", "regions": ["eu-west-1"]},
    )
    names = ["org-111111111111", "org-1", "b", "b-111111111111", "xorg-222222222222"]
    sdk: Any = Sdk()
    assert load_accounts(settings, sdk, names) == {"org": (Account("111111111111", "aws-cn"),)}


def test_calls_are_shared_by_the_targets_of_one_place(
    components: Callable[..., Components], simulator: Simulator
) -> None:
    """Two kinds in one account and region have half of the calls each; another region has its own."""
    targets = [
        {"name": "a", "regions": ["us-east-1", "eu-west-1"]},
        {"name": "b", "regions": ["eu-west-1"], "role_arn": ROLE, "kinds": ["async_invoke"]},
    ]
    built = components(TARGETS=json.dumps(targets), AWS__REQUESTS_PER_SECOND="200")
    budgets = {target.id: built._budget(target) for target in built.targets}
    assert budgets["a/us-east-1/async_invoke"] == budgets["a/eu-west-1/model_invocation_job"]
    assert budgets["b/eu-west-1/async_invoke"] > budgets["a/us-east-1/async_invoke"]


@pytest.mark.long
@pytest.mark.slow
def test_accounts_come_and_go_while_it_runs(
    bedrock: SimulatorServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A new account is polled by its role, one that has closed is not; a look that fails changes nothing."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "b")
    with SecurityTokens(refused="") as aws:
        aws.reset()
        client = boto3.client("organizations", region_name="us-east-1", endpoint_url=aws.url)
        client.create_organization(FeatureSet="ALL")
        management = client.list_accounts()["Accounts"][0]["Id"]
        target = {
            "name": "org",
            "regions": ["us-east-1"],
            "kinds": ["async_invoke"],
            "organization": {"role_name": "reader", "exclude": [management], "refresh": "1m"},
        }
        environ = {
            **environment(bedrock.url, tmp_path, TARGETS=json.dumps([target])),
            "AWS_ENDPOINT_URL_STS": aws.url,
            "AWS_ENDPOINT_URL_ORGANIZATIONS": aws.url,
        }

        def account() -> str:
            made = client.create_account(Email="a@example.com", AccountName="a")
            return f"org-{made['CreateAccountStatus']['AccountId']}/us-east-1/async_invoke"

        first = account()
        with Daemon(tmp_path, environ) as daemon:
            assert daemon.said("daemon.starting")[0]["targets"] == [first]
            second = account()
            # Each reload looks anew; a minute is too long for a test.
            reload(daemon, 1)
            assert daemon.log("config.reloaded")[0]["targets"] == sorted([first, second])
            eventually(lambda: {line["target"] for line in daemon.log("poll.finished")} == {first, second})
            client.close_account(AccountId=first[4:16])
            reload(daemon, 2)
            assert daemon.log("config.reloaded")[1]["targets"] == [second]
            aws.refuse_all = True
            reload(daemon, 3)
            assert daemon.log("config.reloaded")[2]["targets"] == [second]
            assert daemon.log("accounts.failed")
            assert 'organization_failures_total{target="org"} 1' in daemon.get("/metrics")
            assert daemon.terminate() == 0
        with Daemon(tmp_path, environ) as daemon:
            # What the organization said last, until it answers again; an account that has closed stays away.
            assert daemon.said("daemon.starting")[0]["targets"] == [second]
            assert daemon.terminate() == 0


def reload(daemon: Daemon, times: int) -> None:
    """SIGHUP it, and wait until it has reloaded so many times in all."""
    daemon.process.send_signal(signal.SIGHUP)
    daemon.said("config.reloaded", times)


def test_a_look_in_between_puts_new_accounts_to_work(
    components: Callable[..., Components], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a reload, other accounts become targets when the organization is looked at again."""
    monkeypatch.setattr("poller.app.daemon._ACCOUNTS_SECONDS", 0.05)
    monkeypatch.setattr("poller.app.runtime.Components.refresh", 0.1)
    accounts = [Account("111111111111")]
    monkeypatch.setattr("poller.app.targets.accounts_of", lambda *_, **__: tuple(accounts))
    target = {"name": "org", "regions": ["us-east-1"], "organization": {"role_name": "r"}}
    daemon = Embedded(components(TARGETS=json.dumps([target]), WEB__LISTEN="null"), signals=False)

    def names() -> set[str]:
        return {target.name for target in daemon.components.targets}

    def during() -> None:
        assert names() == {"org-111111111111"}
        accounts.append(Account("222222222222"))
        eventually(lambda: names() == {"org-111111111111", "org-222222222222"})
        del accounts[0]
        eventually(lambda: names() == {"org-222222222222"})

    running(daemon, during)
    sample = daemon.components.metrics.registry.get_sample_value
    assert sample("bedrock_poller_organization_accounts", {"target": "org"}) == 1
    assert sample("bedrock_poller_targets") == 2
