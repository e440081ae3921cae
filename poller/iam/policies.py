"""The IAM policies that a configuration needs; read-only for Bedrock.

One document is for one principal: the credentials that the SDK finds, those of a profile, the roles that are
assumed to read, or those that are assumed to list an organization's accounts. IAM refuses a document with
ARNs of another partition than its own, so a document never mixes them.

An external ID is never taken from the configuration: what is printed ends up in repositories and logs. The
placeholder in its place fails safe: until it is replaced, the daemon is not let in.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from poller.iam.statements import (
    ANY,
    LISTENING,
    Place,
    Statement,
    allow,
    listed,
    listening,
    listing,
    merged,
    partition_of,
    queue_arn,
    reading,
    roles_of,
    sending,
    wrong,
)
from poller.settings.types import check_external_id

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from poller.settings.schema import Settings, TargetSettings

PLACEHOLDER = "REPLACE-WITH-THE-EXTERNAL-ID"
"""Stands for the external ID, unless it is given openly."""

LARGEST_MANAGED_POLICY = 6144
"""Characters, white space aside, that a managed policy may have."""

_ACCOUNT = re.compile(r"[0-9]{12}")
_PRINCIPAL = re.compile(r"arn:aws[a-z-]*:iam::[0-9]{12}:(role|user)/[A-Za-z0-9+=,.@_/-]{1,512}")
_SESSION = re.compile(
    r"arn:(?P<partition>aws[a-z-]*):sts::(?P<account>[0-9]{12}):assumed-role/(?P<role>[^/]+)/"
)


@dataclass(frozen=True, slots=True)
class Policy:
    """A policy, with notes for its user.

    Args:
        statements: Its statements.
        notes: Sentences that do not fit into JSON.
    """

    statements: tuple[Statement, ...]
    notes: tuple[str, ...] = field(default=())

    @property
    def document(self) -> dict[str, Any]:
        """What IAM takes."""
        return {"Version": "2012-10-17", "Statement": list(self.statements)}


def daemon_policy(
    settings: Settings,
    *,
    profile: str | None = None,
    account: str | None = None,
    kms_keys: Sequence[str] = (),
    current_region: str | None = None,
) -> Policy:
    """What the daemon's own principal needs: its account's jobs, the roles and organizations, and the sinks.

    Args:
        settings: The configuration.
        profile: Another principal: that of targets with this profile.
        account: The principal's account, if it is known; else the ARNs of jobs have a `*` in its place.
        kms_keys: ARNs of the keys that encrypt the topics.
        current_region: What the SDK says; it decides on the partition of targets without a region.

    Raises:
        ConfigError: There is no such profile, an ARN is invalid, or IAM would refuse the policy.
    """
    _check_account(account)
    profiles = {target.profile for target in settings.targets}
    if profile is not None and profile not in profiles:
        known = listed(name for name in profiles if name is not None) or "none"
        raise wrong("--profile", f"no target has the profile {profile!r}; there is {known}")
    mine = [(index, each) for index, each in enumerate(settings.targets) if each.profile == profile]
    own = [(index, target) for index, target in mine if not _assumes(target)]
    statements = list(reading([Place.of(index, target, account, current_region) for index, target in own]))
    roles = set()
    for index, target in mine:
        partition = partition_of(index, target, current_region)
        roles |= set(roles_of(partition, target))
        if target.organization is not None and target.organization.list_role_arn is None:
            statements += listing(partition, target)
    queues = {
        queue.role_arn: queue_arn(queue)
        for queue in (settings.wake_ups if profile is None else ())
        if queue.role_arn is not None
    }
    if roles := roles | queues.keys():
        statements.append(allow("AssumeRoles", ["sts:AssumeRole"], sorted(roles)))
    if profile is None:
        # Sinks find their credentials like any SDK, whatever profiles the targets have.
        statements += listening(settings)
        statements += sending(settings, kms_keys)
    elif kms_keys:
        raise wrong("--kms-key", f"the profile {profile!r} sends nothing; leave out one of the two")
    notes = [*_open_regions(target for _, target in own), *_other_principals(profiles, profile)]
    notes += [f"{role} needs {listed(LISTENING)} on {queue}" for role, queue in queues.items()]
    if own and account is None:
        notes.append("the account is left open, because no configuration names it; --account ID narrows it")
    if any(target.organization for _, target in mine):
        notes.append("the roles of an organization may be assumed in any account that lets the daemon in")
    return _policy(statements, notes)


def member_policy(
    settings: Settings, *, account: str | None = None, current_region: str | None = None
) -> Policy:
    """What the roles that are assumed to read need, or only those in one account.

    Raises:
        ConfigError: No role is in that account, or IAM would refuse the policy.
    """
    members = _members(settings, account)
    statements = reading([Place.of(index, target, account, current_region) for index, target in members])
    notes = list(_open_regions(target for _, target in members))
    accounts = {target.role_account for _, target in members}
    if len(accounts) > 1 and account is None:
        notes.append("this is for the roles of several accounts at once; --account ID narrows it to one's")
    elif accounts == {None} and account is None:
        notes.append("the account is left open, because this is for each of several; --account ID narrows it")
    return _policy(statements, notes)


def listing_policy(settings: Settings) -> Policy:
    """What the roles that are assumed to list an organization's accounts need.

    Raises:
        ConfigError: There is no such role, or IAM would refuse the policy.
    """
    found = _listers(settings)
    statements = [each for role, target in found for each in listing(role.split(":")[1], target)]
    return _policy(statements, ())


def trust_policy(
    settings: Settings,
    principal: str,
    *,
    account: str | None = None,
    external_id: str | None = None,
    organization: bool = False,
) -> Policy:
    """Let the daemon's principal assume the roles, with the external ID where one is configured.

    Args:
        settings: The configuration.
        principal: The ARN of the role or user that the daemon runs as.
        account: Only the roles in this account.
        external_id: What to write in place of the placeholder.
        organization: The roles that list an organization's accounts instead; these know no external ID.

    Raises:
        ConfigError: The principal is invalid, there is no role, or not all roles ask for an external ID.
    """
    if organization:
        asked = {False}
        partitions = {role.split(":")[1] for role, _ in _listers(settings)}
    else:
        targets = [target for _, target in _members(settings, account)]
        if not targets:
            raise wrong("--trust", "no target has a role_arn, so there is nothing to be trusted")
        asked = {target.external_id is not None or target.external_id_file is not None for target in targets}
        partitions = {target.role_arn.split(":")[1] for target in targets if target.role_arn is not None}
    _check_principal(principal, partitions)
    if len(asked) > 1:
        raise wrong(
            "--trust", "some roles are assumed with an external ID and some without; choose with --account"
        )
    if external_id is not None:
        _check_external_id(external_id, used=True in asked)
    statement = {
        "Sid": "AssumedByBedrockPoller",
        "Effect": "Allow",
        "Principal": {"AWS": principal},
        "Action": ["sts:AssumeRole"],
    }
    notes = []
    if True in asked:
        statement["Condition"] = {"StringEquals": {"sts:ExternalId": external_id or PLACEHOLDER}}
        if external_id is None:
            notes.append(
                f"put the external ID in place of {PLACEHOLDER}; until then the daemon is not let in"
            )
    else:
        notes.append("no external ID is configured, so the principal alone is asked for")
    return _policy([statement], notes)


def _assumes(target: TargetSettings) -> bool:
    """Whether a target's jobs are read by a role that is assumed."""
    return target.role_arn is not None or target.organization is not None


