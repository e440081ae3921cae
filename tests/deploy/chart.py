"""Keeps in the Helm chart what has its home elsewhere, since a chart can read only files inside itself.

The alerts and the dashboard are copied as they are. The program's own schema becomes part of the schema of
the chart's values, so that a mistake in `config` is found before anything is installed. It also says which
settings hold secrets, so that the chart can refuse those where everybody could read them. `make manifests`
brings all of it up to date, and so does `python -m tests.deploy.chart`, which needs no Helm.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
CHART = ROOT / "deploy" / "helm" / "bedrock-poller"
COPIES = {
    CHART / "files" / "alerts.yaml": ROOT / "deploy" / "prometheus" / "alerts.yaml",
    CHART / "files" / "dashboard.json": ROOT / "deploy" / "grafana" / "bedrock-poller.json",
}
"""Files of the chart, and what each is a copy of."""

SECRETS = CHART / "files" / "secrets.yaml"
"""What the templates know secrets by."""

# Both are matched by Python here, and by Go in the templates.
SECRET_NAMES = (
    "(?i)(secrets?|passwords?|passwd|passphrase|pwd|tokens?|api[_-]?keys?|access[_-]?keys?|signing[_-]?keys?"
    "|private[_-]?keys?|credentials?|authorization|cookies?|signature)$"
)
"""What headers, variables and the settings of unknown sinks are called if they hold a secret."""
SECRET_ADDRESSES = (
    # user:password@host. SQLAlchemy takes everything up to the first @ as the password.
    r"(?i)[a-z][a-z0-9+.-]*://[^/?#\s@:]*:[^/?#\s@]+@",
    r"(?i)postgresql[a-z0-9+]*://[^@?\s:]*:[^@\s]+@",
    # token@host
    r"(?i)https?://[^/?#\s@]+@",
    # A parameter that is called like a secret, or whose name is written in another way.
    r"(?i)://\S*[?&;][^=&;#\s]*(passw(or)?d|passphrase|secret|token|signature|credential)[^=&;#\s]*=[^&;#\s]",
    r"(?i)://\S*[?&;][^=&;#\s]*(api|access)[_-]?key[^=&;#\s]*=[^&;#\s]",
    r"(?i)://\S*[?&;](key|sig|pwd|pass|code|auth)=[^&;#\s]",
    r"(?i)postgresql[a-z0-9+]*://\S*[?&][^=&\s]*%[^=&\s]*=",
)
"""Addresses with a password or token in them."""

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


def secrets() -> str:
    """What the templates know secrets by: names, addresses, and settings that the program's schema marks."""
    schema = json.loads(_PROGRAM_SCHEMA.read_text())
    definitions = schema["$defs"]
    sinks = schema["properties"].pop("sinks")
    types = sinks["additionalProperties"]["discriminator"]["mapping"]
    found = {
        "names": SECRET_NAMES,
        "addresses": list(SECRET_ADDRESSES),
        "settings": dict(sorted(_secret_settings(schema, definitions).items())),
        "sinks": {
            name: dict(sorted(_secret_settings({"$ref": reference}, definitions).items()))
            for name, reference in sorted(types.items())
        },
    }
    header = (
        "# Generated from config/schema.json by `make manifests`: what templates/_secrets.tpl looks for.\n"
    )
    return header + yaml.safe_dump(found, sort_keys=False, width=1000)


def _secret_settings(node: Any, definitions: dict[str, Any]) -> dict[str, dict[str, str]]:
    """The secret settings in part of a schema: when a value is secret, and which setting takes a file."""
    found: dict[str, dict[str, str]] = {}
    if isinstance(node, list):
        for each in node:
            found |= _secret_settings(each, definitions)
    if not isinstance(node, dict):
        return found
    if "$ref" in node:
        return _secret_settings(definitions[node["$ref"].removeprefix("#/$defs/")], definitions)
    properties = node.get("properties", {})
    for name, setting in properties.items():
        if _is_secret(setting):
            rule = "named" if name == "headers" else "address" if "url" in name.split("_") else "always"
            singular = name.removesuffix("s")
            files = (f"{stem}_{end}" for stem in (name, singular) for end in ("file", "files"))
            found[name] = {"rule": rule, "file": next((each for each in files if each in properties), "")}
        else:
            found |= _secret_settings(setting, definitions)
    for key in ("anyOf", "oneOf", "allOf", "items", "additionalProperties"):
        found |= _secret_settings(node.get(key), definitions)
    return found


def _is_secret(node: Any) -> bool:
    if isinstance(node, list):
        return any(map(_is_secret, node))
    if not isinstance(node, dict):
        return False
    inner = ("anyOf", "oneOf", "allOf", "items", "additionalProperties")
    return node.get("format") == "password" or any(_is_secret(node.get(key)) for key in inner)


def write() -> None:
    """Bring all of it up to date."""
    SECRETS.write_text(secrets())
    for copy, original in COPIES.items():
        copy.write_bytes(original.read_bytes())
    VALUES_SCHEMA.write_text(values_schema())


if __name__ == "__main__":
    write()
