"""The declared kinds against botocore's service models, and how an item becomes a `Job`."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from email.utils import format_datetime
from typing import TYPE_CHECKING, Any

import botocore.session
import pytest
from botocore.utils import parse_timestamp
from hypothesis import given
from hypothesis import strategies as st

from poller.errors import ItemError
from poller.kinds import (
    ASYNC_INVOKE,
    CUT,
    DEFAULT_KINDS,
    KINDS,
    MODEL_INVOCATION_JOB,
    Kind,
    by_records,
    is_job_id,
    kind_of,
    kinds,
)
from poller.model import Details, Outcome, Records
from poller.plan import PAGE_SIZE
from poller.times import parse_time

if TYPE_CHECKING:
    from collections.abc import Iterator

    from poller.kinds import Path

ASYNC_ARN = "arn:aws:bedrock:us-east-1:123456789012:async-invoke/abcdefghwxyz"
BATCH_ARN = "arn:aws-us-gov:bedrock:us-gov-west-1:123456789012:model-invocation-job/abcdefgh0123"
every_kind = pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)


class Model:
    """What botocore's model says of a kind's two operations."""

    def __init__(self, kind: Kind) -> None:
        service = botocore.session.Session().get_service_model(kind.service)
        self.service = service
        self.list = service.operation_model(kind.list_operation)
        self.get = service.operation_model(kind.get_operation)
        self.page: Any = self.list.output_shape
        self.item: Any = self.page.members[kind.list_key].member
        self.detail: Any = self.get.output_shape


def shape_at(shape: Any, path: Path) -> Any:
    """The shape at a path, or None if the path leads nowhere."""
    for name in path:
        if shape is None or shape.type_name != "structure":
            return None
        shape = shape.members.get(name)
    return shape


PATH_TYPES = {
    **{name: {"timestamp"} for name in ("submitted_at", "modified_at", "ended_at", "expires_at")},
    "records": {"integer", "long"},
}
"""What a declared path leads to, where that is not a text."""


def declared_paths(kind: Kind) -> Iterator[tuple[str, Path]]:
    """Every declared path, with the name of its attribute."""
    for name in (
        *("arn", "status", "model_id", "message", "client_request_token", "output_uri"),
        *("name_path", "input_uri", "submitted_at", "modified_at", "ended_at", "expires_at"),
    ):
        if (path := getattr(kind, name)) is not None:
            yield name, path
    for path in kind.records or ():
        yield "records", path


def arn_of(kind: Kind) -> str:
    """The ARN of a job."""
    return kind.make_arn("abcdefghwxyz", account="123456789012", region="us-east-1")


@every_kind
def test_the_operations_and_the_list_key_exist(kind: Kind) -> None:
    """Both operations are in the service's model, and the list's items stand under the declared key."""
    model = Model(kind)
    assert {kind.list_operation, kind.get_operation} <= set(model.service.operation_names)
    assert model.page.members[kind.list_key].type_name == "list"
    assert model.page.members["nextToken"].type_name == "string"
    assert model.list.input_shape.members["nextToken"].type_name == "string"
    assert set(model.page.members) == {kind.list_key, "nextToken"}


@every_kind
def test_every_declared_path_exists_in_get_responses_and_list_items(kind: Kind) -> None:
    """Texts are strings, times are timestamps and counts are integers; the list may lack declared details."""
    model = Model(kind)
    for shape in (model.detail, model.item):
        for name, path in declared_paths(kind):
            if shape is model.item and path[0] in kind.details_only and path[0] not in shape.members:
                continue
            assert shape_at(shape, path).type_name in PATH_TYPES.get(name, {"string"}), name


@every_kind
def test_details_that_only_get_shows_are_members_of_its_response(kind: Kind) -> None:
    """What identifies a job, tells its status, or orders the list cannot be among them."""
    assert kind.details_only <= set(Model(kind).detail.members)
    assert not kind.details_only & {kind.arn[0], kind.status[0], kind.submitted_at[0]}


@every_kind
def test_the_members_of_an_ending_are_texts_that_a_get_can_bring(kind: Kind) -> None:
    """Each is in the response of Get, and the outcomes are those that the kind declares."""
    members = Model(kind).detail.members
    for outcome, names in kind.end_members.items():
        assert outcome is None or outcome in kind.outcomes.values()
        assert {members[name].type_name for name in names} == {"string"}


@pytest.mark.parametrize(
    ("status", "more", "details"),
    [
        ("InProgress", {}, Details.COMPLETE),
        ("Completed", {}, Details.COMPLETE),
        ("Failed", {}, Details.NOT_REQUESTED),
        ("Failed", {"failureMessage": None}, Details.NOT_REQUESTED),
        ("Failed", {"failureMessage": "why"}, Details.COMPLETE),
        ("Evicted", {"endTime": "2026-11-20T09:00:00Z"}, Details.COMPLETE),
    ],
)
def test_an_invocation_lacks_nothing_but_the_reason_of_its_failure(
    status: str, more: dict[str, Any], details: Details
) -> None:
    """Its list has all that its Get has, so a Get is needed only for what is missing there."""
    item = {"invocationArn": ASYNC_ARN, "status": status, **more}
    assert ASYNC_INVOKE.observe(item).details is details


@pytest.mark.parametrize(
    ("status", "more", "details"),
    [
        ("InProgress", {"clientRequestToken": "a"}, Details.NOT_REQUESTED),
        ("Completed", {}, Details.NOT_REQUESTED),
        ("Stopped", {"clientRequestToken": "a"}, Details.COMPLETE),
        ("Failed", {"clientRequestToken": "a"}, Details.NOT_REQUESTED),
        ("Failed", {"clientRequestToken": "a", "message": "why"}, Details.COMPLETE),
    ],
)
def test_a_batch_job_lacks_what_its_list_leaves_out(
    status: str, more: dict[str, Any], details: Details
) -> None:
    """Its token always, and its message if it failed; an open job lacks them until it ends."""
    item = {"jobArn": BATCH_ARN, "status": status, **more}
    assert MODEL_INVOCATION_JOB.observe(item).details is details


@every_kind
def test_the_arn_is_required_and_of_the_declared_resource_type(kind: Kind) -> None:
    """List items and Get responses must have the ARN, and the model's pattern for it names the resource."""
    model = Model(kind)
    for shape in (model.item, model.detail):
        assert kind.arn[-1] in shape.required_members
    pattern = shape_at(model.item, kind.arn).metadata["pattern"]
    assert re.search(pattern, arn_of(kind))
    job = kind.observe({kind.arn[0]: arn_of(kind), "status": "X"})
    assert (job.id, job.account_id, job.region) == ("abcdefghwxyz", "123456789012", "us-east-1")
    assert f":{kind.resource}/" in arn_of(kind)


