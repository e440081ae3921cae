"""Writes what docs/configuration.md says of each setting: the docstring that the setting has in the program.

    make docs

The page arranges the settings and gives their defaults, which a test holds against the schema; the words come
from one place, so that the page, the JSON Schema and the code cannot say different things.
"""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING, Any

from poller.app.configuration import settings_model
from poller.settings.json_schema import json_schema
from tests.docs.pages import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

CONFIGURATION = ROOT / "docs" / "configuration.md"
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
    """The page with the words of the docstrings in its tables."""
    meanings = {key: node.get("description", "") for key, node in settings(SCHEMA)}

    def write(row: re.Match[str]) -> str:
        meaning = meanings.get(row["key"])
        if not meaning or row["key"] == _OWN_WORDS:
            return row[0]
        return (
            f"| `{row['key']}` | {row['default']} | {' '.join(meaning.split()).replace('|', chr(92) + '|')} |"
        )

    return "\n".join(_ROW.sub(write, line) for line in page.split("\n"))


def main() -> int:
    """Write the page anew."""
    before = CONFIGURATION.read_text()
    after = generated(before)
    CONFIGURATION.write_text(after)
    sys.stdout.write(
        f"{CONFIGURATION.relative_to(ROOT)} {'was current' if after == before else 'is written anew'}\n"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
