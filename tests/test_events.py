"""The event's bytes: a golden file, what may stand in them, and what the id depends on."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from poller.events import event_id, happened_at, job_event, sample_event, schema
from poller.kinds import ASYNC_INVOKE, MODEL_INVOCATION_JOB
from poller.model import Change, Event, EventType, Job, Records, Target
from poller.times import iso

GOLDEN = Path(__file__).parent / "golden" / "event.json"
ARN = "arn:aws-us-gov:bedrock:us-gov-west-1:123456789012:model-invocation-job/abcdefghwxyz"
TARGET = Target("prod", "us-gov-west-1", "model_invocation_job")
SEEN = datetime(2026, 11, 20, 10, 0, 30, 999_999, tzinfo=UTC)
CHANGED = EventType.STATUS_CHANGED

ITEM: dict[str, Any] = {
    "jobArn": ARN,
    "jobName": "nightly-\u00e9\u4e2d\U0001f680\ud800\x00\r\n",
    "modelId": "arn:aws-us-gov:bedrock:us-gov-west-1::foundation-model/example.model-v1:0",
    "clientRequestToken": "token-1",
    "roleArn": "arn:aws-us-gov:iam::123456789012:role/batch",
    "status": "PartiallyCompleted",
    "message": 'Not all records in time: "quoted"',
    "submitTime": "2026-11-20T09:00:00.123Z",
    "lastModifiedTime": "2026-11-20T10:00:31.000Z",
    "endTime": "2026-11-20T10:00:00.456Z",
    "inputDataConfig": {"s3InputDataConfig": {"s3Uri": "s3://in/", "s3InputFormat": "JSONL"}},
    "outputDataConfig": {"s3OutputDataConfig": {"s3Uri": "s3://out/"}},
    "totalRecordCount": 100,
    "processedRecordCount": 90,
    "successRecordCount": 88,
    "errorRecordCount": 2,
    "fieldOfTomorrow": {"SDK_UNKNOWN_MEMBER": {"name": "x"}, "list": [1, 2.5, None, True]},
}


def change_of(item: dict[str, Any], *, occurrence: int = 0, previous: str | None = "InProgress") -> Change:
    """A change of status that an item shows."""
    job = MODEL_INVOCATION_JOB.observe(item)
    return Change(job, previous, {job.status: occurrence + 1}, CHANGED, occurrence)


def event_of(item: dict[str, Any], **options: Any) -> Event:
    """The event of that change."""
    return job_event(change_of(item, **options), CHANGED, TARGET, SEEN)


def test_the_event_is_the_golden_one_byte_for_byte() -> None:
    """The whole body, with every attribute filled, is what receivers have come to rely on."""
    assert event_of(ITEM).body + b"\n" == GOLDEN.read_bytes()


def test_the_body_is_a_cloud_event_about_the_job() -> None:
    """The envelope names the source, the job and the time by the service's word."""
    envelope = json.loads(event_of(ITEM).body)
    assert envelope["specversion"] == "1.0"
    assert envelope["source"] == "arn:aws-us-gov:bedrock:us-gov-west-1:123456789012"
    assert envelope["subject"] == ARN
    assert envelope["time"] == "2026-11-20T10:00:00.456Z"
    assert envelope["data"]["observed_at"] == "2026-11-20T10:00:30.999Z"
    assert envelope["data"]["job"] == ITEM


def test_what_is_unknown_is_null() -> None:
    """A sparse item gives the same members, with nothing made up; the time is that of the observation."""
    sparse = json.loads(event_of({"jobArn": ARN, "status": "Archiving"}, previous=None).body)
    whole = json.loads(event_of(ITEM).body)
    assert sparse["data"].keys() == whole["data"].keys()
    assert sparse["data"]["previous_status"] is None
    assert sparse["data"]["records"] is None
    assert sparse["data"]["outcome"] is None
    assert sparse["data"]["terminal"] is False
    assert sparse["time"] == iso(SEEN)


# Texts as JSON can carry them: it joins two halves of a surrogate pair.
names = st.text(st.characters(codec=None), max_size=30).map(lambda text: str(json.loads(json.dumps(text))))
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | names,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=8,
)


@given(names, names, values)
def test_any_text_survives_in_ascii(name: str, message: str, value: Any) -> None:
    """Control characters, lone surrogates and every other text come back as they were, from ASCII bytes."""
    item = ITEM | {"fieldOfTomorrow": [name, message, value]}
    change = change_of(item)
    change = replace(change, job=replace(change.job, name=name, message=message))
    event = job_event(change, CHANGED, TARGET, SEEN)
    assert event.body.isascii()
    assert b"\n" not in event.body
    data = json.loads(event.body)["data"]
    assert (data["job_name"], data["message"], data["job"]) == (name, message, item)


@given(names, values)
def test_an_event_read_back_from_its_bytes_is_the_same(name: str, value: Any) -> None:
    """The store keeps the bytes alone; id, type, job and data all come back from them."""
    event = event_of(ITEM | {"jobName": name, "fieldOfTomorrow": value})
    again = Event.from_body(event.body)
    assert again == event
    assert again.data == event.data
    assert again.job_arn == ARN