@every_kind
def test_the_operations_that_submit_and_stop_are_in_the_model(kind: Kind) -> None:
    """Submitting needs a model and answers the ARN; what stops a job takes the same parameter as Get."""
    service = Model(kind).service
    submit = service.operation_model(kind.submit_operation)
    assert kind.submit_model in submit.input_shape.required_members
    assert submit.output_shape.required_members == [kind.arn[0]]
    if kind.stop_operation is not None:
        stop = service.operation_model(kind.stop_operation)
        assert stop.input_shape.required_members == [kind.get_parameter]
    assert set(kind.operations) <= set(service.operation_names)


@every_kind
def test_the_parameters_are_members_that_take_the_declared_values(kind: Kind) -> None:
    """What is sent with every list call and every Get is in the input's model, with allowed values."""
    model = Model(kind)
    members = model.list.input_shape.members
    assert members[kind.since_parameter].type_name == "timestamp"
    assert members[kind.before_parameter].type_name == "timestamp"
    for name, value in kind.list_parameters.items():
        shape = members[name]
        if isinstance(value, str):
            assert value in shape.enum
        else:
            assert shape.metadata["min"] <= value <= shape.metadata["max"]
    assert kind.list_parameters["maxResults"] == members["maxResults"].metadata["max"] == PAGE_SIZE
    assert kind.list_parameters["sortOrder"] == "Ascending"
    assert model.get.input_shape.required_members == [kind.get_parameter]
    pattern = model.get.input_shape.members[kind.get_parameter].metadata["pattern"]
    assert re.search(pattern, arn_of(kind))


