"""boto3 as the judge: all operations, paginators, error classes, and bodies against botocore's own shapes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest
from botocore.exceptions import ClientError

from tests.simulator.raw import call
from tests.simulator.shapes import violations
from tests.simulator.test_wire import CREATE, START

if TYPE_CHECKING:
    from collections.abc import Callable

    from poller.simulator import Simulator
    from tests.simulator.conftest import Clock, Service

STATUSES = (
    "Submitted",
    "Validating",
    "Scheduled",
    "InProgress",
    "Stopping",
    "Stopped",
    "Completed",
    "PartiallyCompleted",
    "Failed",
    "Expired",
)


def test_an_async_invocation_from_start_to_end(runtime: Any, simulator: Simulator, clock: Clock) -> None:
    """Started through boto3, an invocation is in progress, then ended, in Get and list alike."""
    arn = runtime.start_async_invoke(**START)["invocationArn"]
    open_job = runtime.get_async_invoke(invocationArn=arn)
    assert open_job["status"] == "InProgress"
    assert open_job["submitTime"] == clock.now.replace(microsecond=0)
    assert "endTime" not in open_job
    clock.tick(3600)
    ended = runtime.get_async_invoke(invocationArn=arn)
    assert ended["status"] in {"Completed", "Failed"}
    assert ended["modelArn"] == "arn:aws:bedrock:us-east-1::foundation-model/amazon.nova-reel-v1:1"
    (listed,) = runtime.list_async_invokes()["asyncInvokeSummaries"]
    assert listed == {name: value for name, value in ended.items() if name != "ResponseMetadata"}
    assert simulator.requests.count() == 4


def test_a_batch_job_from_create_to_stop(control: Any, clock: Clock) -> None:
    """Created through boto3, a batch job can be stopped once, and then has no end time."""
    vpc = {"subnetIds": ["subnet-1"], "securityGroupIds": ["sg-1"]}
    arn = control.create_model_invocation_job(
        **CREATE, vpcConfig=vpc, timeoutDurationInHours=48, clientRequestToken="token-1"
    )["jobArn"]
    job = control.get_model_invocation_job(jobIdentifier=arn)
    assert job["status"] == "Submitted"
    assert (job["jobExpirationTime"] - job["submitTime"]).total_seconds() == 48 * 3600
    assert job["modelId"] == "arn:aws:bedrock:us-east-1::foundation-model/amazon.nova-lite-v1:0"
    control.stop_model_invocation_job(jobIdentifier=arn)
    assert control.get_model_invocation_job(jobIdentifier=arn.rpartition("/")[2])["status"] == "Stopping"
    control.stop_model_invocation_job(jobIdentifier=arn)
    clock.tick(61)
    stopped = control.get_model_invocation_job(jobIdentifier=arn)
    assert stopped["status"] == "Stopped"
    assert "endTime" not in stopped
    assert (stopped["vpcConfig"], stopped["clientRequestToken"]) == (vpc, "token-1")
    (listed,) = control.list_model_invocation_jobs()["invocationJobSummaries"]
    assert not {"vpcConfig", "clientRequestToken", "message"} & listed.keys()
    with pytest.raises(control.exceptions.ValidationException, match="Stopped"):
        control.stop_model_invocation_job(jobIdentifier=arn)


def test_why_a_batch_job_failed_is_told_by_get_only(control: Any, simulator: Simulator, clock: Clock) -> None:
    """The list is sparser than the Get: the message of a failed job is missing from it."""
    arn = simulator.submit_batch(script=[("Submitted", 0), ("Failed", 1)], message="no such bucket")
    assert "message" not in control.get_model_invocation_job(jobIdentifier=arn)
    clock.tick(2)
    assert control.get_model_invocation_job(jobIdentifier=arn)["message"] == "no such bucket"
    (listed,) = control.list_model_invocation_jobs(statusEquals="Failed")["invocationJobSummaries"]
    assert "message" not in listed
    assert listed["endTime"] == listed["lastModifiedTime"]


def test_the_paginators_see_every_job_once(runtime: Any, control: Any, simulator: Simulator) -> None:
    """Both of botocore's paginators come to an end with every job, newest first."""
    simulator.populate(history=70)
    shown: list[str] = []
    for client, operation, key, arn in (
        (runtime, "list_async_invokes", "asyncInvokeSummaries", "invocationArn"),
        (control, "list_model_invocation_jobs", "invocationJobSummaries", "jobArn"),
    ):
        pages = client.get_paginator(operation).paginate(PaginationConfig={"PageSize": 7})
        items = [item for page in pages for item in page[key]]
        assert items == sorted(items, key=lambda item: item["submitTime"], reverse=True)
        shown += [item[arn] for item in items]
    assert sorted(shown) == sorted(state.arn for state in simulator.jobs())


def test_filters_are_applied(control: Any, simulator: Simulator, clock: Clock) -> None:
    """Times (exclusive), status, part of a name and order work together."""
    for name in ("nightly-a", "weekly", "nightly-b"):
        simulator.submit_batch(name=name, script=[("InProgress", 0)])
        clock.tick(60)

    def names(**filters: Any) -> list[str]:
        page = control.list_model_invocation_jobs(**filters)
        return [job["jobName"] for job in page["invocationJobSummaries"]]

    times = [job.submitted_at for job in simulator.jobs()]
    assert names(nameContains="night") == ["nightly-b", "nightly-a"]
    assert names(sortOrder="Ascending", sortBy="CreationTime") == ["nightly-a", "weekly", "nightly-b"]
    assert names(submitTimeAfter=times[0]) == ["nightly-b", "weekly"]
    assert names(submitTimeAfter=times[0], submitTimeBefore=times[2]) == ["weekly"]
    assert names(statusEquals="Completed") == []
    assert simulator.requests.count("ListModelInvocationJobs", "us-east-1") == 5
    assert [entry.parameters for entry in simulator.requests][2] == {"submitTimeAfter": times[0]}


