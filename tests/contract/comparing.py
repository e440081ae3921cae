"""Says where two answers differ, as text that a table can list."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Comparison:
    """What was found so far; a place is a path such as `jobs[].target`.

    Args:
        differing: Places where something is missing or has another value.
        added: Places where there is something new.
    """

    differing: dict[str, tuple[Any, Any]] = field(default_factory=dict)
    added: set[str] = field(default_factory=set)

    def compare(self, old: Any, new: Any, place: str) -> None:
        """Compare two values: members by name, items of lists by number."""
        if isinstance(old, dict) and isinstance(new, dict):
            inside = f"{place}." if place and not place.endswith(" ") else place
            for key, value in old.items():
                if key in new:
                    self.compare(value, new[key], f"{inside}{key}")
                else:
                    self.differing.setdefault(f"{inside}{key}", (value, "(missing)"))
            self.added |= {f"{inside}{key}" for key in new.keys() - old.keys()}
        elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
            for one, other in zip(old, new, strict=True):
                self.compare(one, other, f"{place}[]")
        elif type(old) is not type(new) or old != new:
            self.differing.setdefault(place, (old, new))

    def schema(self, old: Any, new: Any, place: str) -> None:
        """Compare two JSON Schemas or parts of them; prose does not count, and choices may be added."""
        if isinstance(old, dict) and isinstance(new, dict):
            for key, value in old.items():
                if key in {"description", "title"} and isinstance(value, str):
                    continue
                if key not in new:
                    self.differing.setdefault(f"{place}.{key}", (value, "(missing)"))
                elif key == "required":
                    self.added |= {f"{place}.required: {name}" for name in {*new[key]} - {*value}}
                    self.compare(sorted(value), sorted({*value} & {*new[key]}), f"{place}.required")
                else:
                    self.schema(value, new[key], f"{place}.{key}")
        elif isinstance(old, list) and isinstance(new, list):
            self.compare(old, [each for each in new if each in old], place)
        else:
            self.compare(old, new, place)


def without(value: dict[str, Any], added: set[str], place: str = "") -> dict[str, Any]:
    """A copy of an object without the members that were added to it."""
    return {
        key: without(each, added, f"{place}{key}.") if isinstance(each, dict) else each
        for key, each in value.items()
        if f"{place}{key}" not in added
    }


def parse(stdout: str) -> Any:
    """What a command printed: JSON, one object a line, a table as a list of rows, or lines of text."""
    try:
        return json.loads(stdout)
    except ValueError:
        pass
    lines = [line.rstrip() for line in stdout.splitlines()]
    try:
        return [json.loads(line) for line in lines]
    except ValueError:
        pass
    if len(lines) > 1 and re.fullmatch(r" \w+( {2,}\w+)+", lines[0]):
        return _table(lines)
    return lines


def _table(lines: list[str]) -> list[dict[str, str]]:
    """The rows of a table whose columns are padded with two spaces."""
    starts = [match.start() for match in re.finditer(r"\w+", lines[0])]
    ends = [*starts[1:], None]
    columns = list(zip(starts, ends, strict=True))
    header, *rows = [[line[start:end].strip() for start, end in columns] for line in lines]
    return [dict(zip(header, row, strict=True)) for row in rows]


def place_of(problem: str) -> str:
    """The file, line and key of a problem, without its prose."""
    where, _, rest = problem.partition(": ")
    key = re.match(r'[a-z_]\w*(?:\.\w+|\[\d+\]|\["[^"]*"\])*(?=: )', rest)
    return f"{where}: {key[0]}" if key else where
