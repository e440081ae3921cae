"""Writes what the documentation says of each setting and each sink: the words that the program has for them.

    make docs

docs/configuration.md arranges the settings and gives their defaults, which a test holds against the schema.
The words come from one place, so that the page, the JSON Schema and the code cannot say different things.
What follows from the declared kinds of job is written too; `tests.docs.kinds` knows it.
"""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING, Any

from poller.app.configuration import settings_model
from poller.settings.json_schema import json_schema
from tests.docs import kinds, sinks
from tests.docs.pages import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

CONFIGURATION = ROOT / "docs" / "configuration.md"
SINKS = ROOT / "docs" / "sinks.md"
EXAMPLE = ROOT / "config" / "bedrock-poller.example.yaml"
SCHEMA = json_schema(settings_model())
_OWN_WORDS = "sinks.*.type"
"""Each type of sink says of itself which one it is; the page names them all."""
_ROW = re.compile(r"\| `(?P<key>[^`]+)` \| (?P<default>.*?) \| .* \|")


def settings(node: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every setting as the page writes it, with its schema: `targets[].name`, `sinks.*.url`."""
    if "$ref" in node:
        node = {**SCHEMA["$defs"][node["$ref"].rpartition("/")[2]], **node}
    optional = [each for each in node.get("anyOf", ()) if "$ref" in each]
    if optional:
        yield path, node
        yield from settings(optional[0], path)
    elif "oneOf" in node:
        for choice in node["oneOf"]:
            yield from settings(choice, path)
    elif "properties" in node:
        if path.endswith(".match"):
            yield path, node
        for key, child in node["properties"].items():
            yield from settings(child, f"{path}.{key}" if path else key)
    elif "$ref" in node.get("items", {}):
        yield from settings(node["items"], f"{path}[]")
    elif isinstance(node.get("additionalProperties"), dict) and path == "sinks":
        yield from settings(node["additionalProperties"], "sinks.*")
    else:
        yield path, node


def generated(page: str) -> str:
    """The page with a row for each setting, and the words of the docstrings in its tables."""
    page = sinks.page_of_settings(page, SCHEMA)
    meanings = {key: node.get("description", "") for key, node in settings(SCHEMA)}

    def write(row: re.Match[str]) -> str:
        meaning = meanings.get(row["key"])
        if not meaning or row["key"] == _OWN_WORDS:
            return row[0]
        return (
            f"| `{row['key']}` | {row['default']} | {' '.join(meaning.split()).replace('|', chr(92) + '|')} |"
        )

    return "\n".join(_ROW.sub(write, line) for line in page.split("\n"))


WRITTEN: dict[Path, Callable[[str], str]] = {
    CONFIGURATION: generated,
    SINKS: sinks.page_of_sinks,
    EXAMPLE: lambda text: sinks.example(text, SCHEMA),
}
"""Each page, and what brings it up to date."""


def main() -> int:
    """Write every generated part of the documentation."""
    written = [(path, write(path.read_text())) for path, write in WRITTEN.items()]
    for path, after in (*written, *kinds.generated()):
        current = after == path.read_text()
        path.write_text(after)
        sys.stdout.write(f"{path.relative_to(ROOT)} {'was current' if current else 'is written'}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
