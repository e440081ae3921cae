"""The job kinds that this program knows, declared as data.

To add a kind, write one `Kind(...)`, add it to `KINDS`, and give it a life cycle in
`poller/simulator/lifecycles.py`; then `make docs`. Tests check every declaration against botocore's own
service model, and the whole path from the simulator to an event.

The declarations follow the service models of botocore 1.44 and the API reference of Amazon Bedrock.
"""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING

from poller.errors import ItemError
from poller.kinds.kind import Kind
from poller.model import Outcome

if TYPE_CHECKING:
    from collections.abc import Mapping

ASYNC_INVOKE = Kind(
    name="async_invoke",
    noun="async invocation",
    service="bedrock-runtime",
    list_operation="ListAsyncInvokes",
    list_key="asyncInvokeSummaries",
    list_parameters=MappingProxyType(
        {"maxResults": 1000, "sortBy": "SubmissionTime", "sortOrder": "Ascending"}
    ),
    since_parameter="submitTimeAfter",
    before_parameter="submitTimeBefore",
    get_operation="GetAsyncInvoke",
    get_parameter="invocationArn",
    details_only=frozenset(),
    submit_operation="StartAsyncInvoke",
    submit_model="modelId",
    resource="async-invoke",
    open_statuses=("InProgress",),
    outcomes=MappingProxyType({"Completed": Outcome.SUCCEEDED, "Failed": Outcome.FAILED}),
    # GetAsyncInvoke declares no ResourceNotFoundException. It answers a validation error for an unknown ARN,
    # as it does for everything else that is wrong with a request.
    gone=MappingProxyType({"ResourceNotFoundException": "", "ValidationException": "not found"}),
    arn=("invocationArn",),
    model_id=("modelArn",),
    message=("failureMessage",),
    output_uri=("outputDataConfig", "s3OutputDataConfig", "s3Uri"),
    # The list has every member of the Get, so a Get tells more only if this one is missing.
    end_members=MappingProxyType({Outcome.FAILED: frozenset({"failureMessage"})}),
    polled_by_default=True,
)

MODEL_INVOCATION_JOB = Kind(
    name="model_invocation_job",
    noun="batch inference job",
    service="bedrock",
    list_operation="ListModelInvocationJobs",
    list_key="invocationJobSummaries",
    list_parameters=MappingProxyType(
        {"maxResults": 1000, "sortBy": "CreationTime", "sortOrder": "Ascending"}
    ),
    since_parameter="submitTimeAfter",
    before_parameter="submitTimeBefore",
    get_operation="GetModelInvocationJob",
    get_parameter="jobIdentifier",
    # The model has these in the list too, but the real list leaves them out.
    details_only=frozenset({"clientRequestToken", "message", "vpcConfig"}),
    submit_operation="CreateModelInvocationJob",
    submit_model="modelId",
    stop_operation="StopModelInvocationJob",
    resource="model-invocation-job",
    open_statuses=("Submitted", "Validating", "Scheduled", "InProgress", "Stopping"),
    outcomes=MappingProxyType(
        {
            "Completed": Outcome.SUCCEEDED,
            "PartiallyCompleted": Outcome.PARTIAL,
            "Failed": Outcome.FAILED,
            "Stopped": Outcome.STOPPED,
            "Expired": Outcome.EXPIRED,
        }
    ),
    gone=MappingProxyType({"ResourceNotFoundException": ""}),
    arn=("jobArn",),
    name_path=("jobName",),
    model_id=("modelId",),
    message=("message",),
    input_uri=("inputDataConfig", "s3InputDataConfig", "s3Uri"),
    output_uri=("outputDataConfig", "s3OutputDataConfig", "s3Uri"),
    expires_at=("jobExpirationTime",),
    records=(
        ("totalRecordCount",),
        ("processedRecordCount",),
        ("successRecordCount",),
        ("errorRecordCount",),
    ),
    end_members=MappingProxyType(
        {
            Outcome.FAILED: frozenset({"clientRequestToken", "message"}),
            None: frozenset({"clientRequestToken"}),
        }
    ),
    polled_by_default=True,
    native_events=True,
)

KINDS: Mapping[str, Kind] = MappingProxyType(
    {kind.name: kind for kind in (ASYNC_INVOKE, MODEL_INVOCATION_JOB)}
)
"""Every kind this program knows, by name."""

DEFAULT_KINDS: tuple[str, ...] = tuple(sorted(name for name, kind in KINDS.items() if kind.polled_by_default))
"""The kinds of a target that names none."""


def kinds(*, outcome_by_records: bool) -> Mapping[str, Kind]:
    """Return every kind, with the outcome of its jobs decided as configured."""
    return {name: replace(kind, outcome_by_records=outcome_by_records) for name, kind in KINDS.items()}


def kind_of(arn: str) -> tuple[Kind, str, str]:
    """Return the kind, region and account that a job's ARN names.

    Raises:
        ItemError: It is not the ARN of a job of a known kind.
    """
    for kind in KINDS.values():
        if match := kind.arn_pattern.fullmatch(arn):
            return kind, match["region"], match["account"]
    known = ", ".join(f"…:{kind.resource}/…" for kind in KINDS.values())
    raise ItemError(f"{arn} is not the ARN of a job; known are {known}", reason="arn")