@every_kind
def test_the_declared_statuses_are_the_model_s_own(kind: Kind) -> None:
    """Neither more nor fewer statuses are declared than the model has; none is both open and an end."""
    model = Model(kind)
    assert set(shape_at(model.item, kind.status).enum) == kind.statuses
    assert set(shape_at(model.detail, kind.status).enum) == kind.statuses
    assert not set(kind.open_statuses) & set(kind.outcomes)
    assert len(set(kind.open_statuses)) == len(kind.open_statuses)
    ranks = [kind.ranks[status] for status in kind.open_statuses]
    assert ranks == sorted(ranks)
    assert max(ranks) < min(kind.ranks[status] for status in kind.outcomes)


@every_kind
def test_the_codes_for_gone_are_errors_of_the_get_operation(kind: Kind) -> None:
    """A job is believed gone only by an error that Get declares; NotFound wherever it declares that."""
    declared = {shape.name for shape in Model(kind).get.error_shapes}
    assert kind.gone.keys() & declared
    if "ResourceNotFoundException" in declared:
        assert kind.gone.keys() == {"ResourceNotFoundException"}
    assert not kind.gone.keys() & {"AccessDeniedException", "ThrottlingException", "InternalServerException"}


@every_kind
def test_a_validation_error_alone_says_nothing_about_a_job(kind: Kind) -> None:
    """Only one that speaks of something not found does, where Get has no error for that (fault 75)."""
    assert not kind.is_gone("ValidationException", "1 validation error detected: a header is malformed")
    assert not kind.is_gone("InternalServerException", "not found")
    for words in ("The provided job was not found.", "No such job."):
        assert kind.is_gone("ResourceNotFoundException", words)


@every_kind
def test_the_actions_are_named_after_the_operations(kind: Kind) -> None:
    """Requests are signed as `bedrock`, which is the prefix of the IAM actions as well."""
    service = Model(kind).service
    assert service.signing_name == "bedrock"
    assert kind.list_action == f"bedrock:{kind.list_operation}"
    assert kind.get_action == f"bedrock:{kind.get_operation}"
    assert kind.list_operation.startswith("List")
    assert kind.get_operation.startswith("Get")
    assert service.resolved_protocol == "rest-json"


def test_the_kinds_are_found_by_their_names() -> None:
    """The registry's keys are the names, which appear in events, metrics and configurations."""
    assert set(KINDS) >= {"async_invoke", "model_invocation_job"}
    assert all(name == kind.name for name, kind in KINDS.items())
    for attribute in ("name", "resource", "list_operation"):
        assert len({getattr(kind, attribute) for kind in KINDS.values()}) == len(KINDS)


def test_a_job_s_id_is_twelve_small_letters_and_digits() -> None:
    """Which is how a command tells an id from the end of an ARN."""
    assert is_job_id("abcdefgh0123")
    assert not any(map(is_job_id, ("", "abcdefgh012", "ABCDEFGH0123", "abcdefgh0123\n")))


def test_how_long_a_job_may_run_is_its_kind_s() -> None:
    """After that, and a day without a change, a job in an unknown status counts as ended."""
    now = datetime(2026, 11, 20, tzinfo=UTC)
    item = {"jobArn": BATCH_ARN, "status": "Evicted", "submitTime": "2026-11-17T00:00:00Z"}
    assert not MODEL_INVOCATION_JOB.observe(item, now).terminal
    assert replace(MODEL_INVOCATION_JOB, longest_run=timedelta(days=1)).observe(item, now).terminal


def test_a_new_kind_is_not_polled_by_default() -> None:
    """An upgrade must not call operations that no granted role allows."""
    assert DEFAULT_KINDS == ("async_invoke", "model_invocation_job")


