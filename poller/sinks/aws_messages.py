"""What messages of SNS and SQS have in common: attributes to filter by, and the keys of FIFO delivery."""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING

from pydantic import Field

from poller.sinks.aws_sink import AwsSettings, Entry

if TYPE_CHECKING:
    from collections.abc import Mapping

    from poller.model import Event

ATTRIBUTES = ("kind", "status", "outcome", "region", "target")
"""The fields of `data` that become message attributes, beside the event's `type`."""

_LONGEST_ATTRIBUTE = 256
_KEY = re.compile(r"[A-Za-z0-9!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~]{1,128}")
# What XML 1.0, and so the services, cannot carry: control characters, halves of surrogate pairs, two others.
_UNFIT = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


class MessageSettings(AwsSettings):
    """What the sinks have that send messages to a topic or queue."""

    max_message_size: int = Field(default=256 * 1024, ge=1024, le=1024 * 1024)
    """Maximum bytes of a message with attributes, and of a request: the `MaximumMessageSize` of the topic
    or queue."""

    @property
    def limit(self) -> int:
        """Bytes of a message, and of all messages of a request."""
        return self.max_message_size

    @property
    def fifo(self) -> bool:
        """Whether the receiver keeps order and drops copies."""
        return self.arn.endswith(".fifo")


def message(event: Event, fields: Mapping[str, str], *, fifo: bool) -> Entry:
    """Make an event a message: the given fields, all of which count toward its size, and what it always has.

    Args:
        event: The event.
        fields: The message's text and what else the service shows of it.
        fifo: Whether the receiver keeps order by group and drops copies by deduplication id.
    """
    texts = {
        name: value
        for name in ("type", *ATTRIBUTES)
        if (value := _attribute(event.type if name == "type" else event.data.get(name)))
    }
    attributes = {name: {"DataType": "String", "StringValue": value} for name, value in texts.items()}
    keys = {"MessageGroupId": _key(event.job_arn), "MessageDeduplicationId": _key(event.id)} if fifo else {}
    counted = "".join([*fields.values(), *texts, *texts.values(), "String" * len(texts)])
    return Entry(event.id, {**fields, "MessageAttributes": attributes, **keys}, len(counted.encode()))


def _attribute(value: object) -> str:
    return "" if value is None else _UNFIT.sub("\ufffd", str(value))[:_LONGEST_ATTRIBUTE]


def _key(text: str) -> str:
    """Fit a name to what a FIFO receiver takes as a key: unchanged if it can be, a digest otherwise."""
    return text if _KEY.fullmatch(text) else hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
