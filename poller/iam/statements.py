"""The statements that IAM policies are made of, for targets, organizations and sinks.

Each is as narrow as AWS lets it be (Service Authorization Reference). The list operations of Bedrock know no
resources, so they are granted on `*`, in the configured regions; the Get operations are granted on the ARNs
of the jobs. What no configuration knows is left open: the account that the daemon runs in, and the accounts,
the organization's id and the nested units of an organization.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, TypeAlias

import botocore.session
from botocore.exceptions import UnknownRegionError

from poller.errors import ConfigError, Problem
from poller.kinds import KINDS
from poller.settings.types import AUTO

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from poller.kinds import Kind
    from poller.settings.schema import Settings, TargetSettings
    from poller.settings.wake_ups import SqsWakeUps

Statement: TypeAlias = dict[str, Any]
"""One statement of a policy, as IAM reads it."""

ANY = "*"
_KEY = re.compile(r"arn:aws[a-z-]*:kms:[a-z0-9-]+:[0-9]{12}:key/[A-Za-z0-9-]{1,64}")
_PUBLISH = "sns:Publish"
LISTENING = ("sqs:ChangeMessageVisibility", "sqs:DeleteMessage", "sqs:ReceiveMessage")
"""What reading a queue of wake-ups takes."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where jobs of some kinds are: regions of one account in one partition, `*` for what is not known."""

    partition: str
    account: str
    regions: frozenset[str]
    kinds: tuple[Kind, ...]

    @classmethod
    def of(cls, index: int, target: TargetSettings, account: str | None, current: str | None) -> Place:
        """The place of a target.

        Args:
            index: Where it stands in the configuration.
            target: The target.
            account: Its account, unless a role names one.
            current: The SDK's current region, which decides on the partition if nothing else does.

        Raises:
            ConfigError: Its regions are in another partition than its role, or in several.
        """
        return cls(
            partition_of(index, target, current),
            target.role_account or account or ANY,
            frozenset((ANY,) if target.regions in {(), (AUTO,)} else target.regions),
            tuple(KINDS[name] for name in target.kinds),
        )


def partition_of(index: int, target: TargetSettings, current: str | None) -> str:
    """The partition of a target: that of its roles, of its regions, or of the current region.

    Raises:
        ConfigError: They are in several.
    """
    roles = [target.role_arn, target.organization.list_role_arn if target.organization else None]
    found = {role.split(":")[1] for role in roles if role is not None}
    named = [region for region in target.regions if region != AUTO]
    regions = named or ([current] if current and not found else [])
    found |= {known for region in regions if (known := _partition(region))}
    if len(found) > 1:
        raise wrong(f"targets[{index}]", f"belongs to several partitions ({listed(found)}); split it")
    return next(iter(found), "aws")


def reading(places: Sequence[Place]) -> Iterator[Statement]:
    """Listing and getting the jobs of some places."""
    kinds = {kind.name: kind for place in places for kind in place.kinds}
    for kind in (kinds[name] for name in sorted(kinds)):
        here = [place for place in places if kind in place.kinds]
        regions = frozenset[str]().union(*(place.regions for place in here))
        limited = {} if ANY in regions else {"StringEquals": {"aws:RequestedRegion": sorted(regions)}}
        yield allow(kind.list_operation, [kind.list_action], [ANY], limited)
        yield allow(kind.get_operation, [kind.get_action], _jobs(kind, here))


def _jobs(kind: Kind, places: Iterable[Place]) -> list[str]:
    """The ARNs of the jobs of a kind, without those that another one covers."""
    regions: dict[tuple[str, str], set[str]] = {}
    for place in places:
        regions.setdefault((place.partition, place.account), set()).update(place.regions)
    return sorted(
        f"arn:{partition}:bedrock:{region}:{account}:{kind.resource}/*"
        for (partition, account), names in regions.items()
        for region in ({ANY} if ANY in names else names)
    )


def roles_of(partition: str, target: TargetSettings) -> list[str]:
    """The roles that are assumed for a target; those of an organization's accounts as one pattern."""
    if target.organization is None:
        return [target.role_arn] if target.role_arn is not None else []
    found = [f"arn:{partition}:iam::{ANY}:role/{target.organization.role_name}"]
    if target.organization.list_role_arn is not None:
        found.append(target.organization.list_role_arn)
    return found