def test_an_arn_may_name_the_model_before_the_id() -> None:
    """The pattern follows from what the declaration says of the ARN's end."""
    kind = replace(MODEL_INVOCATION_JOB, resource="tuning-job", identifier="{model}/{id}")
    arn = kind.make_arn("abcdefghwxyz", account="1" * 12, region="us-east-1", model="amazon.nova-v1:0")
    assert arn == "arn:aws:bedrock:us-east-1:111111111111:tuning-job/amazon.nova-v1:0/abcdefghwxyz"
    assert kind.observe({"jobArn": arn, "status": "Completed"}).id == "abcdefghwxyz"
    with pytest.raises(ItemError):
        kind.observe({"jobArn": arn.replace("/amazon.nova-v1:0", ""), "status": "Completed"})


def test_a_status_can_end_a_job_without_an_outcome() -> None:
    """Such as one that only says that an ended job is being deleted."""
    kind = replace(MODEL_INVOCATION_JOB, outcomes={"Completed": Outcome.SUCCEEDED, "Deleting": None})
    job = kind.observe(batch_item(status="Deleting"))
    assert (job.terminal, job.outcome) == (True, None)


def test_a_declaration_may_lack_times() -> None:
    """A list that shows no time of modification or end gives jobs without them."""
    kind = replace(MODEL_INVOCATION_JOB, modified_at=None, ended_at=None, expires_at=None)
    job = kind.observe(batch_item())
    assert (job.modified_at, job.ended_at) == (None, None)
    assert job.submitted_at is not None


@every_kind
def test_an_arn_tells_its_kind_region_and_account(kind: Kind) -> None:
    """From the ARN alone it is known which service to ask, where."""
    where = {"account": "123456789012", "region": "us-gov-west-1", "partition": "aws-us-gov"}
    arn = kind.make_arn("abcdefghwxyz", **where)
    assert kind_of(arn) == (kind, "us-gov-west-1", "123456789012")


@pytest.mark.parametrize(
    "arn", ["", "abcdefghwxyz", "arn:aws:s3:::bucket", ASYNC_ARN + "\n", ASYNC_ARN.replace("async", "sync")]
)
def test_what_is_no_job_s_arn_is_an_error_that_names_the_known_kinds(arn: str) -> None:
    """The message shows what would be one."""
    with pytest.raises(ItemError, match=r"async-invoke.*model-invocation-job") as caught:
        kind_of(arn)
    assert caught.value.reason == "arn"


def batch_item(**members: Any) -> dict[str, Any]:
    """A list item of a batch job with everything in it."""
    return {
        "jobArn": BATCH_ARN,
        "jobName": "nightly",
        "modelId": "arn:aws:bedrock:us-gov-west-1::foundation-model/m",
        "clientRequestToken": "token-1",
        "status": "Completed",
        "message": "all well",
        "submitTime": "2026-11-20T10:00:00.123Z",
        "lastModifiedTime": 1795168801.5,
        "endTime": "Fri, 20 Nov 2026 10:00:02 GMT",
        "inputDataConfig": {"s3InputDataConfig": {"s3Uri": "s3://in/"}},
        "outputDataConfig": {"s3OutputDataConfig": {"s3Uri": "s3://out/"}},
        "totalRecordCount": 100,
        "processedRecordCount": 90,
        "successRecordCount": 80,
        "errorRecordCount": 10,
        **members,
    }


def test_every_attribute_is_read_from_its_place() -> None:
    """A whole list item becomes a `Job` with every attribute, and the item itself as `raw`."""
    item = batch_item()
    job = MODEL_INVOCATION_JOB.observe(item)
    assert job.arn == BATCH_ARN
    assert (job.id, job.kind) == ("abcdefgh0123", "model_invocation_job")
    assert (job.account_id, job.region) == ("123456789012", "us-gov-west-1")
    assert (job.status, job.terminal, job.outcome) == ("Completed", True, Outcome.SUCCEEDED)
    assert job.name == "nightly"
    assert job.model_id == "arn:aws:bedrock:us-gov-west-1::foundation-model/m"
    assert (job.client_request_token, job.message) == ("token-1", "all well")
    assert job.submitted_at == datetime(2026, 11, 20, 10, 0, 0, 123_000, tzinfo=UTC)
    assert job.modified_at == datetime(2026, 11, 20, 10, 0, 1, 500_000, tzinfo=UTC)
    assert job.ended_at == datetime(2026, 11, 20, 10, 0, 2, tzinfo=UTC)
    assert (job.input_uri, job.output_uri) == ("s3://in/", "s3://out/")
    assert job.records == Records(total=100, processed=90, succeeded=80, failed=10)
    assert job.raw is item


