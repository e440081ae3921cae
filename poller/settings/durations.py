"""Durations as a type of setting."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any

from pydantic import BeforeValidator, PlainSerializer, WithJsonSchema

from poller.durations import PATTERN, format_duration, parse_duration


def _validate(value: Any) -> timedelta:
    if isinstance(value, timedelta):
        return value
    if not isinstance(value, str):
        raise ValueError(  # noqa: TRY004 - pydantic reports this one with the key
            f"{value!r} is not a duration; write a number with a unit, such as 30s, 2m, 6h or 3d"
        )
    return parse_duration(value.strip())


Duration = Annotated[
    timedelta,
    BeforeValidator(_validate),
    PlainSerializer(format_duration, return_type=str),
    WithJsonSchema({"type": "string", "pattern": f"^{PATTERN}$", "examples": ["30s", "2m", "6h"]}),
]
