"""Requests held against the constraints of the service's model, all of them, as the server does.

The SDKs check required members, types and minima only. Maxima, patterns, enumerations and the members of a
union are the server's to refuse, with one `ValidationException` that names everything wrong.
"""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING, Any

from poller.simulator.wire import ApiError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_SIZED = {"string": "length", "list": "length", "map": "length", "integer": "value", "long": "value"}


def validate(shape: Any, members: Mapping[str, Any]) -> None:
    """Check a parsed request against its input shape.

    Raises:
        ApiError: `ValidationException`, listing every constraint that is not met.
    """
    problems = list(_structure(shape, members, ""))
    if problems:
        count = f"{len(problems)} validation error{'s' if len(problems) > 1 else ''} detected: "
        raise ApiError("ValidationException", count + "; ".join(problems))


def _structure(shape: Any, members: Mapping[str, Any], path: str) -> Iterator[str]:
    for name in shape.required_members:
        if name not in members:
            yield _failed("null", _join(path, name), "Member must not be null")
    if getattr(shape, "is_tagged_union", False) and len(members) != 1:
        yield _failed("union", path, "Exactly one member of the union must be set")
    for name, value in members.items():
        yield from _value(shape.members[name], value, _join(path, name))


def _value(shape: Any, value: Any, path: str) -> Iterator[str]:
    if getattr(shape, "is_document_type", False):
        return
    if shape.type_name in _SIZED:
        yield from _size(shape, value, path)
    if shape.type_name == "structure":
        yield from _structure(shape, value, path)
    elif shape.type_name == "list":
        for index, item in enumerate(value, start=1):
            yield from _value(shape.member, item, f"{path}.{index}.member")
    elif shape.type_name == "string":
        yield from _text(shape, value, path)


def _size(shape: Any, value: Any, path: str) -> Iterator[str]:
    what = _SIZED[shape.type_name]
    size = value if what == "value" else len(value)
    low, high = shape.metadata.get("min"), shape.metadata.get("max")
    if low is not None and size < low:
        yield _failed(value, path, f"Member must have {what} greater than or equal to {low}")
    if high is not None and size > high:
        yield _failed(value, path, f"Member must have {what} less than or equal to {high}")


def _text(shape: Any, value: str, path: str) -> Iterator[str]:
    allowed = getattr(shape, "enum", None)
    if allowed and value not in allowed:
        yield _failed(value, path, f"Member must satisfy enum value set: [{', '.join(allowed)}]")
    pattern = shape.metadata.get("pattern")
    # A text that is too long is refused for that already, and some patterns take quadratic time.
    too_long = len(value) > shape.metadata.get("max", len(value))
    if pattern and not too_long and not _compiled(pattern).fullmatch(value):
        yield _failed(value, path, f"Member must satisfy regular expression pattern: {pattern}")


@cache
def _compiled(pattern: str) -> re.Pattern[str]:
    # `-*` before a class that holds the hyphen itself matches nothing more, but takes exponential time to
    # refuse a row of hyphens (the pattern of a batch job's name has it).
    return re.compile(re.sub(r"-\*(\[[^]]*\\-[^]]*\])", r"\1", pattern), re.ASCII)


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _failed(value: Any, path: str, constraint: str) -> str:
    return f"Value '{str(value)[:200]}' at '{path}' failed to satisfy constraint: {constraint}"