def test_a_kind_without_names_and_counts_has_none() -> None:
    """An async invocation has no name, input or record counts, whatever its item holds."""
    job = ASYNC_INVOKE.observe(
        {"invocationArn": ASYNC_ARN, "status": "InProgress", "jobName": "x", "totalRecordCount": 5}
    )
    assert (job.name, job.input_uri, job.records) == (None, None, None)
    assert (job.terminal, job.outcome, job.rank) == (False, None, 0)
    assert job.submitted_at is None


def test_unknown_statuses_fields_and_union_members_pass_verbatim() -> None:
    """What nobody declared survives in `raw` and `status`, and is neither open-ended nor an outcome."""
    odd = {"somethingNew": {"deep": [1, None, "x"]}}
    item = batch_item(status="Archiving", futureField="\ud800\x00", outputDataConfig=odd, endTime=None)
    job = MODEL_INVOCATION_JOB.observe(item)
    assert (job.status, job.rank, job.terminal, job.outcome) == ("Archiving", None, False, None)
    assert job.output_uri is None
    assert job.raw["outputDataConfig"] == odd
    assert job.raw["futureField"] == "\ud800\x00"


def test_attributes_are_texts_that_a_database_gives_back_unchanged() -> None:
    """Lone surrogates and NUL are replaced, or each poll would take a stored status for another one."""
    text = "Odd\ud800\x00\r\n\ud83d\ude80"
    job = MODEL_INVOCATION_JOB.observe(batch_item(status=text, jobName=text))
    assert job.status == job.name == "Odd\N{REPLACEMENT CHARACTER}\N{REPLACEMENT CHARACTER}\r\n\N{ROCKET}"
    assert job.status.encode().decode() == job.status
    assert job.raw["status"] == text


@pytest.mark.parametrize(
    ("item", "reason"),
    [
        (None, "type"),
        ("text", "type"),
        ([], "type"),
        ({}, "arn"),
        ({"jobArn": 7, "status": "Completed"}, "arn"),
        ({"jobArn": "", "status": "Completed"}, "arn"),
        ({"jobArn": BATCH_ARN + "\n", "status": "Completed"}, "arn"),
        ({"jobArn": ASYNC_ARN, "status": "Completed"}, "arn"),
        ({"jobArn": BATCH_ARN.replace("123456789012", "12"), "status": "Completed"}, "arn"),
        ({"jobArn": BATCH_ARN}, "status"),
        ({"jobArn": BATCH_ARN, "status": ""}, "status"),
        ({"jobArn": BATCH_ARN, "status": {"code": 1}}, "status"),
    ],
)
def test_an_item_without_a_usable_arn_or_status_is_an_item_error(item: Any, reason: str) -> None:
    """The error says which of a closed set of reasons it is, and names the job where that is known."""
    with pytest.raises(ItemError) as caught:
        MODEL_INVOCATION_JOB.observe(item)
    assert caught.value.reason == reason
    assert caught.value.arn == (BATCH_ARN if reason == "status" else None)


def test_values_of_unexpected_types_cost_only_their_attribute() -> None:
    """A name that is a number, a time that is a list and a config that is a text become None."""
    job = MODEL_INVOCATION_JOB.observe(
        batch_item(jobName=7, submitTime=[], lastModifiedTime=True, endTime="soon", inputDataConfig="s3://x")
    )
    assert (job.name, job.submitted_at, job.modified_at, job.ended_at, job.input_uri) == (None,) * 5
    assert job.status == "Completed"


