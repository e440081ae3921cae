"""The YAML file, read so that every value's line is known and no input can harm.

PyYAML's safe loader composes the nodes; the values are made of them here, because only the nodes know their
lines, show a key that is set twice, and can be counted before an alias is expanded. Plain words become
what YAML 1.2 says: `no`, `on` and `12:30` are text, not a boolean and a number.

Nothing here quotes the file: a line that cannot be parsed may hold a secret.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import yaml

from poller.errors import Problem
from poller.settings.locations import Location, Places

if TYPE_CHECKING:
    from pathlib import Path

_LARGEST = 1024 * 1024
_MOST_NODES = 100_000
_DEEPEST = 100
_TOO_MUCH = f"has more than {_MOST_NODES} values or {_DEEPEST} levels, aliases expanded; write less"
_TAG = "tag:yaml.org,2002:"


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader with the plain scalars of YAML 1.2, and limits."""

    yaml_implicit_resolvers = {}  # noqa: RUF012 - PyYAML's way to start afresh

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth = 0
        self._nodes = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        self._depth += 1
        self._nodes += 1
        if self._depth > _DEEPEST or self._nodes > _MOST_NODES:
            raise _UnusableError(_TOO_MUCH, self.get_mark().line + 1)
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node


for _name, _pattern, _first in (
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    # Longer numbers, and those with leading zeros, are names made of digits.
    ("int", r"[-+]?(?:0|[1-9][0-9]{0,17})", "-+0123456789"),
    ("float", r"[-+]?(?:[0-9]{1,18}\.[0-9]{0,18}|\.[0-9]{1,18})(?:[eE][-+]?[0-9]{1,3})?", "-+.0123456789"),
    ("merge", r"<<", "<"),
):
    _Loader.add_implicit_resolver(_TAG + _name, re.compile(rf"^(?:{_pattern})$"), list(_first))


class _UnusableError(Exception):
    """The file cannot be read at all."""

    def __init__(self, what: str, line: int | None = None) -> None:
        super().__init__(what)
        self.what = what
        self.line = line


@dataclass(slots=True)
class Document:
    """What a file says.

    Args:
        data: Its keys and values; empty where `problems` say that it cannot be read at all.
        places: The line of each of them.
        problems: What is wrong with it as YAML.
        readable: Whether `data` means something.
    """

    data: dict[str, Any]
    places: Places
    problems: list[Problem] = field(default_factory=list)
    readable: bool = True


def read_document(path: Path) -> Document:
    """Read a YAML file of at most 1 MiB; whatever is wrong with it becomes a problem, never an exception."""
    places = Places(str(path))
    reader = _Reader(places)
    try:
        data = reader.document(_compose(_text(path)))
    except _UnusableError as error:
        return Document({}, places, [Problem("", error.what, str(path), error.line)], readable=False)
    return Document(data, places, reader.problems)


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            content = file.read(_LARGEST + 1) if size <= _LARGEST else b""
    except OSError as error:
        raise _UnusableError(
            f"cannot be read: {error.strerror}; check the path and its permissions"
        ) from error
    except ValueError as error:
        raise _UnusableError("cannot be read: the path holds a NUL character") from error
    if max(size, len(content)) > _LARGEST:
        raise _UnusableError("is larger than 1 MiB, which no configuration is; check the path")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise _UnusableError("is not UTF-8 text; save it as UTF-8", line) from error


def _compose(text: str) -> yaml.Node | None:
    try:
        return _Loader(text).get_single_node()
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise _UnusableError(
            "holds a control character, which YAML does not allow; remove it", line
        ) from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        raise _UnusableError(_explain(error), mark.line + 1 if mark else None) from error


_EXPLAINED = {
    "another document": "holds several documents; keep one, and remove the lines `---` between them",
    "undefined alias": "has a value that starts with *, an alias to nothing; put quotes around the value",
    "second occurrence": "has the same anchor (&) twice; rename one, or quote a value that starts with &",
    "tag handle": "has a value that starts with !, which is a tag to YAML; put quotes around the value",
    r"'\t'": "has a tab, which YAML does not allow there; indent with spaces",
}


