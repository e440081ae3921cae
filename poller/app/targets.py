"""What a configuration's targets are: accounts by regions by kinds.

Accounts and regions may have to be asked for: `organization` stands for the accounts that an organization has
now, and `auto` for the regions that the SDK knows.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from poller import logs
from poller.aws import Access, Account, accounts_of
from poller.aws.sessions import home_region
from poller.errors import AwsError, ConfigError, Problem
from poller.model import Target
from poller.settings.values import AUTO

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from poller.aws import Sessions
    from poller.metrics import Metrics
    from poller.settings.schema import Settings, TargetSettings

_log = logs.get(__name__)

Accounts = dict[str, tuple[Account, ...]]
"""The accounts of each configured target that stands for an organization, by its name."""


@dataclass(frozen=True, slots=True)
class Watched:
    """What is to be polled.

    Args:
        access: How each target's account is reached.
        optional: Targets of which nobody said that they exist: the regions of `auto`.
    """

    access: dict[Target, Access] = field(default_factory=dict)
    optional: frozenset[Target] = frozenset()


def access_of(target: TargetSettings) -> Access:
    """How a configured target's account is reached."""
    return Access(profile=target.profile, role_arn=target.role_arn, external_id=target.read_external_id)


def watched(settings: Settings, sessions: Sessions, accounts: Accounts) -> Watched:
    """Every (account, region, kind) that the configuration asks for.

    Args:
        settings: The configuration.
        sessions: Tells the current region, and which regions there are.
        accounts: What `look` found.

    Raises:
        ConfigError: A target names no region, and the SDK has none either.
        AwsError: A profile is of no use.
    """
    found: dict[Target, Access] = {}
    optional = set()
    problems: dict[str, Problem] = {}
    for index, target in enumerate(settings.targets):
        for name, access in _members(target, accounts):
            regions, why = _regions(target, access, sessions)
            if why:
                place = f"targets[{index}].regions"
                problems[place] = Problem(place, why)
            for region in regions:
                for kind in target.kinds:
                    each = Target(name, region, kind)
                    found[each] = access
                    if target.regions == (AUTO,):
                        optional.add(each)
    if problems:
        raise ConfigError(list(problems.values()))
    return Watched(found, frozenset(optional))


def _members(target: TargetSettings, accounts: Accounts) -> Iterator[tuple[str, Access]]:
    organization = target.organization
    if organization is None:
        yield target.name, access_of(target)
        return
    for account in accounts.get(target.name, ()):
        role = f"arn:{account.partition}:iam::{account.id}:role/{organization.role_name}"
        access = Access(profile=target.profile, role_arn=role, external_id=target.read_external_id)
        yield f"{target.name}-{account.id}", access


def _regions(target: TargetSettings, access: Access, sessions: Sessions) -> tuple[tuple[str, ...], str]:
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


def look(settings: Settings, sessions: Sessions, metrics: Metrics, before: Accounts) -> Accounts:
    """Ask every organization for its accounts; where that fails, those from before stay.

    Args:
        settings: The configuration.
        sessions: Gives the clients.
        metrics: Where failures are counted.
        before: The accounts known so far.
    """
    found: Accounts = {}
    for target in settings.targets:
        organization = target.organization
        if organization is None:
            continue
        access = Access(profile=target.profile, role_arn=organization.list_role_arn)
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
        metrics.accounts.labels(target.name).set(len(accounts))
        found[target.name] = accounts
    return found


def _tell(name: str, before: Iterable[Account], after: Iterable[Account]) -> None:
    added = sorted(account.id for account in set(after) - set(before))
    removed = sorted(account.id for account in set(before) - set(after))
    if added or removed:
        _log.info("accounts.changed", target=name, added=added, removed=removed)


def remembered(settings: Settings, sessions: Sessions, names: Iterable[str]) -> Accounts:
    """The accounts that organizations had before this start, by the names in the store.

    Args:
        settings: The configuration.
        sessions: Tells the partition.
        names: The names of the targets in the store.
    """
    known = sorted(names)
    found: Accounts = {}
    for target in settings.targets:
        if target.organization is None:
            continue
        access = Access(profile=target.profile, role_arn=target.organization.list_role_arn)
        partition = sessions.partition(access)
        matches = (re.fullmatch(rf"{re.escape(target.name)}-([0-9]{{12}})", name) for name in known)
        found[target.name] = tuple(Account(match[1], partition) for match in matches if match)
    return found
