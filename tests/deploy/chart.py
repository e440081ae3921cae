"""Keeps in the Helm chart what has its home elsewhere, since a chart can read only files inside itself.

The alerts and the dashboard are copied as they are. The program's own schema becomes part of the schema of
the chart's values, so that a mistake in `config` is found before anything is installed. `make manifests`
brings all of it up to date, and so does `python -m tests.deploy.chart`, which needs no Helm.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
CHART = ROOT / "deploy" / "helm" / "bedrock-poller"
COPIES = {
    CHART / "files" / "alerts.yaml": ROOT / "deploy" / "prometheus" / "alerts.yaml",
    CHART / "files" / "dashboard.json": ROOT / "deploy" / "grafana" / "bedrock-poller.json",
}
"""Files of the chart, and what each is a copy of."""

VALUES_SCHEMA = CHART / "values.schema.json"
_PROGRAM_SCHEMA = ROOT / "config" / "schema.json"
_PREFIX = "config"


def values_schema() -> str:
    """The schema of the values: the chart's own part as it stands, the program's part as it should be."""
    schema = json.loads(VALUES_SCHEMA.read_text())
    own = {name: node for name, node in schema["definitions"].items() if not name.startswith(_PREFIX)}
    return json.dumps({**schema, "definitions": {**own, **_of_the_program()}}, indent=2) + "\n"


def _of_the_program() -> dict[str, Any]:
    schema = json.loads(_PROGRAM_SCHEMA.read_text())
    definitions = schema.pop("$defs")
    del schema["$schema"]
    sinks = schema["properties"]["sinks"]
    # Which of several alternatives was meant cannot be told in an error, and packages may add sinks: hence a
    # sink is held against the settings of its own type, if that is a type we know.
    types = sinks["additionalProperties"]["discriminator"]["mapping"]
    sinks["additionalProperties"] = {
        "type": "object",
        "required": ["type"],
        "allOf": [
            {"if": {"properties": {"type": {"const": name}}}, "then": {"$ref": reference}}
            for name, reference in sorted(types.items())
        ],
    }
    whole = {_PREFIX: schema, **{f"{_PREFIX}{name}": node for name, node in sorted(definitions.items())}}
    renamed: dict[str, Any] = json.loads(json.dumps(whole).replace("#/$defs/", f"#/definitions/{_PREFIX}"))
    return renamed


def write() -> None:
    """Bring all of it up to date."""
    for copy, original in COPIES.items():
        copy.write_bytes(original.read_bytes())
    VALUES_SCHEMA.write_text(values_schema())


if __name__ == "__main__":
    write()
