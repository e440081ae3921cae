"""The template of the queue of wake-ups: held against CloudFormation's schemas, deployed, and fed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from moto import mock_aws

from poller.wake_ups.messages import AboutJob, AboutObject, subjects
from tests.wake_ups.samples import JOB, created, native

if TYPE_CHECKING:
    from collections.abc import Callable

# moto makes the queue, but knows no policy of it; cfn-lint has checked that.
pytestmark = pytest.mark.filterwarnings("ignore:Tried to parse AWS..SQS..QueuePolicy")

TEMPLATE = Path(__file__).parents[2] / "deploy" / "cloudformation" / "wake-ups.yaml"
REGION = "us-east-1"


def _cfn_lint(template: Path) -> subprocess.CompletedProcess[str]:
    command = Path(sys.executable).with_name("cfn-lint")
    return subprocess.run(
        [str(command), "--include-checks", "I", "--regions", REGION, "--", str(template)],
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_template_is_good_cloudformation(said: Callable[[str], None]) -> None:
    """By cfn-lint, with AWS' own schemas of the resources."""
    done = _cfn_lint(TEMPLATE)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    said("no finding")


@pytest.mark.parametrize(
    ("right", "wrong"), [("!Ref Queue]", "!Ref Queues]"), ("VisibilityTimeout", "Visibility")]
)
def test_a_broken_template_would_be_found(tmp_path: Path, right: str, wrong: str) -> None:
    """A check that finds nothing has to be one that could."""
    broken = tmp_path / "broken.yaml"
    broken.write_text(TEMPLATE.read_text().replace(right, wrong, 1))
    assert _cfn_lint(broken).returncode != 0


def _deploy(**parameters: str) -> tuple[str, Any]:
    """Deploy it, and return the queue's URL and a client."""
    formation = boto3.client("cloudformation", region_name=REGION)
    formation.create_stack(
        StackName="wake-ups",
        TemplateBody=TEMPLATE.read_text(),
        Parameters=[{"ParameterKey": key, "ParameterValue": value} for key, value in parameters.items()],
    )
    (stack,) = formation.describe_stacks(StackName="wake-ups")["Stacks"]
    outputs = {each["OutputKey"]: each["OutputValue"] for each in stack["Outputs"]}
    return outputs["QueueUrl"], boto3.client("sqs", region_name=REGION)


@pytest.fixture(autouse=True)
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    """Credentials for moto."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")


def _feed(*messages: dict[str, Any]) -> None:
    entries = [
        {"Source": each["source"], "DetailType": each["detail-type"], "Detail": json.dumps(each["detail"])}
        for each in messages
    ]
    boto3.client("events", region_name=REGION).put_events(Entries=entries)


def test_events_arrive_in_the_queue_and_are_understood() -> None:
    """Bedrock's own, and objects of the bucket; what else is on the bus stays there."""
    with mock_aws():
        url, sqs = _deploy(OutputBucket="a-bucket", OutputPrefix="out/")
        other = native()
        other["detail-type"] = "Something Else"
        _feed(native(), created("out/x"), created("elsewhere/x"), created("out/x", "b-bucket"), other)
        found = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages", [])
        about = {subject for each in found for subject in subjects(each["Body"])}
        assert about == {AboutJob(JOB, "Completed"), AboutObject("a-bucket", "out/x", region="us-east-1")}


def test_without_a_bucket_there_is_no_rule_for_objects() -> None:
    """The queue hears Bedrock's own events alone."""
    with mock_aws():
        url, sqs = _deploy()
        _feed(created("out/x"))
        assert sqs.receive_message(QueueUrl=url).get("Messages", []) == []
        rules = boto3.client("events", region_name=REGION).list_rules()["Rules"]
        assert len(rules) == 1
        attributes = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
        assert json.loads(attributes["RedrivePolicy"])["maxReceiveCount"] in {100, "100"}
