"""What a configuration's targets are: accounts by regions by kinds.

Accounts and regions may have to be asked for: `organization` stands for the accounts that an organization has
now, and `auto` for the regions that the SDK knows. Configured targets that lead to one account, region and
kind are one target with several names: it is polled once, by the access of the first name that works.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field, replace
from operator import attrgetter
from typing import TYPE_CHECKING

from poller import logs
from poller.aws import Account, AccountAccess, accounts_of
from poller.aws.sessions import home_region
from poller.errors import AwsError, ConfigError, Problem
from poller.model import Target
from poller.settings.types import AUTO
from poller.store import OrganizationMemory

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from poller.aws import Sessions
    from poller.metrics import Metrics
    from poller.settings.schema import OrganizationSettings, Settings, TargetSettings

_log = logs.get(__name__)

Accounts = dict[str, tuple[Account, ...]]
"""The accounts of each configured target that stands for an organization, by its name."""


@dataclass(frozen=True, slots=True)
class ResolvedTargets:
    """What is to be polled.

    Args:
        access: How each target's account is reached, best first: one for each of its names.
        optional: Targets that the configuration does not name: the regions of `auto`.
    """

    access: dict[Target, tuple[AccountAccess, ...]] = field(default_factory=dict)
    optional: frozenset[Target] = frozenset()

    @property
    def shared(self) -> list[Target]:
        """The targets with several names."""
        return [target for target in self.access if target.aliases]


def access_of(target: TargetSettings) -> AccountAccess:
    """How a configured target's account is reached."""
    return AccountAccess(
        profile=target.profile, role_arn=target.role_arn, external_id=target.read_external_id
    )


def resolve_targets(
    settings: Settings,
    sessions: Sessions,
    accounts: Accounts,
    account_of: Callable[[AccountAccess], str | None] = attrgetter("role_account"),
) -> ResolvedTargets:
    """Every (account, region, kind) that the configuration asks for, each once.

    Args:
        settings: The configuration.
        sessions: Tells the current region, and which regions there are.
        accounts: What `discover_accounts` found.
        account_of: Tells the account behind an access, where it is known.

    Raises:
        ConfigError: A target names no region, and the SDK has none either.
        AwsError: A profile is of no use.
    """
    found: dict[tuple[str | None, ...], list[_Named]] = {}
    problems: dict[str, Problem] = {}
    for index, target in enumerate(settings.targets):
        for name, access in _members(target, accounts):
            regions, why = _regions(target, access, sessions)
            if why:
                place = f"targets[{index}].regions"
                problems[place] = Problem(place, why)
            account = account_of(access)
            for region in regions:
                for kind in target.kinds:
                    # While its account is unknown, a target is known by its name.
                    identity = (account, region, kind) if account else (None, name, region, kind)
                    named = _Named(Target(name, region, kind, account), access, target.regions == (AUTO,))
                    found.setdefault(identity, []).append(named)
    if problems:
        raise ConfigError(list(problems.values()))
    merged: dict[Target, tuple[AccountAccess, ...]] = {}
    optional = set()
    for first, *others in found.values():
        each = replace(first.target, aliases=tuple(other.target.name for other in others))
        merged[each] = tuple(dict.fromkeys([first.access, *(other.access for other in others)]))
        if first.optional and all(other.optional for other in others):
            optional.add(each)
    return ResolvedTargets(merged, frozenset(optional))


@dataclass(frozen=True, slots=True)
class _Named:
    target: Target
    access: AccountAccess
    optional: bool


def _members(target: TargetSettings, accounts: Accounts) -> Iterator[tuple[str, AccountAccess]]:
    organization = target.organization
    if organization is None:
        yield target.name, access_of(target)
        return
    for account in accounts.get(target.name, ()):
        role = f"arn:{account.partition}:iam::{account.id}:role/{organization.role_name}"
        access = AccountAccess(profile=target.profile, role_arn=role, external_id=target.read_external_id)
        yield f"{target.name}-{account.id}", access


