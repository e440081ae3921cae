"""The JSON Schema of the configuration, for editors and for finding one's way in it."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue

from poller.times import format_duration

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from poller.settings.locations import Location
    from poller.settings.schema import Settings

_SECRET_WORDS = ("secret", "password", "token", "credential", "authorization", "api_key")


_WRAP = re.compile(r"(?<!\n)\n(?!\n)")


class _Generator(GenerateJsonSchema):
    def encode_default(self, dft: Any) -> Any:
        return format_duration(dft) if isinstance(dft, timedelta) else super().encode_default(dft)

    def field_title_should_be_set(self, _schema: Any) -> bool:
        """A title made of the key's own words adds nothing."""
        return False

    def tagged_union_schema(self, schema: Any) -> JsonSchemaValue:
        """`oneOf` is for sinks, whose `type` tells them apart; other alternatives look different anyway."""
        made = super().tagged_union_schema(schema)
        return made if "discriminator" in made or "oneOf" not in made else {"anyOf": made["oneOf"]}

    def handle_invalid_for_json_schema(self, _schema: Any, _error_info: str) -> JsonSchemaValue:
        """A third party's sink may have settings that JSON Schema cannot describe; they may be anything."""
        return {}


def json_schema(model: type[Settings]) -> dict[str, Any]:
    """Describe a model made by `configuration` as JSON Schema, draft 2020-12.

    Durations are texts, secrets are `writeOnly`, unknown keys are refused.
    """
    schema = model.model_json_schema(schema_generator=_Generator)
    sink = schema["properties"]["sinks"]["additionalProperties"]
    for reference in sink.get("discriminator", {}).get("mapping", {}).values():
        # A sink's class may give `type` a default, but in a file it is what tells the sinks apart.
        settings = schema["$defs"][reference.rpartition("/")[2]]
        settings["required"] = list(dict.fromkeys(["type", *settings.get("required", ())]))
    described: dict[str, Any] = _unwrapped(schema)
    return {"$schema": _Generator.schema_dialect} | described | {"title": "bedrock-poller"}


def _unwrapped(schema: Any) -> Any:
    """Join the lines of every description: docstrings are wrapped, tooltips need not be."""
    if isinstance(schema, list):
        return [_unwrapped(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        key: _WRAP.sub(" ", value) if key == "description" and isinstance(value, str) else _unwrapped(value)
        for key, value in schema.items()
    }


class Reference:
    """Finds the part of the schema that describes a location.

    Args:
        schema: What `json_schema` returned.
    """

    def __init__(self, schema: Mapping[str, Any]) -> None:
        self._schema = schema
        self._definitions = schema.get("$defs", {})

    def at(self, location: Location, data: Any) -> Mapping[str, Any]:
        """The schema at a location; `data` decides between the types of sinks. Empty if there is none."""
        node = self._only(self._schema, data)
        for part in location:
            node = self._only(self._child(node, part), data := _inside(data, part))
        return node

    def keys(self, node: Mapping[str, Any]) -> list[str]:
        """The keys that a mapping described by `node` may have."""
        return list(node.get("properties", ()))

    def sink_types(self) -> list[str]:
        """Every type of sink that the schema knows; empty if there is only one."""
        discriminator = self._schema["properties"]["sinks"]["additionalProperties"].get("discriminator", {})
        return sorted(discriminator.get("mapping", ()))

    def secrets(self, data: Any) -> set[str]:
        """Every text in `data` that the schema, or the name of its key, says to be secret."""
        return set(self._secrets(self._schema, data, within=False))

    def _secrets(self, node: Mapping[str, Any], data: Any, *, within: bool) -> Iterator[str]:
        for option in self._options(node, data):
            secret = within or bool(option.get("writeOnly"))
            if isinstance(data, dict | list):
                for key, value in data.items() if isinstance(data, dict) else enumerate(data):
                    below = secret or (isinstance(key, str) and _sounds_secret(key))
                    yield from self._secrets(self._child(option, key), value, within=below)
            elif secret and data is not None and not isinstance(data, bool):
                yield str(data)

    def _only(self, node: Mapping[str, Any], data: Any) -> Mapping[str, Any]:
        options = [each for each in self._options(node, data) if each.get("type") != "null"]
        mappings = [each for each in options if isinstance(data, dict) and "properties" in each]
        return next(iter(mappings or options), {})

    def _options(self, node: Mapping[str, Any], data: Any) -> list[Mapping[str, Any]]:
        """What `node` stands for once references and alternatives are followed."""
        if "$ref" in node:
            return self._options(self._definitions[node["$ref"].rpartition("/")[2]], data)
        if "discriminator" in node:
            mapping = node["discriminator"]["mapping"]
            chosen = mapping.get(str(_inside(data, node["discriminator"]["propertyName"])))
            return self._options({"$ref": chosen}, data) if chosen else [{}]
        alternatives = node.get("anyOf") or node.get("oneOf")
        if alternatives:
            return [option for each in alternatives for option in self._options(each, data)]
        return [node]

    def _child(self, node: Mapping[str, Any], key: str | int) -> Mapping[str, Any]:
        child = (
            node.get("items", {})
            if isinstance(key, int)
            else node.get("properties", {}).get(key) or node.get("additionalProperties")
        )
        return child if isinstance(child, dict) else {}


def _sounds_secret(key: str) -> bool:
    name = key.lower().replace("-", "_")
    return not name.endswith(("_file", "_files")) and any(word in name for word in _SECRET_WORDS)


def _inside(data: Any, key: str | int) -> Any:
    if isinstance(data, dict):
        return data.get(key)
    if isinstance(data, list) and isinstance(key, int) and key < len(data):
        return data[key]
    return None
