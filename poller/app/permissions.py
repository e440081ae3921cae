"""The least IAM policy that a configuration needs; read-only for Bedrock.

The list operations have no resource-level permissions, so they are granted on `*`; the Get operations are
granted on the jobs' ARNs (Service Authorization Reference, Amazon Bedrock).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from poller.kinds import KINDS

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from poller.settings.schema import Settings, TargetSettings


def daemon_policy(settings: Settings) -> dict[str, Any]:
    """What the daemon's own principal needs: its own account's jobs, the roles to assume, and the sinks."""
    own = [target for target in settings.targets if target.role_arn is None]
    statements = _reading(own)
    roles = sorted({target.role_arn for target in settings.targets if target.role_arn is not None})
    if roles:
        statements.append(_allow("AssumeRoles", ["sts:AssumeRole"], roles))
    sinks: dict[str, set[str]] = {}
    for sink in settings.sinks.values():
        for action, resources in sink.permissions().items():
            sinks.setdefault(action, set()).update(resources)
    statements += [
        _allow(f"Sink{number}", [action], sorted(resources))
        for number, (action, resources) in enumerate(sorted(sinks.items()), start=1)
    ]
    return _policy(statements)


def member_policy(settings: Settings) -> dict[str, Any]:
    """What each role that is assumed needs."""
    return _policy(_reading([target for target in settings.targets if target.role_arn is not None]))


def _reading(targets: Sequence[TargetSettings]) -> list[dict[str, Any]]:
    kinds = [KINDS[name] for name in sorted({name for target in targets for name in target.kinds})]
    if not kinds:
        return []
    regions = {region for target in targets for region in target.regions or ("*",)}
    accounts = {_account(target) for target in targets}
    places = sorted((region, account) for region in regions for account in accounts)
    statements = [_allow("ListJobs", [f"bedrock:{kind.list_operation}" for kind in kinds], ["*"])]
    statements += [
        _allow(
            kind.get_operation,
            [f"bedrock:{kind.get_operation}"],
            [
                f"arn:{_partition(region)}:bedrock:{region}:{account}:{kind.resource}/*"
                for region, account in places
            ],
        )
        for kind in kinds
    ]
    return statements


def _account(target: TargetSettings) -> str:
    return target.role_arn.split(":")[4] if target.role_arn is not None else "*"


def _partition(region: str) -> str:
    for prefix, partition in (("us-gov-", "aws-us-gov"), ("cn-", "aws-cn")):
        if region.startswith(prefix):
            return partition
    return "aws"


def _allow(sid: str, actions: Sequence[str], resources: Iterable[str]) -> dict[str, Any]:
    return {"Sid": sid, "Effect": "Allow", "Action": list(actions), "Resource": list(resources)}


def _policy(statements: list[dict[str, Any]]) -> dict[str, Any]:
    return {"Version": "2012-10-17", "Statement": statements}
