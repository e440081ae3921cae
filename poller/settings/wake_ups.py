"""The queues of wake-ups: where to listen, and by which role."""

from __future__ import annotations

import re
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, ValidationInfo, field_validator

from poller.settings.types import (
    ExternalId,
    ExternalIdFile,
    Name,
    Region,
    RoleArn,
    Section,
    looks_like_region,
    read_external_id,
)

_PATH = re.compile(r"/(?P<account>[0-9]{12})/(?P<name>[A-Za-z0-9_-]{1,80})")
_HOST = re.compile(
    r"(?:.+\.)?(?:sqs|sqs-fips)\.(?P<new>[a-z0-9-]+)\..+|(?P<old>[a-z0-9-]+)\.queue\.amazonaws\.com.*"
)
_EXAMPLE = "https://sqs.eu-west-1.amazonaws.com/111111111111/bedrock-wake-ups"


def _queue_url(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in {"http", "https"} or not parts.hostname or not _PATH.fullmatch(parts.path):
        fifo = "; a FIFO queue is not needed, as order does not matter" if value.endswith(".fifo") else ""
        raise ValueError(f"is not the URL of a queue; write one such as {_EXAMPLE}{fifo}")
    if parts.username is not None or parts.query or parts.fragment:
        raise ValueError(f"has more than host, account and name; write one such as {_EXAMPLE}")
    return value


QueueUrl = Annotated[
    str,
    AfterValidator(_queue_url),
    Field(pattern=r"^https?://[^/?#@]+/[0-9]{12}/[A-Za-z0-9_-]{1,80}$", examples=[_EXAMPLE]),
]
"""The URL of a standard queue, as `aws sqs get-queue-url` prints it."""


class SqsWakeUps(Section):
    """A queue of SQS whose messages say where to look now: events of EventBridge, notifications of S3."""

    type: Literal["sqs"]
    """Service of the queue: `sqs`."""
    queue_url: QueueUrl
    """URL of the standard queue."""
    region: Region | None = Field(default=None, validate_default=True)
    """AWS region. Default: the one in `queue_url`."""
    role_arn: RoleArn | None = None
    """Role to assume. Default: the SDK's credentials."""
    external_id: ExternalId | None = None
    """External ID that the role requires."""
    external_id_file: ExternalIdFile | None = None
    """File with the external ID."""
    targets: tuple[Name, ...] = ()
    """Targets whose native events arrive here, for `data.native_event_seen`. Default: all."""

    @field_validator("region")
    @classmethod
    def _is_known(cls, value: str | None, info: ValidationInfo) -> str | None:
        url = info.data.get("queue_url")
        if value is None and url is not None:
            value = region_of_queue(url)
            if value is None:
                raise ValueError("needs region, because queue_url does not name one")
        return value

    @field_validator("external_id", "external_id_file")
    @classmethod
    def _goes_with_a_role(cls, value: object, info: ValidationInfo) -> object:
        if value is not None and info.data.get("role_arn", value) is None:
            raise ValueError("is used only to assume a role; set role_arn too, or remove it")
        if info.field_name == "external_id_file" and info.data.get("external_id") is not None:
            raise ValueError("is set, and so is external_id; keep one of them")
        return value

    @property
    def resource(self) -> str:
        """The queue's ARN without its partition: `sqs:eu-west-1:111111111111:bedrock-wake-ups`."""
        _, account, name = urlsplit(self.queue_url).path.split("/")
        return f"sqs:{self.region}:{account}:{name}"

    def read_external_id(self) -> str | None:
        """Return the external ID to assume the role with, from its file as it is now.

        Raises:
            ValueError: The file cannot be read any more; the message does not hold its content.
        """
        return read_external_id(self.external_id, self.external_id_file)


def region_of_queue(url: str) -> str | None:
    """The region in a queue's URL; `None` if there is none, as with an endpoint of one's own."""
    match = _HOST.fullmatch(urlsplit(url).hostname or "")
    found = (match["new"] or match["old"]) if match else None
    return found if found is not None and looks_like_region(found) else None