def _explain(error: yaml.MarkedYAMLError) -> str:
    """Say what is wrong without the anchors and tags that PyYAML quotes: unquoted secrets look like them."""
    problem = error.problem or "it cannot be parsed"
    return next(
        (what for sign, what in _EXPLAINED.items() if sign in problem), f"is not valid YAML: {problem}"
    )


class _Reader:
    """Makes values of nodes, and notes lines and problems."""

    def __init__(self, places: Places) -> None:
        self._places = places
        self._nodes = 0
        self.problems: list[Problem] = []

    def document(self, node: yaml.Node | None) -> dict[str, Any]:
        """The whole file; an empty one, or one of comments, is an empty mapping.

        Raises:
            _UnusableError: It is not a mapping, or too large once its aliases are expanded.
        """
        data = None if node is None else self.value(node, (), 0)
        if data is not None and not isinstance(data, dict):
            raise _UnusableError("must hold keys with values, such as `poll: {interval: 30s}`", 1)
        return data or {}

    def value(self, node: yaml.Node, at: Location, depth: int) -> Any:
        """What a node stands for, its place in the file noted."""
        self._nodes += 1
        if self._nodes > _MOST_NODES or depth > _DEEPEST:
            raise _UnusableError(_TOO_MUCH, node.start_mark.line + 1)
        if isinstance(node, yaml.MappingNode) and node.tag == _TAG + "map":
            return self._mapping(node, at, depth)
        if isinstance(node, yaml.SequenceNode) and node.tag == _TAG + "seq":
            return [self._entry(item, (*at, index), depth) for index, item in enumerate(node.value)]
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node, at)
        return self._tagged(at)

    def _entry(self, node: yaml.Node, at: Location, depth: int) -> Any:
        self._places.mark(at, node.start_mark.line + 1)
        return self.value(node, at, depth + 1)

    def _mapping(self, node: yaml.MappingNode, at: Location, depth: int) -> dict[str, Any]:
        found: dict[str, Any] = {}
        lines: dict[str, int] = {}
        merged: list[tuple[yaml.Node, int]] = []
        for key, value in node.value:
            line = key.start_mark.line + 1
            if key.tag == _TAG + "merge":
                merged.append((value, line))
            elif not isinstance(key, yaml.ScalarNode) or key.tag != _TAG + "str":
                self._places.mark((*at, "?"), line)
                self._problem((*at, "?"), "has a key that is not a text; put quotes around the key")
            elif key.value in found:
                self._places.mark((*at, key.value), line)
                self._problem(
                    (*at, key.value),
                    f"is set twice, on lines {lines[key.value]} and {line}; keep one of them",
                )
                self._places.mark((*at, key.value), lines[key.value])
            else:
                lines[key.value] = line
                self._places.mark((*at, key.value), line)
                found[key.value] = self.value(value, (*at, key.value), depth + 1)
        for value, line in merged:
            self._merge(found, value, at, line, depth)
        return found

    def _merge(self, found: dict[str, Any], node: yaml.Node, at: Location, line: int, depth: int) -> None:
        """Add what `<<: *anchor` brings; the mapping's own keys go before it."""
        for source in node.value if isinstance(node, yaml.SequenceNode) else [node]:
            if not isinstance(source, yaml.MappingNode):
                self._places.mark((*at, "<<"), line)
                self._problem((*at, "<<"), "must name an anchored mapping, such as <<: *defaults")
                continue
            # Its problems were reported where it stands under its own name.
            reader = _Reader(Places())
            reader._nodes = self._nodes
            brought = reader.value(source, (), depth + 1) or {}
            self._nodes = reader._nodes
            for key in brought.keys() - found.keys():
                found[key] = brought[key]
                self._places.mark((*at, key), line)

    def _scalar(self, node: yaml.ScalarNode, at: Location) -> Any:
        text: str = node.value
        match node.tag.removeprefix(_TAG):
            case "str":
                return text
            case "null":
                return None
            case "bool" if text.lower() in {"true", "false"}:
                return text.lower() == "true"
            case "int" | "float" as kind:
                try:
                    return int(text) if kind == "int" else float(text)
                except ValueError:
                    return self._tagged(at)
            case _:
                return self._tagged(at)

    def _tagged(self, at: Location) -> None:
        self._problem(at, "starts with !, which is a tag to YAML; put quotes around the value")

    def _problem(self, at: Location, what: str) -> None:
        self.problems.append(self._places.problem(at, what))
