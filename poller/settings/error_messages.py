"""What validation found, in words that name the remedy.

Pydantic speaks of models, tags and unions; an operator thinks of keys and values. Values of secret settings
are never part of a message, even of pydantic's own.
"""

from __future__ import annotations

import re
from collections import defaultdict
from datetime import timedelta
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from poller.times import format_duration

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from pydantic import ValidationError
    from pydantic_core import ErrorDetails

    from poller.errors import Problem
    from poller.settings.json_schema import Reference
    from poller.settings.locations import Location, Places

_SHORTEST_SECRET = 6
"""Shorter ones are words that any sentence may hold."""

_SPAN = re.compile(r"([0-9]+) (day|hour|minute|second|microsecond)")
_SUBJECT = re.compile(r"^(?:Input|String|Value|List|Dictionary|URL) should ")
_LIST = 'must be a list, such as ["a", "b"]; in an environment variable, as JSON'
_SIMPLE = {
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "finite_number": "must be a finite number",
    "float_parsing": "must be a number",
    "float_type": "must be a number",
    "int_from_float": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_parsing_size": "must be a whole number, and not as large",
    "int_type": "must be a whole number",
    "path_type": "must be the path of a file",
    "list_type": _LIST,
    "string_type": "must be text",
    "tuple_type": _LIST,
}
_MAPPINGS = {"dict_type", "mapping_type", "model_attributes_type", "model_type"}
_BOUNDS = {
    "greater_than": ("gt", "more than"),
    "greater_than_equal": ("ge", "at least"),
    "less_than": ("lt", "less than"),
    "less_than_equal": ("le", "at most"),
}


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return `; did you mean …?` if a known word is close, else nothing."""
    by_fold = {each.lower().replace("-", "_"): each for each in known}
    close = get_close_matches(word.lower().replace("-", "_")[:80], by_fold, n=1)
    return f"; did you mean {by_fold[close[0]]}?" if close else ""


def choose(word: str, known: Iterable[str], *, what: str) -> str:
    """Say that a word is unknown, which word is the nearest, and which there are."""
    names = sorted(known)
    return f"{word!r} is no {what}{did_you_mean(word, names)}; there are: {', '.join(names)}"


def locate(location: Sequence[str | int], data: Any, *, missing: bool = False) -> Location:
    """Reduce pydantic's location to keys and indices that stand in `data`.

    It also names types: of the sink that was validated, and of alternatives.

    Args:
        location: Pydantic's.
        data: What was validated.
        missing: Whether the last part names a key that is not there.
    """
    found: list[str | int] = []
    for index, part in enumerate(location):
        if isinstance(data, dict):
            if index == 2 and found[:1] == ["sinks"] and part == data.get("type"):  # noqa: PLR2004 - below a sink
                continue
            if part in data or (missing and index == len(location) - 1):
                found.append(part)
                data = data.get(part)
        elif isinstance(data, list) and isinstance(part, int) and part < len(data):
            found.append(part)
            data = data[part]
    return tuple(found)


def root_causes(error: ValidationError, data: Mapping[str, Any]) -> list[ErrorDetails]:
    """What pydantic found, without what merely follows from other findings."""
    return [
        detail
        for detail in error.errors(include_url=False, include_input=False)
        if detail["type"] != "default_factory_not_called"
        and not (detail["type"] == "too_short" and _value(locate(detail["loc"], data), data))
    ]


def explain(
    error: ValidationError, data: Mapping[str, Any], places: Places, reference: Reference
) -> list[Problem]:
    """Turn everything pydantic found in `data` into problems, one for each location."""
    found: dict[Location, list[str]] = defaultdict(list)
    secrets = reference.secrets(data)
    for detail in root_causes(error, data):
        location = locate(detail["loc"], data, missing=detail["type"] == "missing")
        if detail["type"].startswith("union_tag"):
            location = (*location, "type")
        what = _redacted(_sentence(detail, location, data, reference), location, data, secrets)
        if what not in found[location]:
            found[location].append(what)
    return [places.problem(location, ", or ".join(texts)) for location, texts in found.items()]


def _sentence(detail: ErrorDetails, location: Location, data: Any, reference: Reference) -> str:
    context = detail.get("ctx", {})
    value = _value(location, data)
    match detail["type"]:
        case "extra_forbidden":
            keys = reference.keys(reference.at(location[:-1], data))
            guess = did_you_mean(str(location[-1]), keys)
            what = f"is not a known key{guess}; the keys here are: {', '.join(keys)}"
        case "missing":
            about = reference.at(location, data).get("description", "has no default").partition(". ")[0]
            what = f"is missing: {about.rstrip('.')}"
        case "union_tag_not_found":
            what = f"is missing: which sink this is, one of {', '.join(reference.sink_types())}"
        case "union_tag_invalid":
            what = choose(str(context["tag"]), reference.sink_types(), what="type of sink")
        case kind if value is None and kind.endswith(("_type", "_error", "_parsing")):
            what = "has no value; give it one, or remove the key for the default"
        case "value_error" | "assertion_error":
            what = str(context["error"])
        case kind:
            node = reference.at(location, data)
            what = _mismatch(kind, context, value, node) or _SUBJECT.sub("must ", detail["msg"]).removeprefix(
                "Input "
            )
    return what


def _mismatch(kind: str, context: Mapping[str, Any], value: Any, node: Mapping[str, Any]) -> str | None:
    """Say what a value must be; `None` for a kind of error that none of our settings has."""
    what = _SIMPLE.get(kind)
    if kind == "string_type" and isinstance(value, bool | int | float):
        written = str(value).lower() if isinstance(value, bool) else "a number"
        what = f"must be text, and YAML reads this as {written}; put quotes around it"
    elif kind in _MAPPINGS:
        keys = ", ".join(node.get("properties", ()))
        what = f"must be a mapping with the keys {keys}" if keys else "must be a mapping"
    elif kind in _BOUNDS:
        bound, words = _BOUNDS[kind]
        what = f"must be {words} {_limit(context[bound])}"
    elif kind in {"too_short", "string_too_short"} and context["min_length"] == 1:
        what = "must not be empty"
    elif kind == "string_pattern_mismatch" and node.get("examples"):
        what = f"does not have the right form; write it like {node['examples'][0]}"
    elif kind == "literal_error":
        allowed = [str(each) for each in node.get("enum", [node.get("const")])]
        guess = did_you_mean(value, allowed) if isinstance(value, str) else ""
        what = f"must be {' or '.join(allowed)}{guess}"
    return what


def _limit(limit: Any) -> str:
    """Write a bound; pydantic words those of durations as `100000 microseconds` or `1 hour`."""
    parts = {
        f"{unit}s": float(number) for number, unit in _SPAN.findall(limit if isinstance(limit, str) else "")
    }
    return format_duration(timedelta(**parts)) if parts else str(limit)


def _value(location: Location, data: Any) -> Any:
    for part in location:
        if isinstance(data, dict):
            data = data.get(part)
        elif isinstance(data, list) and isinstance(part, int):
            data = data[part]
    return data


def _redacted(what: str, location: Location, data: Any, secrets: set[str]) -> str:
    here = _value(location, data)
    for secret in sorted(secrets, key=len, reverse=True):
        if secret and (len(secret) >= _SHORTEST_SECRET or secret == str(here)):
            for form in (secret, repr(secret)[1:-1]):
                what = what.replace(form, "…")
    return what
