"""Reads a message of a queue: what it is about, and nothing else of it.

Pure. EventBridge, S3 and SNS each have an envelope of their own, and a queue may get anything. So every
message becomes a tuple of subjects, or a `MessageError`. Its times are not read: those of Bedrock's own
events are not ISO 8601, and what happened is for a poll to find out.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias
from urllib.parse import unquote_plus

from poller.errors import MessageError
from poller.model import storable

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

LARGEST_MESSAGE = 1024 * 1024
"""Characters; SQS itself takes no larger message."""
_MOST_ENVELOPES = 3
_MOST_RECORDS = 100
_LONGEST_STATUS = 64
_LONGEST_KEY = 1024
_BEDROCK = "aws.bedrock"
_S3 = "aws.s3"
_CREATED = "ObjectCreated:"

_ACCOUNT = re.compile(r"[0-9]{12}")
_REGION = re.compile(r"[a-z0-9-]{1,32}")
_JOB = re.compile(
    r"arn:aws[a-z-]{0,16}:bedrock:[a-z0-9-]{1,20}:[0-9]{12}:[a-z-]{1,40}/[a-zA-Z0-9.:/-]{1,160}"
)
_BUCKET = re.compile(r"[a-zA-Z0-9._-]{3,255}")

_NATIVE: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "Batch Inference Job State Change": (("batchJobArn",), ("status",)),
    "Model Customization Job State Change": (("jobArn",), ("jobStatus", "status")),
}
"""Bedrock's own events by their `detail-type`: where in `detail` the ARN and the status stand."""


@dataclass(frozen=True, slots=True)
class AboutJob:
    """One of Bedrock's own events: a job has entered a status, if the message can be believed."""

    arn: str
    status: str | None


@dataclass(frozen=True, slots=True)
class AboutObject:
    """An object was written to S3; its key is as in S3, without escapes. The place is that of the bucket."""

    bucket: str
    key: str
    account_id: str | None = None
    region: str | None = None


@dataclass(frozen=True, slots=True)
class AboutPlace:
    """Something has happened in a region of an account."""

    account_id: str
    region: str


Subject: TypeAlias = AboutJob | AboutObject | AboutPlace


def subjects(body: str) -> tuple[Subject, ...]:
    """Return what a message is about; nothing for a test message of S3, and for removed objects.

    Args:
        body: The message's body: an event of EventBridge, a notification of S3, or either in an envelope of
            SNS.

    Raises:
        MessageError: It cannot be read as any of these.
    """
    for _ in range(_MOST_ENVELOPES):
        message = _parsed(body)
        inner = message.get("Message") if message.get("Type") == "Notification" else None
        if not isinstance(inner, str):
            return tuple(_subjects(message))
        body = inner
    raise MessageError("it has too many envelopes")


def _parsed(body: str) -> dict[str, Any]:
    if len(body) > LARGEST_MESSAGE:
        raise MessageError(f"it has {len(body)} characters")
    try:
        message = json.loads(body)
    except RecursionError:
        raise MessageError("it is nested too deeply") from None
    except ValueError:
        raise MessageError("it is not JSON") from None
    if not isinstance(message, dict):
        raise MessageError("it is not a JSON object")
    return message


def _subjects(message: Mapping[str, Any]) -> Iterator[Subject]:
    if message.get("Event") == "s3:TestEvent":
        return
    records = message.get("Records")
    if isinstance(records, list):
        yield from _of_records(records)
    else:
        yield _of_event(message)


def _of_records(records: list[Any]) -> Iterator[Subject]:
    """What a notification that S3 has sent itself is about."""
    if not 0 < len(records) <= _MOST_RECORDS:
        raise MessageError(f"it has {len(records)} records")
    for record in records:
        name = _at(record, "eventName")
        if _at(record, "eventSource") != "aws:s3" or not isinstance(name, str):
            raise MessageError("a record is not of S3")
        if name.startswith(_CREATED):
            key = _at(record, "s3", "object", "key")
            yield _object(_at(record, "s3", "bucket", "name"), _decoded(key), None, record.get("awsRegion"))


def _of_event(event: Mapping[str, Any]) -> Subject:
    """What an event of EventBridge is about."""
    source, detail_type = event.get("source"), event.get("detail-type")
    if not isinstance(source, str) or not isinstance(detail_type, str):
        raise MessageError("it is not an event of EventBridge, S3 or SNS")
    detail = event.get("detail")
    if source == _S3 and detail_type == "Object Created":
        place = event.get("account"), event.get("region")
        return _object(_at(detail, "bucket", "name"), _at(detail, "object", "key"), *place)
    if source == _BEDROCK and detail_type in _NATIVE:
        arns, statuses = ([_at(detail, name) for name in names] for names in _NATIVE[detail_type])
        arn = next((each for each in arns if isinstance(each, str) and _JOB.fullmatch(each)), None)
        if arn is not None:
            return AboutJob(arn, next(filter(None, map(_status, statuses)), None))
    account, region = event.get("account"), event.get("region")
    if not _matches(_ACCOUNT, account) or not _matches(_REGION, region):
        raise MessageError("it names no job, object, or account and region")
    return AboutPlace(str(account), str(region))


def _object(bucket: Any, key: Any, account: Any, region: Any) -> AboutObject:
    if not _matches(_BUCKET, bucket) or not isinstance(key, str) or not 0 < len(key) <= _LONGEST_KEY:
        raise MessageError("it names no object of S3")
    return AboutObject(
        str(bucket),
        key,
        str(account) if _matches(_ACCOUNT, account) else None,
        str(region) if _matches(_REGION, region) else None,
    )


def _decoded(key: Any) -> Any:
    """A key of S3's own notifications, which escape it as in a form."""
    return unquote_plus(key) if isinstance(key, str) else key


def _status(value: Any) -> str | None:
    return storable(value) if isinstance(value, str) and 0 < len(value) <= _LONGEST_STATUS else None


def _matches(pattern: re.Pattern[str], value: Any) -> bool:
    return isinstance(value, str) and pattern.fullmatch(value) is not None


def _at(value: Any, *path: str) -> Any:
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
    return value
