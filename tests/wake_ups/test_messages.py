"""What messages are about, and what objects belong to which job."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any
from urllib.parse import quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poller.errors import MessageError
from poller.model import Target
from poller.store import OpenOutput
from poller.wake_ups.messages import AboutJob, AboutObject, AboutPlace, subjects
from poller.wake_ups.outputs import unlisted, writers
from tests.wake_ups.samples import (
    ACCOUNT,
    CUSTOMIZATION,
    GARBAGE,
    JOB,
    REGION,
    TEST,
    created,
    customization,
    enveloped,
    event,
    native,
    notification,
)

PLACE = AboutPlace(ACCOUNT, REGION)


@pytest.mark.parametrize("envelopes", [0, 1, 2])
@pytest.mark.parametrize(
    ("message", "about"),
    [
        (native(), (AboutJob(JOB, "Completed"),)),
        (customization(), (AboutJob(CUSTOMIZATION, "Failed"),)),
        (customization(jobStatus=None, status="Stopped"), (AboutJob(CUSTOMIZATION, "Stopped"),)),
        (native(status="x" * 65), (AboutJob(JOB, None),)),
        (native(arn="arn:aws:s3:::bucket"), (PLACE,)),
        (created("out/a+b c.jsonl"), (AboutObject("a-bucket", "out/a+b c.jsonl", ACCOUNT, REGION),)),
        (created("k") | {"account": 5, "region": None}, (AboutObject("a-bucket", "k"),)),
        (notification(("ObjectCreated:Put", "a%2Bb+c")), (AboutObject("a-bucket", "a+b c", None, REGION),)),
        (
            notification(
                ("ObjectCreated:Copy", "one"), ("ObjectRemoved:Delete", "x"), ("ObjectCreated:Put", "2")
            ),
            (
                AboutObject("a-bucket", "one", None, REGION),
                AboutObject("a-bucket", "2", None, REGION),
            ),
        ),
        (notification(("ObjectRemoved:Delete", "x")), ()),
        (TEST, ()),
        (event("aws.s3", "Object Deleted", {}), (PLACE,)),
        (event("aws.bedrock", "Something New", None), (PLACE,)),
        (event("my.app", "Submitted", {"any": ["thing"]}), (PLACE,)),
    ],
)
def test_every_kind_of_message_is_understood(message: Any, about: tuple[Any, ...], envelopes: int) -> None:
    """As it is, and in envelopes of SNS; of times nothing is read, so that no form of them matters."""
    assert subjects(json.dumps(enveloped(message, envelopes))) == about


@pytest.mark.parametrize("body", GARBAGE, ids=range(len(GARBAGE)))
def test_garbage_is_an_error_that_does_not_quote_it(body: str) -> None:
    """Whatever it is: no JSON, too deep, too long, too many envelopes, nothing that is named (fault 70)."""
    with pytest.raises(MessageError) as caught:
        subjects(body)
    assert len(str(caught.value)) < 80


@given(st.text(min_size=1, max_size=50))
def test_a_key_is_the_same_by_either_way(key: str) -> None:
    """S3's own notifications escape it as in a form, EventBridge does not."""
    key = key.encode("utf-8", "replace").decode()
    escaped = notification(("ObjectCreated:Put", quote_plus(key)))
    (one,), (other,) = subjects(json.dumps(escaped)), subjects(json.dumps(created(key)))
    assert isinstance(one, AboutObject)
    assert replace(one, account_id=ACCOUNT) == other


def output(number: int, uri: str) -> OpenOutput:
    """Where a job writes."""
    return OpenOutput(f"arn:aws:bedrock:{REGION}:{ACCOUNT}:async-invoke/{number:012}", uri, f"t{number}")


@pytest.mark.parametrize(
    ("key", "numbers"),
    [
        ("out/file", [1]),
        ("out/deep/file", [2, 3]),
        ("out/deep/000000000003/output.json", [3]),
        ("out/deep/000000000002/x/y", [2]),
        ("out/deeper/file", [1]),
        ("out/000000000004/manifest.json", [4]),
        ("out", [1]),
        ("output/file", [5]),
        ("deep/file", [5]),
    ],
)
def test_the_longest_location_decides(key: str, numbers: list[int]) -> None:
    """Locations end at a slash; the folder of a job is its own, and a location may name it already."""
    outputs = [
        output(1, "s3://a-bucket/out"),
        output(2, "s3://a-bucket/out/deep/"),
        output(3, "s3://a-bucket/out/deep"),
        output(4, "s3://a-bucket/out/000000000004/"),
        output(5, "s3://a-bucket/"),
        output(6, "s3://a-bucket-2/out/deep"),
        output(7, "https://a-bucket/out/deep"),
        output(8, ""),
    ]
    found = writers(AboutObject("a-bucket", key), outputs)
    assert found == [outputs[number - 1] for number in numbers]
    assert writers(AboutObject("other", key), outputs) == []


_parts = st.sampled_from(["a", "b", "ab", "000000000001"])


@given(st.lists(st.lists(_parts, max_size=3), max_size=6), st.lists(_parts, min_size=1, max_size=5))
def test_no_location_that_matches_is_longer_than_the_one_that_was_chosen(
    locations: list[list[str]], key: list[str]
) -> None:
    """By segments of the path, for any set of locations."""
    outputs = [
        output(100 + number, "/".join(["s3:/", "a-b", *each])) for number, each in enumerate(locations)
    ]
    found = writers(AboutObject("a-b", "/".join(key)), outputs)
    lengths = [len(each) if key[: len(each)] == each else -1 for each in locations]
    best = max(lengths, default=-1)
    assert found == [
        each for each, length in zip(outputs, lengths, strict=True) if best >= 0 and length == best
    ]


CHINA, GOVERNMENT = "cn-north-1", "us-gov-west-1"


@pytest.mark.parametrize(
    ("key", "place", "target", "start"),
    [
        ("out/abcdefghwxy1/output.json", (ACCOUNT, REGION), (REGION, ACCOUNT), "aws"),
        ("abcdefghwxy1/a/b/c", (None, REGION), (REGION, ACCOUNT), "aws"),
        ("abcdefghwxy1/a", (ACCOUNT, REGION), (REGION, None), "aws"),
        ("abcdefghwxy1/a", (None, CHINA), (CHINA, ACCOUNT), "aws-cn"),
        ("abcdefghwxy1/a", (None, GOVERNMENT), (GOVERNMENT, ACCOUNT), "aws-us-gov"),
        ("abcdefghwxy1/a", (None, REGION), (REGION, None), None),
        ("abcdefghwxy1/a", (ACCOUNT, "eu-west-1"), (REGION, ACCOUNT), None),
        ("abcdefghwxy1/a", ("999999999999", REGION), (REGION, ACCOUNT), None),
        ("out/abcdefghwxy1", (ACCOUNT, REGION), (REGION, ACCOUNT), None),
        ("AWSLogs/123456789012/x", (ACCOUNT, REGION), (REGION, ACCOUNT), None),
        ("Abcdefghwxy1/short/x", (ACCOUNT, REGION), (REGION, ACCOUNT), None),
    ],
)
def test_a_folder_may_be_named_after_a_job_that_is_not_listed_yet(
    key: str, place: tuple[str | None, str], target: tuple[str, str | None], start: str | None
) -> None:
    """Of a target in the bucket's region, and in its account where the message names that."""
    region, account = target
    found = unlisted(AboutObject("a-bucket", key, *place), Target("t", region, "async_invoke", account))
    arn = f"arn:{start}:bedrock:{region}:{ACCOUNT}:async-invoke/abcdefghwxy1"
    assert found == (None if start is None else arn)
