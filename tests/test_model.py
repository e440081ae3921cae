"""What travels through the program: identity, freezing, and what a text of it may show."""

from __future__ import annotations

from dataclasses import FrozenInstanceError

import pytest

from poller.model import Delivery, Event, Job, JobState, Target

ARN = "arn:aws:bedrock:us-east-1:123456789012:async-invoke/abcdefghwxyz"
BODY = b'{"id": "e1", "type": "t", "data": {"job_arn": "arn:x", "message": "private"}}'


def job(**attributes: object) -> Job:
    """A job with little in it."""
    return Job(ARN, "async_invoke", "123456789012", "us-east-1", "Failed", 1000, True, None, **attributes)  # type: ignore[arg-type]


def test_a_target_is_named_by_its_three_parts() -> None:
    """The id joins name, region and kind, and equal parts make equal targets."""
    target = Target("prod", "eu-west-1", "async_invoke")
    assert target.id == "prod/eu-west-1/async_invoke"
    assert {target: 1}[Target("prod", "eu-west-1", "async_invoke")] == 1


def test_a_job_s_id_is_the_end_of_its_arn() -> None:
    """The twelve characters after the last slash."""
    assert job().id == "abcdefghwxyz"


def test_what_the_service_marks_as_sensitive_is_not_in_a_job_s_text() -> None:
    """The message and the raw JSON can hold what no log should; they stay out of `repr`."""
    text = repr(job(message="private", raw={"failureMessage": "private"}))
    assert "private" not in text
    assert ARN in text


def test_two_observations_are_equal_whatever_their_raw_json() -> None:
    """Equality looks at what was read, not at fields that nobody declared."""
    assert job(raw={"a": 1}) == job(raw={"b": 2})
    assert job(name="x") != job(name="y")


def test_an_event_comes_back_from_its_bytes() -> None:
    """Id, type, data and job are read from the body, which stays as it is and out of `repr`."""
    event = Event.from_body(BODY)
    assert (event.id, event.type, event.job_arn, event.body) == ("e1", "t", "arn:x", BODY)
    assert "private" not in repr(Delivery(1, "ops", event, attempts=0, epoch=1))


def test_what_travels_is_frozen() -> None:
    """Nobody on the way can change what was observed."""
    known = JobState(ARN, "Failed", 1000, True, None, {})
    for thing, name in ((job(), "status"), (known, "gone"), (Event.from_body(BODY), "id")):
        with pytest.raises(FrozenInstanceError):
            setattr(thing, name, "other")
