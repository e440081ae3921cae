"""What messages of SNS and SQS have in common: attributes to filter by, and the keys of FIFO delivery."""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from poller.model import Event

ATTRIBUTES = ("kind", "status", "outcome", "region", "target")
"""The fields of `data` that become message attributes, beside the event's `type`."""

_LONGEST_ATTRIBUTE = 256
_KEY = re.compile(r"[A-Za-z0-9!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~]{1,128}")
# What XML 1.0, and so the services, cannot carry: control characters, halves of surrogate pairs, two others.
_UNFIT = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def message_fields(event: Event, *, fifo: bool) -> tuple[dict[str, Any], int]:
    """The fields of a message beside its text, and the bytes of them that count toward its size.

    Args:
        event: The event.
        fifo: Whether the receiver keeps order by group and drops copies by deduplication id.
    """
    attributes = {
        name: value
        for name in ("type", *ATTRIBUTES)
        if (value := _attribute(event.type if name == "type" else event.data.get(name)))
    }
    fields: dict[str, Any] = {
        "MessageAttributes": {
            name: {"DataType": "String", "StringValue": value} for name, value in attributes.items()
        }
    }
    if fifo:
        fields["MessageGroupId"] = _key(event.job_arn)
        fields["MessageDeduplicationId"] = _key(event.id)
    return fields, sum(len(name) + len("String") + len(value.encode()) for name, value in attributes.items())


def _attribute(value: object) -> str:
    return "" if value is None else _UNFIT.sub("\ufffd", str(value))[:_LONGEST_ATTRIBUTE]


def _key(text: str) -> str:
    """Fit a name to what a FIFO receiver takes as a key: unchanged if it can be, a digest otherwise."""
    return text if _KEY.fullmatch(text) else hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
