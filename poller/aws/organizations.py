"""The accounts of an AWS organization.

Listing them needs a permission of the management account, or of one that administers the organization for it.
Only accounts in state ACTIVE count: suspended and closed ones refuse every call. An incomplete listing is an
error, never a shorter list, because accounts that are left out would no longer be watched.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from poller.aws.failures import translated
from poller.errors import AwsError, AwsReason

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from poller.aws.sessions import Client

_ACTIVE = "ACTIVE"
_MOST_PAGES = 10_000


@dataclass(frozen=True, slots=True, order=True)
class Account:
    """An account: its twelve digits, and the partition it is in, such as `aws`."""

    id: str
    partition: str = "aws"


def accounts_of(
    client: Client,
    *,
    units: Collection[str] = (),
    tags: Mapping[str, str] | None = None,
    exclude: Collection[str] = (),
) -> tuple[Account, ...]:
    """Find the active accounts of an organization, in the order of their ids.

    Args:
        client: Calls Organizations.
        units: Ids of roots and organizational units; their accounts count, and those of units inside them.
            None for the whole organization.
        tags: What an account has to be tagged with, all of it; a value of `*` stands for any.
        exclude: Ids of accounts that do not count.

    Raises:
        AwsError: It could not be listed to its end.
    """
    found: dict[str, Account] = {}
    listed = _in_units(client, units) if units else _pages(client, "ListAccounts", "Accounts")
    for item in listed:
        # `State` has taken the place of `Status`, which an older endpoint may still answer with alone.
        if item.get("State", item.get("Status")) != _ACTIVE or item["Id"] in exclude:
            continue
        found[item["Id"]] = Account(item["Id"], item["Arn"].split(":")[1])
    return tuple(
        account for _, account in sorted(found.items()) if not tags or _is_tagged(client, account, tags)
    )


def _in_units(client: Client, units: Collection[str]) -> Iterator[dict[str, Any]]:
    left, seen = list(units), set(units)
    while left:
        parent = left.pop()
        yield from _pages(client, "ListAccountsForParent", "Accounts", ParentId=parent)
        for unit in _pages(
            client, "ListOrganizationalUnitsForParent", "OrganizationalUnits", ParentId=parent
        ):
            if unit["Id"] not in seen:
                seen.add(unit["Id"])
                left.append(unit["Id"])


def _is_tagged(client: Client, account: Account, tags: Mapping[str, str]) -> bool:
    has = {
        tag["Key"]: tag["Value"]
        for tag in _pages(client, "ListTagsForResource", "Tags", ResourceId=account.id)
    }
    return all(key in has and value in ("*", has[key]) for key, value in tags.items())


def _pages(client: Client, operation: str, key: str, **parameters: Any) -> Iterator[dict[str, Any]]:
    asked = dict(parameters)
    for _ in range(_MOST_PAGES):
        with translated(operation):
            response = client.call(operation, **asked)
        yield from response[key]
        if not (token := response.get("NextToken")):
            return
        asked["NextToken"] = token
    raise AwsError(f"{operation} has not ended after {_MOST_PAGES} pages", reason=AwsReason.INCOMPLETE)
