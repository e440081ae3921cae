"""awscli as the judge: it encodes paths and prints what it parsed in its own way."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.simulator.test_wire import CREATE, START

if TYPE_CHECKING:
    from poller.simulator import Simulator
    from tests.simulator.conftest import Clock, Service

AWS = Path(sys.executable).parent / "aws"

pytestmark = pytest.mark.skipif(not AWS.exists(), reason="awscli is not installed beside this Python")


def aws(service: Service, *arguments: str, fails: bool = False) -> Any:
    """Run awscli the way its users do, with nothing but environment variables."""
    done = subprocess.run(
        [AWS, *arguments],
        env={
            "PATH": os.environ["PATH"],
            "AWS_ACCESS_KEY_ID": "AKIDCLI",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_DEFAULT_REGION": "eu-central-1",
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "AWS_ENDPOINT_URL_BEDROCK": service.url,
            "AWS_ENDPOINT_URL_BEDROCK_RUNTIME": service.url,
            "AWS_MAX_ATTEMPTS": "1",
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    if fails:
        assert done.returncode != 0
        return done.stderr
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout) if done.stdout else None


def test_awscli_follows_an_async_invocation(simulator: Simulator, service: Service, clock: Clock) -> None:
    """Start, get and list work with endpoints from the environment, over several pages."""
    document, config = json.dumps(START["modelInput"]), json.dumps(START["outputDataConfig"])
    start = ("--model-id", START["modelId"], "--model-input", document, "--output-data-config", config)
    arn = aws(service, "bedrock-runtime", "start-async-invoke", *start)["invocationArn"]
    assert arn.startswith("arn:aws:bedrock:eu-central-1:123456789012:async-invoke/")
    for _ in range(3):
        clock.tick(1)
        simulator.submit_async(region="eu-central-1")
    job = aws(service, "bedrock-runtime", "get-async-invoke", "--invocation-arn", arn)
    assert (job["status"], job["submitTime"]) == ("InProgress", "2026-11-20T10:00:00Z")
    listed = aws(service, "bedrock-runtime", "list-async-invokes", "--page-size", "1")
    assert [item["invocationArn"] for item in listed["asyncInvokeSummaries"]][-1] == arn
    assert simulator.requests.count("ListAsyncInvokes") == 4


@pytest.mark.long
def test_awscli_follows_a_batch_job(simulator: Simulator, service: Service) -> None:
    """Create, list, get and stop work, and a refusal is printed with its code."""
    options = (
        ("--job-name", CREATE["jobName"]),
        ("--role-arn", CREATE["roleArn"]),
        ("--model-id", CREATE["modelId"]),
        ("--input-data-config", json.dumps(CREATE["inputDataConfig"])),
        ("--output-data-config", json.dumps(CREATE["outputDataConfig"])),
    )
    created = aws(service, "bedrock", "create-model-invocation-job", *sum(options, ()))
    identifier = ("--job-identifier", created["jobArn"])
    listed = aws(service, "bedrock", "list-model-invocation-jobs", "--status-equals", "Submitted")
    assert [job["jobName"] for job in listed["invocationJobSummaries"]] == ["nightly-1"]
    assert aws(service, "bedrock", "stop-model-invocation-job", *identifier) is None
    assert aws(service, "bedrock", "get-model-invocation-job", *identifier)["status"] == "Stopping"
    simulator.force(created["jobArn"], "Stopped")
    refusal = aws(service, "bedrock", "stop-model-invocation-job", *identifier, fails=True)
    assert "(ValidationException)" in refusal