@pytest.mark.parametrize("count", [-1, 2**63, 10**400, True, 1.5, "7", None, []])
def test_a_count_that_no_database_takes_is_none(count: Any) -> None:
    """Counts are integers from 0 to 64 bits; anything else is left to `raw`."""
    assert MODEL_INVOCATION_JOB.observe(batch_item(totalRecordCount=count)).records == Records(
        None, 90, 80, 10
    )


def test_the_identity_of_an_item_is_read_without_judging_it() -> None:
    """Both are texts that a database can be asked for, or None; the rest of the item is not looked at."""
    assert MODEL_INVOCATION_JOB.peek_identity(batch_item()) == (BATCH_ARN, "Completed")
    assert MODEL_INVOCATION_JOB.peek_identity({"jobArn": "odd\ud800"}) == (
        "odd\N{REPLACEMENT CHARACTER}",
        None,
    )
    assert MODEL_INVOCATION_JOB.peek_identity({"jobArn": 7, "status": []}) == (None, None)
    for item in (None, "text", 7):
        assert MODEL_INVOCATION_JOB.peek_identity(item) == (None, None)


def test_the_submission_of_an_item_can_be_read_alone() -> None:
    """Where the item has one."""
    item = batch_item()
    assert MODEL_INVOCATION_JOB.submission(item) == MODEL_INVOCATION_JOB.observe(item).submitted_at
    for odd in ({}, {"submitTime": "soon"}, None, "text"):
        assert MODEL_INVOCATION_JOB.submission(odd) is None


def test_records_are_absent_when_no_count_is_there() -> None:
    """A job without a single count has no records, one with a zero has."""
    item = batch_item()
    for name in ("totalRecordCount", "processedRecordCount", "successRecordCount", "errorRecordCount"):
        del item[name]
    assert MODEL_INVOCATION_JOB.observe(item).records is None
    assert MODEL_INVOCATION_JOB.observe(item | {"errorRecordCount": 0}).records == Records(failed=0)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
    | st.fixed_dictionaries(
        {"jobArn": st.just(BATCH_ARN), "status": st.text(min_size=1)},
        optional={
            name: st.none() | st.integers() | st.floats() | st.text() | st.lists(st.none())
            for name in ("submitTime", "lastModifiedTime", "endTime", "jobName", "totalRecordCount")
        },
    )
)
def test_no_item_whatsoever_raises_anything_but_an_item_error(item: Any) -> None:
    """A stranger's JSON becomes a job or an `ItemError`, nothing else (fault 21)."""
    try:
        job = MODEL_INVOCATION_JOB.observe(item)
    except ItemError:
        return
    assert job.raw is item


moments = st.integers(86_400, 253_300_000_000).flatmap(
    lambda second: st.integers(0, 999_999).map(
        lambda micros: datetime.fromtimestamp(second, UTC).replace(microsecond=micros)
    )
)
zones = st.integers(-23 * 60, 23 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))


def by_botocore(value: Any) -> datetime:
    """What botocore reads, as UTC; it leaves a time without a zone naive."""
    moment: datetime = parse_timestamp(value)
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


@given(moments, zones, st.sampled_from(["seconds", "milliseconds", "microseconds"]), st.booleans())
def test_iso_times_are_read_as_botocore_reads_them(
    moment: datetime, zone: timezone, precision: str, lower: bool
) -> None:
    """ISO 8601 with an offset, with Z, and without a zone, which means UTC."""
    local = moment.astimezone(zone)
    plain = moment.replace(tzinfo=None).isoformat(timespec=precision)
    for text in (local.isoformat(timespec=precision), plain + "Z", plain, plain.replace("T", " ")):
        written = text.lower() if lower else text
        assert parse_time(written) == by_botocore(written)


@given(st.integers(0, 200_000_000_000) | st.floats(0, 200_000_000_000))
def test_epoch_times_are_read_as_botocore_reads_them(seconds: float) -> None:
    """Seconds since 1970, as a number or as text; eight digits are seconds too, not a date."""
    assert parse_time(seconds) == by_botocore(seconds)
    text = repr(seconds)
    assert parse_time(text) == by_botocore(text)