def _regions(
    target: TargetSettings, access: AccountAccess, sessions: Sessions
) -> tuple[tuple[str, ...], str]:
    """The regions to watch, and what is wrong if there is none."""
    if target.regions == (AUTO,):
        partition = sessions.partition(access)
        return sessions.regions(partition), (
            "" if sessions.regions(partition) else f"no region of {partition} is known; name those to watch"
        )
    if target.regions:
        return target.regions, ""
    current = sessions.region(access)
    if current is None:
        return (), "there is no current region; set it, or set AWS_REGION"
    return (current,), ""


def discover_accounts(
    settings: Settings,
    sessions: Sessions,
    metrics: Metrics,
    before: Accounts,
    remember: Callable[[str, OrganizationMemory], None] = lambda *_: None,
) -> Accounts:
    """Ask every organization for its accounts; where that fails, those from before stay.

    Args:
        settings: The configuration.
        sessions: Gives the clients.
        metrics: Where failures are counted.
        before: The accounts known so far.
        remember: Keeps what an organization said, for a start at which it cannot be asked.
    """
    found: Accounts = {}
    for target in settings.targets:
        organization = target.organization
        if organization is None:
            continue
        access = AccountAccess(profile=target.profile, role_arn=organization.list_role_arn)
        try:
            client = sessions.client(access, home_region(sessions.partition(access)), "organizations")
            accounts = accounts_of(
                client,
                units=organization.units,
                tags=organization.tags,
                exclude=organization.exclude,
            )
        except AwsError as error:
            metrics.discovery_failures.labels(target.name).inc()
            accounts = before.get(target.name, ())
            _log.error(
                "accounts.failed", target=target.name, error=str(error), accounts_as_before=len(accounts)
            )
        else:
            _tell(target.name, before.get(target.name, ()), accounts)
            partitions = {account.id: account.partition for account in accounts}
            remember(target.name, OrganizationMemory(_filters(organization), partitions))
        metrics.accounts.labels(target.name).set(len(accounts))
        found[target.name] = accounts
    return found


def _filters(organization: OrganizationSettings) -> str:
    """What accounts are selected by, apart from `exclude`, which can be applied to any list of them."""
    return json.dumps({"units": sorted(organization.units), "tags": dict(organization.tags)}, sort_keys=True)


def _tell(name: str, before: Iterable[Account], after: Iterable[Account]) -> None:
    added = sorted(account.id for account in set(after) - set(before))
    removed = sorted(account.id for account in set(before) - set(after))
    if added or removed:
        _log.info("accounts.changed", target=name, added=added, removed=removed)


def load_accounts(
    settings: Settings,
    sessions: Sessions,
    names: Iterable[str],
    recall: Callable[[str], OrganizationMemory | None] = lambda _: None,
) -> Accounts:
    """The accounts that organizations had before this start, without those that are excluded now.

    What was found by other units or tags does not apply to today's accounts. A store of version 0.1.0
    remembers nothing but the names of its targets; its filters are taken to be the present ones.

    Args:
        settings: The configuration.
        sessions: Tells the partition.
        names: The names of the targets in the store.
        recall: Gives what an organization said when it was last asked.
    """
    known = sorted(names)
    found: Accounts = {}
    for target in settings.targets:
        organization = target.organization
        if organization is None:
            continue
        memory = recall(target.name)
        if memory is None:
            access = AccountAccess(profile=target.profile, role_arn=organization.list_role_arn)
            partition = sessions.partition(access)
            matches = (re.fullmatch(rf"{re.escape(target.name)}-([0-9]{{12}})", name) for name in known)
            accounts = {match[1]: partition for match in matches if match}
        elif memory.filters == _filters(organization):
            accounts = dict(memory.accounts)
        else:
            accounts = {}
            _log.warning(
                "accounts.forgotten",
                target=target.name,
                why="units or tags have changed since they were found",
            )
        found[target.name] = tuple(
            Account(account, partition)
            for account, partition in sorted(accounts.items())
            if account not in organization.exclude
        )
    return found
