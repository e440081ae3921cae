"""What a response shows of a job.

The three views differ as the real ones do: the batch list leaves out what only the Get tells (message,
client request token, VPC), a stopped job has no end time, counts may be missing. Times are milliseconds
here; `wire` writes them in the format of the service's model.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from poller.simulator.lifecycles import DEFAULT_TIMEOUT_HOURS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from poller.simulator.jobs import SimJob

_HOUR = 3_600_000
_ECHOED = ("roleArn", "inputDataConfig", "outputDataConfig", "timeoutDurationInHours", "modelInvocationType")


def async_invocation(job: SimJob, now: int) -> dict[str, Any]:
    """An asynchronous invocation, alike in the list and in the Get."""
    entry = job.entry(now)
    members: dict[str, Any] = {
        "invocationArn": job.arn,
        "modelArn": job.model,
        "clientRequestToken": job.token,
        "status": entry.status,
        "failureMessage": job.told(now),
        "submitTime": job.submitted,
        "lastModifiedTime": job.modified(now),
        "outputDataConfig": _request(job)["outputDataConfig"],
    }
    if job.terminal(entry.status):
        members["endTime"] = entry.at
    return members


def batch_summary(job: SimJob, now: int) -> dict[str, Any]:
    """A batch job as `ListModelInvocationJobs` shows it."""
    entry = job.entry(now)
    request = _request(job)
    members: dict[str, Any] = {
        "jobArn": job.arn,
        "jobName": job.name,
        "modelId": job.model,
        "status": entry.status,
        "submitTime": job.submitted,
        "lastModifiedTime": job.modified(now),
        **{name: request[name] for name in _ECHOED if name in request},
    }
    hours = members.setdefault("timeoutDurationInHours", DEFAULT_TIMEOUT_HOURS)
    members["jobExpirationTime"] = job.submitted + hours * _HOUR
    if job.terminal(entry.status) and entry.status != "Stopped":
        members["endTime"] = entry.at
    counts = job.counts(now)
    if counts is not None:
        members["totalRecordCount"] = counts.total
        members["processedRecordCount"] = counts.processed
        members["successRecordCount"] = counts.succeeded
        members["errorRecordCount"] = counts.failed
    return members


def batch_details(job: SimJob, now: int) -> dict[str, Any]:
    """A batch job as `GetModelInvocationJob` shows it."""
    members = batch_summary(job, now)
    members["clientRequestToken"] = job.token
    members["vpcConfig"] = _request(job).get("vpcConfig")
    members["message"] = job.told(now)
    return members


def _request(job: SimJob) -> Mapping[str, Any]:
    if job.request is not None:
        return job.request
    bucket = f"s3://bedrock-{job.account}-{job.region}"
    if job.name is None:
        return {"outputDataConfig": {"s3OutputDataConfig": {"s3Uri": f"{bucket}/videos"}}}
    return {
        "roleArn": f"arn:{job.arn.split(':', 2)[1]}:iam::{job.account}:role/bedrock-batch",
        "inputDataConfig": {
            "s3InputDataConfig": {"s3InputFormat": "JSONL", "s3Uri": f"{bucket}/in/{job.name}.jsonl"}
        },
        "outputDataConfig": {"s3OutputDataConfig": {"s3Uri": f"{bucket}/out/"}},
    }
