"""What `make docs` writes of sinks: what the registry, their settings and their docstrings say.

A table of all types is written anew. Sections, rows and examples are written only where there are none yet,
so that what people have improved stays.
"""

from __future__ import annotations

import inspect
import re
import sys
from typing import TYPE_CHECKING, Any

from poller.settings.sinks import SinkSettings
from poller.sinks import registry

if TYPE_CHECKING:
    from collections.abc import Iterator

_TABLE = re.compile(r"\| type \| what it sends \| events in a request \|\n\|---\|---\|---\|\n(?:\| .*\n)*")
_TYPES = re.compile(r"(?m)^\| `sinks\.\*\.type` \| required \| .* \|$")


def page_of_sinks(page: str) -> str:
    """docs/sinks.md with the table of all types, and a section for each."""
    rows = "".join(
        f"| [`{name}`](#{name}) | {_summary(name)} | {registry.sink_type(name).batch_size} |\n"
        for name in registry.BUILT_IN
    )
    page = _TABLE.sub(
        lambda _: f"| type | what it sends | events in a request |\n|---|---|---|\n{rows}", page, count=1
    )
    for name in registry.BUILT_IN:
        if f"\n## {name}\n" not in page:
            words = inspect.getdoc(sys.modules[registry.sink_type(name).__module__]) or ""
            page = page.replace("\n## Your own\n", f"\n## {name}\n\n{words}\n\n## Your own\n", 1)
    return page


def page_of_settings(page: str, schema: dict[str, Any]) -> str:
    """docs/configuration.md with the names of all types, and a row for each of their settings."""
    names = ", ".join(f"`{name}`" for name in registry.BUILT_IN)
    page = _TYPES.sub(f"| `sinks.*.type` | required | {names}, or that of an installed package. |", page)
    for name in registry.BUILT_IN:
        own = list(_own_settings(name, schema))
        missing = [(key, default) for key, default, _ in own if f"\n| `sinks.*.{key}` |" not in page]
        if missing:
            others = [f"`{key}`" for key, *_ in own if key not in dict(missing)]
            besides = f" besides {', '.join(others)}" if others else ""
            rows = "".join(f"| `sinks.*.{key}` | {default} | - |\n" for key, default in missing)
            table = f"| key | default | meaning |\n|---|---|---|\n{rows}"
            page = page.replace("\n## routes\n", f"\nOf type `{name}`{besides}:\n\n{table}\n## routes\n", 1)
    return page


def example(text: str, schema: dict[str, Any]) -> str:
    """The annotated example with a sink of each type, as a comment where it has none."""
    for name in registry.BUILT_IN:
        if re.search(rf"(?m)^[ #]+type: {name}$", text):
            continue
        lines = [_summary(name), f"{name}:", f"  type: {name}"]
        lines += [f"  {key}: {value}" for key, _, value in _own_settings(name, schema)]
        end = text.index("\n\n#", text.index("\nsinks:\n"))
        text = text[:end] + "\n" + "".join(f"\n  # {line}" for line in lines) + text[end:]
    return text


def _summary(name: str) -> str:
    return (inspect.getdoc(registry.sink_type(name).settings_type) or "").partition("\n")[0]


def _own_settings(name: str, schema: dict[str, Any]) -> Iterator[tuple[str, str, Any]]:
    """The settings that not every sink has: key, default as the page writes it, an example of a value."""
    mapping = schema["properties"]["sinks"]["additionalProperties"]["discriminator"]["mapping"]
    definition = schema["$defs"][mapping[name].rpartition("/")[2]]
    for key, node in definition["properties"].items():
        if key in SinkSettings.model_fields:
            continue
        default = node.get("default")
        written = "required" if key in definition["required"] else "none" if not default else f"`{default}`"
        yield key, written, next(iter(node.get("examples", ())), default)
