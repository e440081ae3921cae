"""Settings from environment variables: `BEDROCK_POLLER_POLL__INTERVAL=30s` sets `poll.interval`.

Each variable goes through pydantic-settings by itself, so that a problem can name it. Lists and mappings
are written as JSON. A variable beats the file. Kubernetes sets variables such as
`BEDROCK_POLLER_SERVICE_HOST` for a service of that name, so other names without `__` are ignored.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, cast

from pydantic_settings import EnvSettingsSource

from poller.errors import Problem
from poller.settings.error_messages import did_you_mean
from poller.settings.locations import dotted

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pydantic import BaseModel
    from pydantic.fields import FieldInfo
    from pydantic_settings import BaseSettings

    from poller.settings.locations import Location
    from poller.settings.schema import Settings
    from poller.settings.yaml_loader import Document

PREFIX = "BEDROCK_POLLER_"
_DELIMITER = "__"


class _Variable(EnvSettingsSource):
    """The environment as if it held one variable."""

    def __init__(self, model: type[Settings], name: str, value: str) -> None:
        self._only = {name.lower(): value}
        self.malformed: str | None = None
        # It asks the class for nothing but `model_config` and `model_fields`, which any model has.
        super().__init__(
            cast("type[BaseSettings]", model),
            case_sensitive=False,
            env_prefix=PREFIX,
            env_nested_delimiter=_DELIMITER,
        )

    def _load_env_vars(self) -> Mapping[str, str | None]:
        return self._only

    def decode_complex_value(self, field_name: str, field: FieldInfo, value: Any) -> Any:
        """Decode JSON; any other text stays as it is, and validation says what it should be."""
        try:
            decoded = super().decode_complex_value(field_name, field, value)
        except json.JSONDecodeError as error:
            if value.lstrip()[:1] in {"[", "{"}:
                self.malformed = f"is not valid JSON: {error.msg} at character {error.pos + 1}"
            return value
        except RecursionError:
            self.malformed = "is not valid JSON: nested too deeply"
            return value
        return decoded if isinstance(decoded, list | dict) else value


def overlay(document: Document, model: type[Settings], environ: Mapping[str, str]) -> None:
    """Put the variables over what the file says; problems go to the document's."""
    for variable, value in sorted(environ.items()):
        rest = variable.upper().removeprefix(PREFIX)
        if rest == variable.upper() or not value:
            continue
        segments = rest.lower().split(_DELIMITER)
        if segments[0] in model.model_fields and all(segments):
            _apply(document, model, variable, value, segments)
        elif (remedy := _remedy(model, segments)) is not None:
            document.problems.append(Problem("", remedy, variable))


def _apply(document: Document, model: type[Settings], variable: str, value: str, segments: list[str]) -> None:
    source = _Variable(model, variable, value)
    tree: Any = source()
    for segment in segments:
        tree = tree.get(segment) if isinstance(tree, dict) else None
    if value == "null":
        tree = None
    location = _location(document.data, segments)
    if source.malformed:
        document.problems.append(Problem(dotted(location), source.malformed, variable))
        return
    parent = document.data
    for depth, key in enumerate(location[:-1], start=1):
        if not isinstance(parent.get(str(key)), dict):
            parent[str(key)] = {}
            document.places.replace(location[:depth], variable)
        parent = parent[str(key)]
    _merge(document, parent, location, tree, variable)


def _merge(document: Document, parent: dict[str, Any], location: Location, value: Any, variable: str) -> None:
    key = str(location[-1])
    if isinstance(value, dict) and isinstance(parent.get(key), dict):
        for inner, each in value.items():
            _merge(document, parent[key], (*location, inner), each, variable)
    else:
        parent[key] = value
        document.places.replace(location, variable)


def _location(data: Mapping[str, Any], segments: list[str]) -> Location:
    """Find the sink that is meant: a variable's name has neither small letters nor hyphens."""
    sinks = data.get("sinks")
    if segments[0] == "sinks" and len(segments) > 1 and isinstance(sinks, dict):
        meant = [name for name in sinks if _folded(name) == _folded(segments[1])]
        if segments[1] not in sinks and len(meant) == 1:
            return ("sinks", meant[0], *segments[2:])
    return tuple(segments)


def _folded(name: str) -> str:
    return name.lower().replace("-", "_")


def _remedy(model: type[Settings], segments: list[str]) -> str | None:
    """What to say about a variable that sets nothing; `None` if it is not meant for us."""
    sections = list(model.model_fields)
    if len(segments) > 1:
        if not all(segments):
            return f"has an empty part; write {PREFIX}SECTION__KEY"
        guess = did_you_mean(segments[0], sections)
        known = ", ".join(sections)
        return f"sets nothing: there is no section {segments[0]!r}{guess}; the sections are: {known}"
    for section, key in _leaves(model):
        if segments[0] == f"{section}_{key}":
            name = f"{PREFIX}{section}{_DELIMITER}{key}".upper()
            return f"sets nothing; write {name}, with two underscores"
    return None


def _leaves(model: type[BaseModel]) -> Iterator[tuple[str, str]]:
    for section, field in model.model_fields.items():
        for key in getattr(field.annotation, "model_fields", ()):
            yield section, key
