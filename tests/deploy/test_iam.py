"""The example policies are those that the program prints, and the template makes the same role."""

from __future__ import annotations

import json
import re
import shlex
from fnmatch import fnmatchcase
from itertools import product
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from poller.cli import run
from poller.kinds import KINDS
from tests.deploy.template import FOLDER, deployed, template

if TYPE_CHECKING:
    from collections.abc import Iterable

_ROW = re.compile(
    r"^\| `(?P<file>\S+\.json)` \| `(?P<config>\S+\.yaml)` \| (?:`(?P<options>.*)`)? ?\|$", re.MULTILINE
)
ROWS = list(_ROW.finditer((FOLDER / "README.md").read_text()))
PRINCIPAL = "arn:aws:iam::111111111111:role/bedrock-poller"
ACCOUNT = "222222222222"


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["file"])
def test_examples_are_current(row: re.Match[str], capfd: pytest.CaptureFixture[str]) -> None:
    """Each example is what the program prints for its configuration with the options of the README."""
    options = shlex.split(row["options"] or "")
    assert run(["iam-policy", "--config", str(FOLDER / row["config"]), *options]) == 0
    assert capfd.readouterr().out == (FOLDER / row["file"]).read_text()


def test_every_example_is_in_the_readme() -> None:
    """The README tells of each file that is here, and of no other."""
    text = (FOLDER / "README.md").read_text()
    named = set(re.findall(r"`([\w.-]+\.(?:json|yaml))`", text)) - {"config.yaml"}
    assert named == {path.name for path in FOLDER.iterdir()} - {"README.md"}
    assert len(ROWS) == len({row["file"] for row in ROWS}) == 13


@pytest.mark.parametrize("name", ["trust-irsa.json", "trust-pod-identity.json"])
def test_who_may_be_the_daemon_in_eks(name: str) -> None:
    """Each trust policy names one cluster, and nobody is trusted without a condition."""
    (statement,) = json.loads((FOLDER / name).read_text())["Statement"]
    ((kind, principal),) = statement["Principal"].items()
    if kind == "Federated":
        issuer = principal.partition("oidc-provider/")[2]
        asked = statement["Condition"]["StringEquals"]
        assert asked == {
            f"{issuer}:aud": "sts.amazonaws.com",
            f"{issuer}:sub": "system:serviceaccount:bedrock-poller:bedrock-poller",
        }
    else:
        assert principal == "pods.eks.amazonaws.com"
        assert set(statement["Action"]) == {"sts:AssumeRole", "sts:TagSession"}
        assert "cluster/" in statement["Condition"]["ArnEquals"]["aws:SourceArn"]


def _allows(statements: Iterable[dict[str, Any]], action: str, resource: str, region: str) -> bool:
    """Whether IAM would allow a request; every statement allows, and conditions are on the region."""

    def met(statement: dict[str, Any]) -> bool:
        asked = [
            wanted
            for keys in statement.get("Condition", {}).values()
            for key, wanted in keys.items()
            if key == "aws:RequestedRegion"
        ]
        return all(any(fnmatchcase(region, pattern) for pattern in wanted) for wanted in asked)

    return any(
        action in statement["Action"]
        and any(fnmatchcase(resource, pattern) for pattern in statement["Resource"])
        and met(statement)
        for statement in statements
    )


@pytest.mark.parametrize("kinds", [*((name,) for name in sorted(KINDS)), tuple(sorted(KINDS))])
@pytest.mark.parametrize("regions", [("us-east-1",), ("us-east-1", "eu-west-1"), ()])
def test_the_template_allows_what_the_program_prints(
    kinds: tuple[str, ...], regions: tuple[str, ...], tmp_path: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    """For every request that matters the role of the template and the printed policy say the same."""
    target = {"name": "a", "role_arn": f"arn:aws:iam::{ACCOUNT}:role/r", "kinds": kinds}
    config = tmp_path / "config.yaml"
    config.write_text(json.dumps({"targets": [{**target, **({"regions": regions} if regions else {})}]}))
    assert run(["iam-policy", "--member", "--config", str(config)]) == 0
    printed = json.loads(capfd.readouterr().out)["Statement"]
    role = deployed(
        {
            "TrustedPrincipalArn": PRINCIPAL,
            "ExternalId": "",
            "Kinds": kinds[0] if len(kinds) == 1 else "all",
            "Regions": ",".join(regions) or "*",
        },
        account=ACCOUNT,
    )
    (policy,) = role["Policies"]
    made = policy["PolicyDocument"]["Statement"]
    assert [each["Sid"] for each in made] == [each["Sid"] for each in printed]
    answers = set()
    for region, account, kind in product(
        ("us-east-1", "eu-west-1", "us-west-2"), (ACCOUNT, "333333333333"), KINDS.values()
    ):
        job = kind.make_arn("abcdefghwxyz", account=account, region=region)
        for action, resource in ((kind.get_operation, job), (kind.list_operation, "*")):
            answer = _allows(printed, f"bedrock:{action}", resource, region)
            assert _allows(made, f"bedrock:{action}", resource, region) == answer
            answers.add(answer)
    assert answers == {True, False}


@pytest.mark.parametrize("external_id", ["", "example.4711"])
def test_the_template_trusts_whom_the_program_names(
    external_id: str, tmp_path: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    """The trust policy of the role is the printed one, with and without an external ID."""
    target = {"name": "a", "role_arn": f"arn:aws:iam::{ACCOUNT}:role/r", "regions": ["us-east-1"]}
    config = tmp_path / "config.yaml"
    config.write_text(
        json.dumps({"targets": [target | ({"external_id": external_id} if external_id else {})]})
    )
    options = ["--external-id", external_id] if external_id else []
    assert run(["iam-policy", "--trust", "--principal", PRINCIPAL, *options, "--config", str(config)]) == 0
    printed = json.loads(capfd.readouterr().out)
    role = deployed({"TrustedPrincipalArn": PRINCIPAL, "ExternalId": external_id}, account=ACCOUNT)
    assert role["AssumeRolePolicyDocument"] == printed
    assert role["RoleName"] == "bedrock-poller-read"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("TrustedPrincipalArn", "*"),
        ("TrustedPrincipalArn", "arn:aws:iam::111111111111:root"),
        ("TrustedPrincipalArn", "arn:aws:sts::111111111111:assumed-role/r/session"),
        ("ExternalId", "x"),
        ("ExternalId", "with space"),
        ("Kinds", "everything"),
        ("RoleName", "path/name"),
    ],
)
def test_the_template_refuses_what_makes_no_sense(name: str, value: str) -> None:
    """A parameter that would open the role to many, or make none, is refused before anything is made."""
    right = {"TrustedPrincipalArn": PRINCIPAL, "ExternalId": "example"}
    deployed(right, account=ACCOUNT)
    with pytest.raises(ValueError, match=name):
        deployed({**right, name: value}, account=ACCOUNT)


def test_the_template_knows_every_kind() -> None:
    """A new kind of job needs a place in the template; its external ID is shown nowhere."""
    parameters = template()["Parameters"]
    assert set(parameters["Kinds"]["AllowedValues"]) == {"all", *KINDS}
    assert parameters["ExternalId"]["NoEcho"] is True
    assert "Default" not in parameters["ExternalId"]
    assert set(template()["Outputs"]) == {"RoleArn", "AccountId"}
    outputs = yaml.safe_dump(template()["Outputs"])
    assert "ExternalId" not in outputs