@given(moments.map(lambda moment: moment.replace(microsecond=0)), zones)
def test_rfc_822_times_are_read_as_botocore_reads_them(moment: datetime, zone: timezone) -> None:
    """RFC 822 with GMT and with an offset."""
    for text in (format_datetime(moment, usegmt=True), format_datetime(moment.astimezone(zone))):
        assert parse_time(text) == by_botocore(text) == moment


def test_eight_digits_are_seconds() -> None:
    """`20261120` is a moment of August 1970, as it is for botocore."""
    assert parse_time("20261120") == datetime(1970, 8, 23, 12, 5, 20, tzinfo=UTC)


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        [],
        {},
        b"2026-11-20",
        "",
        "soon",
        "-1",
        -1,
        -1.0e300,
        1.0e300,
        "1e400",
        float("nan"),
        float("inf"),
        "nan",
        10**400,
        1_700_000_000_123,
        "0001-01-01T00:00:00+14:00",
        "9999-12-31T23:59:59-01:00",
        "1969-12-31T23:59:59Z",
        "2026-13-01T00:00:00Z",
        "Aug 28, 2024, 10:47:53 PM",
        "Fri, 20 Nov 2026 10:00:00 +9999999999",
        "\ud800",
        "9" * 5000,
    ],
)
def test_absurd_times_are_none(value: Any) -> None:
    """What is no time, lies before 1970 or beyond the calendar, or cannot be read for certain, is None."""
    assert parse_time(value) is None


@given(st.text() | st.from_regex(r"[A-Za-z]{3}, [0-9 :+A-Z-]{0,30}", fullmatch=True))
def test_no_text_raises(text: str) -> None:
    """Any text is a time in UTC or None."""
    moment = parse_time(text)
    assert moment is None or moment.tzinfo is UTC


@every_kind
def test_the_account_of_a_page_is_that_of_the_first_arn_that_can_be_read(kind: Kind) -> None:
    """Whatever stands before it; none if no item has one."""
    arn = arn_of(kind)
    assert kind.account_in([5, {}, {kind.arn[0]: "odd"}, {kind.arn[0]: arn}]) == "123456789012"
    assert kind.account_in(["a text", {kind.arn[0]: 5}]) is None


def test_a_time_after_the_service_s_own_clock_is_not_believed() -> None:
    """Each attribute by itself, with a minute of tolerance; the service's word stays in `raw` (fault 52)."""
    now = datetime(2026, 11, 20, 10, tzinfo=UTC)
    item = batch_item(
        submitTime="2026-11-20T10:00:30Z",
        lastModifiedTime="9999-12-31T00:00:00Z",
        endTime="2026-11-20T10:02:00Z",
    )
    job = MODEL_INVOCATION_JOB.observe(item, now)
    assert (job.submitted_at, job.modified_at, job.ended_at) == (now + timedelta(seconds=30), None, None)
    assert job.raw == item


@pytest.mark.parametrize(
    ("times", "ended"),
    [
        ({"endTime": "2026-11-20T09:00:00Z"}, True),
        ({"jobExpirationTime": "2026-11-19T09:00:00Z"}, True),
        ({"jobExpirationTime": "2026-11-19T11:00:00Z"}, False),
        ({"jobExpirationTime": "2026-11-01T00:00:00Z", "lastModifiedTime": "2026-11-20T09:00:00Z"}, False),
        ({"submitTime": "2026-11-01T00:00:00Z"}, True),
        ({"submitTime": "2026-11-19T00:00:00Z"}, False),
        ({"submitTime": "2026-11-01T00:00:00Z", "jobExpirationTime": "9999-12-31T23:59:59Z"}, True),
        ({"submitTime": "9999-12-31T23:59:59Z", "jobExpirationTime": "9999-12-31T23:59:59Z"}, False),
        ({}, False),
    ],
)
def test_a_status_that_nobody_declared_ends_a_job_by_evidence(times: dict[str, str], ended: bool) -> None:
    """An end, or a day without a change after its expiry, or after the longest run (fault 53)."""
    now = datetime(2026, 11, 20, 10, tzinfo=UTC)
    item = {"jobArn": batch_item()["jobArn"], "status": "Evicted", **times}
    job = MODEL_INVOCATION_JOB.observe(item, now)
    assert (job.terminal, job.outcome) == (ended, None)
    if "endTime" not in times:
        assert not MODEL_INVOCATION_JOB.observe(item).terminal