@pytest.mark.parametrize(
    "event",
    [
        event_of(ITEM),
        event_of({"jobArn": ARN, "status": "Archiving"}, previous=None),
        sample_event("ops", SEEN),
    ],
    ids=["whole", "sparse", "sample"],
)
def test_events_are_what_the_published_schema_says(event: Event) -> None:
    """Real events and samples alike, and the schema leaves none of their members out."""
    envelope = json.loads(event.body)
    jsonschema.Draft202012Validator(schema()).validate(envelope)
    assert schema()["properties"].keys() == envelope.keys()
    assert schema()["properties"]["data"]["properties"].keys() == envelope["data"].keys()
    assert schema()["$id"] == envelope["dataschema"]


@given(
    st.integers(0, 9),
    st.sampled_from(["Completed", "Failed"]),
    names,
    st.none() | st.text(max_size=5),
    st.integers(0, 10**6),
)
def test_the_id_is_a_function_of_what_happened_only(
    occurrence: int, status: str, name: str, previous: str | None, seconds: int
) -> None:
    """When, by which target and with what details a change was seen does not matter to its id."""
    item = ITEM | {"status": status, "jobName": name, "message": name, "lastModifiedTime": seconds}
    change = change_of(item, occurrence=occurrence, previous=previous)
    event = job_event(change, CHANGED, replace(TARGET, name=name), SEEN + timedelta(seconds=seconds))
    assert event.id == event_id(ARN, CHANGED, status, occurrence)


def test_ids_stay_what_they_are() -> None:
    """Receivers have stored these ids, so the function can never change."""
    assert event_id(ARN, CHANGED, "Completed", 0) == "b9f5f8b846813e7f11c595f786fb7783"


happenings = st.tuples(
    st.text(max_size=8), st.sampled_from(EventType), st.text(max_size=8), st.integers(0, 99)
)


@given(happenings, happenings)
def test_two_happenings_have_two_ids(one: Any, other: Any) -> None:
    """Ids are 32 hexadecimal digits and equal only if all four parts are."""
    assert (event_id(*one) == event_id(*other)) == (one == other)
    assert len(event_id(*one)) == 32
    assert int(event_id(*one), 16) >= 0


def test_the_end_of_an_ended_job_is_when_it_happened() -> None:
    """A modification after the end does not move it; an open job's end is not believed."""
    job = MODEL_INVOCATION_JOB.observe(ITEM)
    assert happened_at(job) == job.ended_at
    assert happened_at(replace(job, ended_at=None)) == job.modified_at
    assert happened_at(replace(job, terminal=False)) == job.modified_at
    assert happened_at(replace(job, ended_at=None, modified_at=None)) == job.submitted_at
    assert happened_at(replace(job, ended_at=None, modified_at=None, submitted_at=None)) is None


def test_a_disappearance_happens_when_it_is_seen() -> None:
    """The service says no time for it, so the event takes ours; it is about the last status seen."""
    job = replace(MODEL_INVOCATION_JOB.observe(ITEM), raw={})
    gone = Change(job, job.status, {}, EventType.DISAPPEARED, gone=True)
    event = job_event(gone, EventType.DISAPPEARED, TARGET, SEEN)
    envelope = json.loads(event.body)
    assert happened_at(job, EventType.DISAPPEARED) is None
    assert envelope["time"] == iso(SEEN)
    assert envelope["type"] == event.type == "bedrock-poller.job.disappeared"
    assert envelope["data"]["job"] == {}
    assert event.id != event_of(ITEM).id


@pytest.mark.parametrize(
    ("moment", "written"),
    [
        (None, None),
        (datetime(2026, 11, 20, 10, 0, tzinfo=UTC), "2026-11-20T10:00:00.000Z"),
        (datetime(2026, 11, 20, 10, 0, 0, 999_999, tzinfo=UTC), "2026-11-20T10:00:00.999Z"),
        (datetime(2026, 11, 20, 10, 0, tzinfo=timezone(timedelta(hours=2))), "2026-11-20T08:00:00.000Z"),
        (datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC), "9999-12-31T23:59:59.000Z"),
    ],
)
def test_times_are_rfc_3339_in_utc_with_milliseconds(moment: datetime | None, written: str | None) -> None:
    """Milliseconds are cut off and not rounded, so that no time lies in the future of its second."""
    assert iso(moment) == written


def test_a_sample_event_has_the_shape_of_a_real_one() -> None:
    """What `sinks test` sends has the members of a job's event, a type of its own and one id per moment."""
    sample = sample_event("ops", SEEN)
    real = json.loads(event_of(ITEM).body)
    assert json.loads(sample.body).keys() == real.keys()
    assert sample.data.keys() == real["data"].keys()
    assert sample.type == "bedrock-poller.sink.test"
    assert sample.id == sample_event("ops", SEEN).id
    assert sample.id != sample_event("audit", SEEN).id
    assert sample.id != sample_event("ops", SEEN + timedelta(milliseconds=1)).id


def test_a_job_without_a_name_and_counts_is_published_all_the_same() -> None:
    """An async invocation has neither, and its event says so with nulls."""
    arn = "arn:aws:bedrock:us-east-1:123456789012:async-invoke/abcdefghwxyz"
    job: Job = ASYNC_INVOKE.observe({"invocationArn": arn, "status": "InProgress"})
    event = job_event(Change(job, None, {}, CHANGED), CHANGED, TARGET, SEEN)
    assert (event.data["job_name"], event.data["records"]) == (None, None)
    counted = replace(job, records=Records(total=3))
    event = job_event(Change(counted, None, {}, CHANGED), CHANGED, TARGET, SEEN)
    assert event.data["records"] == {"total": 3, "processed": None, "succeeded": None, "failed": None}