def test_jobs_belong_to_an_account_and_a_region(
    simulator: Simulator, service: Service, clients: Callable[..., Any]
) -> None:
    """A job is seen only with the credentials and the region it was made with."""
    arn = clients("bedrock-runtime", "us-gov-west-1").start_async_invoke(**START)["invocationArn"]
    assert arn.startswith("arn:aws-us-gov:bedrock:us-gov-west-1:123456789012:async-invoke/")
    other = service.client(
        "bedrock-runtime", "us-gov-west-1", aws_access_key_id="AKIDOTHER", aws_secret_access_key="x"
    )
    for stranger in (clients("bedrock-runtime"), other):
        assert stranger.list_async_invokes()["asyncInvokeSummaries"] == []
        with pytest.raises(stranger.exceptions.ValidationException):
            stranger.get_async_invoke(invocationArn=arn)
    assert ":999999999999:" in other.start_async_invoke(**START)["invocationArn"]
    assert len(simulator.jobs()) == 2
    assert len(simulator.jobs(account="999999999999")) == 1


def test_an_unknown_job_is_reported_as_its_service_does(runtime: Any, control: Any) -> None:
    """The async Get answers ValidationException, as its model has no NotFound; the batch Get answers 404."""
    prefix = "arn:aws:bedrock:us-east-1:123456789012"
    with pytest.raises(runtime.exceptions.ValidationException):
        runtime.get_async_invoke(invocationArn=f"{prefix}:async-invoke/abcdefghwxyz")
    for operation in (control.get_model_invocation_job, control.stop_model_invocation_job):
        with pytest.raises(control.exceptions.ResourceNotFoundException) as caught:
            operation(jobIdentifier=f"{prefix}:model-invocation-job/abcdefghwxyz")
        assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 404
        assert caught.value.response["Error"]["Message"] == "The provided batch inference job was not found."
    with pytest.raises(control.exceptions.ResourceNotFoundException):
        control.get_model_invocation_job(jobIdentifier="abcdefghwxyz")


def test_a_client_request_token_makes_a_request_happen_once(
    runtime: Any, control: Any, simulator: Simulator
) -> None:
    """The same token with the same request gives the same ARN, with a different one a ConflictException."""
    for client, make, request, change in (
        (runtime, runtime.start_async_invoke, START, {"modelId": "luma.ray-v2:0"}),
        (control, control.create_model_invocation_job, CREATE, {"jobName": "another"}),
    ):
        first = make(**request, clientRequestToken="abc-1")
        again = make(**request, clientRequestToken="abc-1")
        assert {**first, "ResponseMetadata": None} == {**again, "ResponseMetadata": None}
        with pytest.raises(client.exceptions.ConflictException):
            make(**{**request, **change}, clientRequestToken="abc-1")
    assert len(simulator.jobs()) == 2


def test_what_only_the_server_checks_reaches_the_caller_as_a_validation_exception(
    runtime: Any, control: Any
) -> None:
    """boto3 sends maxResults=1001 and unknown statuses as they are; the service refuses them."""
    with pytest.raises(runtime.exceptions.ValidationException):
        runtime.list_async_invokes(maxResults=1001)
    with pytest.raises(ClientError) as caught:
        control.list_model_invocation_jobs(statusEquals="Sleeping")
    assert caught.value.response["Error"]["Code"] == "ValidationException"


def test_an_inference_profile_comes_back_as_its_own_arn(control: Any) -> None:
    """A cross-region model id is shown as the account's inference profile, a full ARN as it was given."""
    arn = "arn:aws:bedrock:us-east-1::foundation-model/amazon.nova-pro-v1:0"
    for given, shown in (
        (
            "us.amazon.nova-lite-v1:0",
            "arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.amazon.nova-lite-v1:0",
        ),
        (arn, arn),
    ):
        job = control.create_model_invocation_job(**{**CREATE, "modelId": given})["jobArn"]
        assert control.get_model_invocation_job(jobIdentifier=job)["modelId"] == shown


def test_every_body_conforms_to_the_model(simulator: Simulator, clock: Clock) -> None:
    """Lists and Gets of jobs in every state have known members only, all required ones, and wire formats."""
    simulator.populate(jobs=60, history=60, spread=300)
    for status in ("InProgress", "Completed", "Failed"):
        simulator.submit_async(script=[(status, 0)])
    for status in STATUSES:
        simulator.submit_batch(script=[(status, 0)], timeout_hours=168)
    clock.tick(140)
    for service, operation, path, key, get in (
        ("bedrock-runtime", "ListAsyncInvokes", "/async-invoke", "invocationArn", "GetAsyncInvoke"),
        ("bedrock", "ListModelInvocationJobs", "/model-invocation-jobs", "jobArn", "GetModelInvocationJob"),
    ):
        _, _, page = call(simulator, "GET", path, "maxResults=1000")
        assert violations(service, operation, page) == []
        (items,) = page.values()
        for item in items:
            _, _, details = call(simulator, "GET", f"{path.rstrip('s')}/{quote(item[key], safe='')}")
            assert violations(service, get, details) == []
    assert {state.status for state in simulator.jobs()} == set(STATUSES)
    for service, operation, path, body in (
        ("bedrock-runtime", "StartAsyncInvoke", "/async-invoke", START),
        ("bedrock", "CreateModelInvocationJob", "/model-invocation-job", CREATE),
    ):
        assert violations(service, operation, call(simulator, "POST", path, body=body)[2]) == []