@pytest.mark.parametrize(("levels", "cut"), [(98, False), (150, True)])
def test_what_is_nested_too_deeply_is_cut_there(levels: int, cut: bool) -> None:
    """Lists and objects alike; what is beside it stays (fault 55)."""
    nested: Any = "end"
    for level in range(levels):
        nested = [nested] if level % 2 else {"a": nested, "b": 1}
    job = MODEL_INVOCATION_JOB.observe(batch_item(deep=nested, beside=[1]))
    assert (CUT in str(job.raw)) == cut
    assert job.raw["beside"] == [1]


@pytest.mark.parametrize(
    ("records", "outcome"),
    [
        (Records(100, 100, 100, 0), Outcome.SUCCEEDED),
        (Records(100, 100, 0, 100), Outcome.FAILED),
        (Records(100, 100, 99, 1), Outcome.PARTIAL),
        (Records(None, 100, 0, 100), Outcome.FAILED),
        (Records(None, None, None, 100), Outcome.PARTIAL),
        (Records(100, 100, None, 100), Outcome.FAILED),
        (Records(100, 100, 50, 100), Outcome.PARTIAL),
        (Records(100, 100, 0, 2**63 - 1), Outcome.FAILED),
        (Records(0, 0, 0, 0), Outcome.SUCCEEDED),
        (Records(100, 100, 0, None), Outcome.SUCCEEDED),
        (None, Outcome.SUCCEEDED),
    ],
)
def test_failed_records_make_the_outcome_worse_where_that_is_configured(
    records: Records | None, outcome: Outcome
) -> None:
    """All of them mean failed, some mean partial; missing counts mean nothing (fault 84)."""
    item = batch_item(status="Completed")
    names = ("totalRecordCount", "processedRecordCount", "successRecordCount", "errorRecordCount")
    counts = (
        (None,) * 4
        if records is None
        else (records.total, records.processed, records.succeeded, records.failed)
    )
    item |= dict(zip(names, counts, strict=True))
    by_default, judged = (
        kinds(outcome_by_records=wanted)[MODEL_INVOCATION_JOB.name].observe(item) for wanted in (False, True)
    )
    assert by_default.outcome is Outcome.SUCCEEDED
    assert judged.outcome is outcome
    assert (judged.status, judged.rank, judged.terminal) == ("Completed", by_default.rank, True)


@pytest.mark.parametrize("outcome", [None, *Outcome])
def test_an_outcome_only_ever_becomes_worse(outcome: Outcome | None) -> None:
    """What has failed, was stopped, expired or is open stays what it is (fault 84)."""
    lost = by_records(outcome, Records(1, 1, 0, 1))
    assert lost is (Outcome.FAILED if outcome in {Outcome.SUCCEEDED, Outcome.PARTIAL} else outcome)


@every_kind
@pytest.mark.parametrize("status", ["COMPLETED", "completed", "InProgress ", "In Progress", "ENDED"])
def test_a_status_that_is_spelled_differently_is_an_unknown_one(kind: Kind, status: str) -> None:
    """Other implementations of the API have words of their own: they pass, verbatim (fault 86)."""
    arn = arn_of(kind)
    job = kind.observe({kind.arn[0]: arn, "status": status})
    assert (job.status, job.rank, job.terminal, job.outcome) == (status, None, False, None)


def test_a_clock_at_the_end_of_time_costs_no_job() -> None:
    """An answer with a `Date` to which nothing can be added is read like another (fault 52)."""
    last = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)
    item = batch_item(status="InProgress", submitTime="2026-11-20T10:00:00Z")
    assert MODEL_INVOCATION_JOB.observe(item, last).submitted_at is not None
