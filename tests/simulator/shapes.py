"""Holds JSON against botocore's output shapes: members known, required ones there, values in bounds."""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING, Any

from botocore.loaders import Loader
from botocore.model import ServiceModel

if TYPE_CHECKING:
    from collections.abc import Iterator

BATCH_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
ASYNC_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")


@cache
def _model(service: str) -> Any:
    return ServiceModel(Loader().load_service_model(service, "service-2"), service)


def violations(service: str, operation: str, body: Any) -> list[str]:
    """What is wrong with a response body."""
    time = ASYNC_TIME if service == "bedrock-runtime" else BATCH_TIME
    return list(_check(_model(service).operation_model(operation).output_shape, body, operation, time))


def _check(shape: Any, value: Any, path: str, time: re.Pattern[str]) -> Iterator[str]:
    if shape.type_name == "structure":
        yield from _members(shape, value, path)
        for name in value.keys() & shape.members.keys():
            yield from _check(shape.members[name], value[name], f"{path}.{name}", time)
    elif shape.type_name == "list":
        for item in value:
            yield from _check(shape.member, item, f"{path}[]", time)
    elif shape.type_name == "timestamp":
        if not time.fullmatch(value):
            yield f"{path}: {value}"
    elif shape.type_name in {"integer", "long"}:
        if not isinstance(value, int) or value < shape.metadata.get("min", 0):
            yield f"{path}: {value!r}"
    elif not isinstance(value, str) or not _fits(shape, value):
        yield f"{path}: {value!r}"


def _members(shape: Any, value: dict[str, Any], path: str) -> Iterator[str]:
    yield from (f"{path}: no {name}" for name in shape.required_members if name not in value)
    yield from (f"{path}: what is {name}?" for name in value if name not in shape.members)
    if shape.is_tagged_union and len(value) != 1:
        yield f"{path}: {len(value)} members"


def _fits(shape: Any, text: str) -> bool:
    limits = shape.metadata
    if shape.enum and text not in shape.enum:
        return False
    if not limits.get("min", 0) <= len(text) <= limits.get("max", len(text)):
        return False
    return "pattern" not in limits or re.fullmatch(limits["pattern"], text) is not None