def _members(settings: Settings, account: str | None) -> list[tuple[int, TargetSettings]]:
    """The targets with a role, all, or those in one account, with their places."""
    _check_account(account)
    roles = [(index, target) for index, target in enumerate(settings.targets) if _assumes(target)]
    found = [(index, each) for index, each in roles if account in {None, each.role_account or account}]
    if account is not None and not found:
        known = listed({target.role_account or "" for _, target in roles}) or "none"
        raise wrong("--account", f"no target has a role in {account}; those that are configured: {known}")
    return found


def _listers(settings: Settings) -> list[tuple[str, TargetSettings]]:
    """The roles that list an organization's accounts, and the targets that they do it for.

    Raises:
        ConfigError: There are none.
    """
    found = [
        (target.organization.list_role_arn, target)
        for target in settings.targets
        if target.organization is not None and target.organization.list_role_arn is not None
    ]
    if not found:
        raise wrong("--organization", "no target has an organization with a list_role_arn")
    return found


def _open_regions(targets: Iterable[TargetSettings]) -> Iterator[str]:
    names = [target.name for target in targets if not target.regions]
    if names:
        yield f"every region is allowed, because {listed(names)} names none; set its regions to narrow it"


def _other_principals(profiles: Iterable[str | None], profile: str | None) -> Iterator[str]:
    others = sorted(name for name in profiles if name is not None)
    if others and profile is None:
        yield f"targets with a profile need a policy of their own: --profile {' or '.join(others)}"


def _check_account(account: str | None) -> None:
    if account is not None and not _ACCOUNT.fullmatch(account):
        raise wrong("--account", f"{account!r} is not the ID of an account, which has 12 digits")


def _check_principal(principal: str, partitions: set[str]) -> None:
    session = _SESSION.match(principal)
    if session:
        role = f"arn:{session['partition']}:iam::{session['account']}:role/{session['role']}"
        raise wrong("--principal", f"{principal!r} is a session, which ends; its role may be {role}")
    if not _PRINCIPAL.fullmatch(principal):
        raise wrong(
            "--principal",
            f"{principal!r} is not the ARN of a role or user; write one such as"
            " arn:aws:iam::111111111111:role/bedrock-poller",
        )
    if partitions - {principal.split(":")[1]}:
        raise wrong("--principal", f"is in another partition than the roles ({listed(partitions)})")


def _check_external_id(external_id: str, *, used: bool) -> None:
    if not used:
        raise wrong(
            "--external-id", "the roles are assumed without one; set external_id_file of their targets"
        )
    try:
        check_external_id(external_id)
    except ValueError as error:
        raise wrong("--external-id", str(error)) from error


def _policy(statements: Iterable[Statement], notes: Sequence[str]) -> Policy:
    """Make the statements one document that IAM takes: one partition, and no Sid twice."""
    unique = tuple(merged(statements))
    resources = [resource for each in unique for resource in each.get("Resource", ())]
    partitions = {resource.split(":")[1] for resource in resources if resource != ANY}
    if len(partitions) > 1:
        raise wrong(
            "",
            f"the policy would name ARNs of several partitions ({listed(partitions)}), which IAM refuses;"
            " choose with --account or --profile, or keep a configuration for each",
        )
    said = list(notes)
    size = len(json.dumps(unique, separators=(",", ":"))) + len('{"Version":"2012-10-17","Statement":}')
    if not unique:
        said.append("nothing is needed, and IAM takes no policy without a statement")
    elif size > LARGEST_MANAGED_POLICY:
        said.append(
            f"this has {size} characters, and a managed policy may have {LARGEST_MANAGED_POLICY};"
            " attach its statements as several policies"
        )
    return Policy(unique, tuple(said))