def listing(partition: str, target: TargetSettings) -> Iterator[Statement]:
    """Finding the accounts of an organization, as far as its units and tags need it."""
    organization = target.organization
    if organization is None:
        return
    base = f"arn:{partition}:organizations::{ANY}"
    if organization.units:
        # An id begins with that of the root, `r-abcd` or `ou-abcd-…`, and so do those of the units inside.
        roots = sorted({unit.split("-")[1] for unit in organization.units})
        wholes = sorted({unit for unit in organization.units if unit.startswith("r-")})
        inside = [f"{base}:ou/o-{ANY}/ou-{root}-{ANY}" for root in roots]
        actions = ["organizations:ListAccountsForParent", "organizations:ListOrganizationalUnitsForParent"]
        yield allow("ListUnits", actions, [*inside, *(f"{base}:root/o-{ANY}/{root}" for root in wholes)])
    else:
        yield allow("ListAccounts", ["organizations:ListAccounts"], [ANY])
    if organization.tags:
        accounts = f"{base}:account/o-{ANY}/{ANY}"
        yield allow("ListTagsOfAccounts", ["organizations:ListTagsForResource"], [accounts])


def sending(settings: Settings, kms_keys: Sequence[str]) -> Iterator[Statement]:
    """A statement for each sink that needs one, and with it the keys of its topic.

    Raises:
        ConfigError: An ARN is not a key's, or no sink would use the key.
    """
    unused = set(kms_keys)
    for key in unused:
        if not _KEY.fullmatch(key):
            raise wrong(
                "--kms-key",
                f"{key!r} is not the ARN of a key; write one such as arn:aws:kms:eu-west-1:111111111111:key/…"
                " (an alias cannot be granted)",
            )
    for name, sink in settings.sinks.items():
        sid = "Sink" + "".join(part.capitalize() for part in re.split("[-_]", name))
        needed = sink.permissions()
        for action in sorted(needed):
            yield allow(sid, [action], sorted(needed[action]))
        for topic in sorted(needed.get(_PUBLISH, ())):
            keys = sorted(key for key in kms_keys if key.split(":")[3] == topic.split(":")[3])
            unused -= set(keys)
            if keys:
                # SNS asks for both when it encrypts for a publisher, and names the topic when it does.
                condition = {"StringEquals": {"kms:EncryptionContext:aws:sns:topicArn": topic}}
                yield allow(f"{sid}Key", ["kms:Decrypt", "kms:GenerateDataKey"], keys, condition)
    if unused:
        raise wrong("--kms-key", f"no sink has a topic in the region of {listed(unused)}")


def listening(settings: Settings) -> Iterator[Statement]:
    """Reading the queues of wake-ups that no role is assumed for."""
    for number, queue in enumerate(settings.wake_ups, start=1):
        if queue.role_arn is None:
            yield allow(f"WakeUps{number}", LISTENING, [queue_arn(queue)])


def queue_arn(queue: SqsWakeUps) -> str:
    """The ARN of a queue of wake-ups."""
    return f"arn:{_partition(str(queue.region)) or 'aws'}:{queue.resource}"


def allow(
    sid: str,
    actions: Sequence[str],
    resources: Iterable[str],
    condition: Mapping[str, Mapping[str, Any]] | None = None,
) -> Statement:
    """A statement that allows; conditions are left out where there are none."""
    allowed: Statement = {"Sid": sid, "Effect": "Allow", "Action": list(actions), "Resource": list(resources)}
    return {**allowed, "Condition": dict(condition)} if condition else allowed


def merged(statements: Iterable[Statement]) -> Iterator[Statement]:
    """The statements, each once, and each with a Sid of its own."""
    taken: dict[str, Statement] = {}
    for statement in statements:
        sid, number = statement["Sid"], 2
        while sid in taken and {**taken[sid], "Sid": ""} != {**statement, "Sid": ""}:
            sid, number = f"{statement['Sid']}{number}", number + 1
        if sid not in taken:
            taken[sid] = {**statement, "Sid": sid}
            yield taken[sid]


def listed(names: Iterable[str]) -> str:
    """Names in a sentence."""
    return ", ".join(sorted(names))


def wrong(where: str, what: str) -> ConfigError:
    """One problem, as the configuration's are reported."""
    return ConfigError([Problem(where, what)])


@cache
def _sdk() -> botocore.session.Session:
    """A session, kept because it reads the list of all regions the first time that it is asked for one."""
    return botocore.session.get_session()


def _partition(region: str) -> str | None:
    """The partition of a region by the SDK's own patterns; `None` for one that it does not know."""
    try:
        found: str = _sdk().get_partition_for_region(region)
    except UnknownRegionError:
        return None
    return found
