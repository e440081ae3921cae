"""Reads the configuration, or says everything that is wrong with it.

Users want to fix a file once. So nothing stops at the first problem: the file is read with its
lines, the environment is put over it, pydantic checks every section, and what is valid is checked against
each other even if other parts are not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter, ValidationError

from poller.errors import ConfigError
from poller.settings.crosschecks import Parts, check
from poller.settings.environment import PREFIX, overlay
from poller.settings.error_messages import explain, locate, root_causes
from poller.settings.json_schema import Reference, json_schema
from poller.settings.locations import Places
from poller.settings.schema import configuration
from poller.settings.store_url import default_url
from poller.settings.yaml_loader import Document, read_document

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from pathlib import Path

    from poller.errors import Problem
    from poller.settings.locations import Location
    from poller.settings.schema import Settings
    from poller.settings.sinks import SinkSettings


def load(
    path: Path | None,
    *,
    sink_types: Mapping[str, type[SinkSettings]],
    environ: Mapping[str, str],
) -> Settings:
    """Read the configuration from a file, if there is one, and the environment, which goes before it.

    Args:
        path: The YAML file; `None` for defaults and the environment alone.
        sink_types: Settings class by the sink's `type`.
        environ: The environment; variables that begin with `BEDROCK_POLLER_` are settings.

    Raises:
        ConfigError: Something is wrong; its `problems` are all there are, in the order of the file.
    """
    document = read_document(path) if path is not None else Document({}, Places())
    settings = _settings(document, sink_types, environ) if document.readable else None
    if settings is None or document.problems:
        raise ConfigError(sorted(document.problems, key=_order))
    return settings


def _order(problem: Problem) -> tuple[bool, int, str]:
    """The file from top to bottom, then the environment."""
    return problem.line is None, problem.line or 0, problem.where


def _settings(
    document: Document,
    sink_types: Mapping[str, type[SinkSettings]],
    environ: Mapping[str, str],
) -> Settings | None:
    model = configuration(_used(document.data.get("sinks"), sink_types, environ))
    overlay(document, model, environ)
    # A section whose lines are all commented out is an empty one.
    data = {key: value for key, value in document.data.items() if value is not None}
    store = data.setdefault("store", {})
    if isinstance(store, dict) and "url" not in store:
        try:
            store["url"] = default_url(environ).get_secret_value()
        except ValueError as error:
            document.problems.append(document.places.problem(("store", "url"), str(error)))
            store["url"] = "sqlite:////nowhere"
    wrong: set[Location] = set()
    settings, invalid = _validated(model, data)
    if invalid is not None:
        # With every type of sink, a problem has the same words whichever of them are in use.
        model = configuration(sink_types)
        settings, invalid = _validated(model, data)
    if invalid is not None:
        reference = Reference(json_schema(model))
        document.problems.extend(explain(invalid, data, document.places, reference))
        wrong = {locate(detail["loc"], data)[:2] for detail in root_causes(invalid, data)}
    for location, what in check(_parts(data, wrong, model)):
        document.problems.append(document.places.problem(locate(location, data), what))
    return settings


def _used(
    sinks: Any, sink_types: Mapping[str, type[SinkSettings]], environ: Mapping[str, str]
) -> Mapping[str, type[SinkSettings]]:
    """The types that the sinks of a file have; all there are if one cannot be told, or variables set some.

    The class of a type that is not used is not imported: a daemon that only logs needs no HTTP client.
    """
    if any(variable.upper().startswith(f"{PREFIX}SINKS") for variable in environ):
        return sink_types
    given = [{"type": "log"}] if sinks is None else list(sinks.values()) if isinstance(sinks, dict) else []
    used = [sink.get("type") if isinstance(sink, dict) else None for sink in given]
    known = {name: sink_types[name] for name in sink_types if name in used}
    return known if known and all(isinstance(name, str) and name in known for name in used) else sink_types


def _validated(
    model: type[Settings], data: Mapping[str, Any]
) -> tuple[Settings | None, ValidationError | None]:
    try:
        return model.model_validate(data), None
    except ValidationError as error:
        return None, error


def _parts(data: Mapping[str, Any], wrong: Collection[Location], model: type[Settings]) -> Parts:
    """Take the entries without problems of their own, and the names of all entries."""
    valid: dict[str, dict[int, Any]] = {}
    for section in ("targets", "routes", "wake_ups"):
        field = model.model_fields[section]
        entries = data.get(section, field.default)
        usable = isinstance(entries, list | tuple) and (section,) not in wrong
        indices = [index for index in range(len(entries)) if (section, index) not in wrong] if usable else []
        adapter: TypeAdapter[Any] = TypeAdapter(field.annotation or Any)
        valid[section] = dict(
            zip(indices, adapter.validate_python([entries[each] for each in indices]), strict=True)
        )
    sinks = data.get("sinks", model.model_fields["sinks"].default)
    return Parts(
        targets=valid["targets"],
        routes=valid["routes"],
        wake_ups=valid["wake_ups"],
        sink_names=list(sinks) if isinstance(sinks, dict) else None,
        target_names=_names(data.get("targets", model.model_fields["targets"].default)),
    )


def _names(targets: Any) -> list[str] | None:
    """The names of all targets; `None` if one cannot be read, because a route may mean that one."""
    if not isinstance(targets, list | tuple):
        return None
    names = [target.get("name") if isinstance(target, dict) else None for target in targets]
    texts = [name for name in names if isinstance(name, str)]
    return texts if len(texts) == len(names) else None
