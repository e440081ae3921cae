"""The accounts of an organization, by moto's AWS Organizations, and by answers that it never gives."""

from __future__ import annotations

import urllib.request
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from moto.server import ThreadedMotoServer

from poller.aws import Account, AccountAccess, accounts_of
from poller.aws.sessions import Client
from poller.errors import AwsError, AwsReason

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from poller.aws import Sessions
    from tests.harness.service import Service


@pytest.fixture
def moto(environment: pytest.MonkeyPatch) -> Iterator[str]:
    """The URL of a moto server; all of them in a process share one world, which begins anew."""
    server = ThreadedMotoServer(port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    environment.setenv("AWS_ENDPOINT_URL_ORGANIZATIONS", f"http://{host}:{port}")
    reset = urllib.request.Request(f"http://{host}:{port}/moto-api/reset", method="POST")
    with urllib.request.urlopen(reset, timeout=10) as answer:  # noqa: S310 - our own
        assert answer.status == HTTPStatus.OK
    yield f"http://{host}:{port}"
    server.stop()


class Organization:
    """An organization with a root, a unit in it, and a unit in that one."""

    def __init__(self) -> None:
        self.client = boto3.client("organizations", region_name="us-east-1")
        self.client.create_organization(FeatureSet="ALL")
        self.root = self.client.list_roots()["Roots"][0]["Id"]
        self.outer = self._unit(self.root)
        self.inner = self._unit(self.outer)

    def _unit(self, parent: str) -> str:
        made = self.client.create_organizational_unit(ParentId=parent, Name=f"in-{parent}")
        return str(made["OrganizationalUnit"]["Id"])

    def account(self, unit: str | None = None, **tags: str) -> str:
        """Make an account, and return its id."""
        made = self.client.create_account(Email="a@example.com", AccountName="a")["CreateAccountStatus"]
        account = str(made["AccountId"])
        if unit is not None:
            self.client.move_account(AccountId=account, SourceParentId=self.root, DestinationParentId=unit)
        if tags:
            listed = [{"Key": key, "Value": value} for key, value in tags.items()]
            self.client.tag_resource(ResourceId=account, Tags=listed)
        return account


@pytest.fixture
def organization(moto: str) -> Organization:
    """An organization."""
    assert moto
    return Organization()


def ids(make_sessions: Callable[..., Sessions], **options: Any) -> set[str]:
    """The ids of the accounts found."""
    client = make_sessions().client(AccountAccess(), "us-east-1", "organizations")
    return {account.id for account in accounts_of(client, **options)}


def test_accounts_are_found_by_unit_and_by_tag(
    organization: Organization, make_sessions: Callable[..., Sessions]
) -> None:
    """All of them, those of a unit with the units inside it, those with every tag; less the excluded ones."""
    management = organization.client.list_accounts()["Accounts"][0]["Id"]
    plain = organization.account()
    outer = organization.account(organization.outer, bedrock="yes", team="a")
    inner = organization.account(organization.inner, bedrock="yes")
    assert ids(make_sessions) == {management, plain, outer, inner}
    assert ids(make_sessions, units=[organization.root]) == {management, plain, outer, inner}
    assert ids(make_sessions, units=[organization.outer]) == {outer, inner}
    assert ids(make_sessions, units=[organization.inner, organization.outer]) == {outer, inner}
    assert ids(make_sessions, tags={"bedrock": "yes"}) == {outer, inner}
    assert ids(make_sessions, tags={"bedrock": "*", "team": "a"}) == {outer}
    assert ids(make_sessions, tags={"bedrock": "no"}) == set()
    assert ids(make_sessions, exclude=[management, outer]) == {plain, inner}


def test_an_organization_that_may_not_be_listed_is_an_error(
    service: Service, environment: pytest.MonkeyPatch, make_sessions: Callable[..., Sessions]
) -> None:
    """What AWS says is kept; nothing is taken for an empty list."""
    environment.setenv("AWS_ENDPOINT_URL_ORGANIZATIONS", service.url)
    service.can(b'{"__type": "AccessDeniedException", "Message": "not the management account"}', status=400)
    with pytest.raises(AwsError, match=r"ListAccounts.*not the management account") as caught:
        ids(make_sessions)
    assert caught.value.reason is AwsReason.ACCESS_DENIED


class Canned:
    """Answers from a list, whatever is asked."""

    def __init__(self, *answers: dict[str, Any]) -> None:
        self._answers = list(answers)
        self.asked: list[dict[str, Any]] = []

    def list_accounts(self, **parameters: Any) -> dict[str, Any]:
        """Answer."""
        self.asked.append(parameters)
        return self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]


def account(number: int, **state: str) -> dict[str, str]:
    """An account in an answer."""
    arn = f"arn:aws-us-gov:organizations::1:account/o-1/{number:012}"
    return {"Id": f"{number:012}", "Arn": arn, **state}


def test_only_active_accounts_count_page_by_page() -> None:
    """`State` says it, and `Status` where there is none; pages are followed; the partition is the ARN's."""
    canned = Canned(
        {"Accounts": [account(3, State="ACTIVE", Status="SUSPENDED")], "NextToken": "more"},
        {"Accounts": [], "NextToken": "still more"},
        {
            "Accounts": [
                account(1, Status="ACTIVE"),
                account(2, State="SUSPENDED", Status="ACTIVE"),
                account(4, State="PENDING_CLOSURE"),
                account(5, State="CLOSED"),
                account(6),
            ]
        },
    )
    found = accounts_of(Client(canned, AccountAccess()))
    assert found == (Account("000000000001", "aws-us-gov"), Account("000000000003", "aws-us-gov"))
    assert [asked.get("NextToken") for asked in canned.asked] == [None, "more", "still more"]


def test_a_listing_without_end_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """A token for ever is given up, and no shorter list is believed."""
    monkeypatch.setattr("poller.aws.organizations._MOST_PAGES", 50)
    with pytest.raises(AwsError, match="not ended after 50 pages") as caught:
        accounts_of(
            Client(Canned({"Accounts": [account(1, State="ACTIVE")], "NextToken": "t"}), AccountAccess())
        )
    assert caught.value.reason is AwsReason.INCOMPLETE
