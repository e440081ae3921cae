"""Which sinks there are: ours in a dict, those of other packages by entry point.

A class is imported when it is first asked for, so that a daemon that only logs never loads the AWS SDK. A
package's broken sink is a problem with a name, reported when the configuration is read; it takes down
nothing else.

A third party's `pyproject.toml`:

    [project.entry-points."bedrock_poller.sinks"]
    carrier-pigeon = "pigeons.bedrock:PigeonSink"
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any, get_args

from poller.errors import ConfigError, Problem
from poller.redaction import excerpt
from poller.settings.sinks import SinkSettings
from poller.sinks.isolation import IsolatedSink, SinkLoop
from poller.sinks.sink import Sink

GROUP = "bedrock_poller.sinks"
"""The entry-point group of third-party sinks."""

MOST_IN_A_BATCH = 1000
"""Events that one `send` may ask for."""

BUILT_IN = {
    "eventbridge": "poller.sinks.eventbridge:EventBridgeSink",
    "firehose": "poller.sinks.firehose:FirehoseSink",
    "kinesis": "poller.sinks.kinesis:KinesisSink",
    "log": "poller.sinks.log:LogSink",
    "sns": "poller.sinks.sns:SnsSink",
    "sqs": "poller.sinks.sqs:SqsSink",
    "webhook": "poller.sinks.webhook:WebhookSink",
}
"""Every sink of this package: the `type` in the configuration, and where its class is."""


@dataclass(frozen=True, slots=True)
class _ThirdParty:
    points: dict[str, EntryPoint] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)


def names() -> list[str]:
    """Every `type` that can be configured, without importing any of them."""
    return sorted({*BUILT_IN, *_third_party().points})


def sink_type(name: str) -> type[Sink[Any]]:
    """The class behind one `type`.

    Raises:
        ConfigError: There is no such sink, or the package it comes from is broken.
    """
    if name in BUILT_IN:
        loaded: type[Sink[Any]] = EntryPoint(name, BUILT_IN[name], GROUP).load()
        return loaded
    point = _third_party().points.get(name)
    if point is None:
        raise ConfigError([Problem("", f"there is no sink of type {name!r}; there are {', '.join(names())}")])
    return _load(point)


class _SettingsTypes(Mapping[str, type[SinkSettings]]):
    """Imports a built-in sink when its class is asked for, and none to tell which there are."""

    def __iter__(self) -> Iterator[str]:
        return (name for name in names() if name in BUILT_IN or not _problems_of(_third_party().points[name]))

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __getitem__(self, name: str) -> type[SinkSettings]:
        try:
            return sink_type(name).settings_type
        except ConfigError:
            raise KeyError(name) from None


def settings_types() -> Mapping[str, type[SinkSettings]]:
    """The settings class of every sink that can be loaded, by `type`; `problems` tells about the others."""
    return _SettingsTypes()


def problems() -> list[Problem]:
    """What is wrong with the third-party sinks that are installed, each naming its package."""
    found = _third_party()
    return [*found.problems, *(each for point in found.points.values() for each in _problems_of(point))]


def build(name: str, settings: SinkSettings, shared: SinkLoop | None = None) -> Sink[Any]:
    """Make the sink that `settings` describe; one that a stranger could hold up, on a loop of its own.

    Args:
        name: Its name in the configuration.
        settings: Its validated settings; their `type` says which class.
        shared: The loop of those that parse what receivers answer.

    Raises:
        ConfigError: As `sink_type`, or a third party's class cannot be made.
    """
    loaded = sink_type(settings.type)
    if settings.type in BUILT_IN:
        built = loaded(name, settings)
        return IsolatedSink(built, shared) if built.parses_strangers else built
    try:
        return IsolatedSink(_checked(loaded(name, settings)))
    except BaseException as error:
        raise ConfigError(
            [Problem(f"sinks.{name}", f"a sink of type {settings.type!r} cannot be made: {_name_of(error)}")]
        ) from error


def _problems_of(point: EntryPoint) -> tuple[Problem, ...]:
    try:
        _load(point)
    except ConfigError as error:
        return error.problems
    return ()


def _checked(sink: Sink[Any]) -> Sink[Any]:
    size: Any = sink.batch_size
    if type(size) is not int or not 1 <= size <= MOST_IN_A_BATCH:
        raise ValueError(f"its batch_size is not a number from 1 to {MOST_IN_A_BATCH}")
    return sink


@cache
def _third_party() -> _ThirdParty:
    found = _ThirdParty()
    for point in sorted(entry_points(group=GROUP), key=lambda point: (point.name, _package(point))):
        if point.name in BUILT_IN:
            found.problems.append(_problem(point, "has the name of a built-in sink and is ignored"))
        elif (other := found.points.get(point.name)) is None:
            found.points[point.name] = point
        elif point.value != other.value:
            found.problems.append(
                _problem(point, f"has the name of a sink of package {_package(other)} and is ignored")
            )
    return found


@cache
def _load(point: EntryPoint) -> type[Sink[Any]]:
    try:
        loaded = point.load()
    except BaseException as error:
        raise ConfigError(
            [_problem(point, f"cannot be imported from {point.value}: {_name_of(error)}")]
        ) from error
    if not (isinstance(loaded, type) and issubclass(loaded, Sink)):
        raise ConfigError([_problem(point, f"is {point.value}, which is not a subclass of Sink")])
    settings = getattr(loaded, "settings_type", None)
    if not (isinstance(settings, type) and issubclass(settings, SinkSettings)):
        raise ConfigError([_problem(point, "lacks a settings_type derived from SinkSettings")])
    if get_args(settings.model_fields["type"].annotation) != (point.name,):
        raise ConfigError([_problem(point, f'needs settings with type: Literal["{point.name}"]')])
    return loaded


def _problem(point: EntryPoint, what: str) -> Problem:
    return Problem("", f"the sink {point.name!r} of package {_package(point)} {what}")


def _package(point: EntryPoint) -> str:
    return point.dist.name if point.dist else point.module


def _name_of(error: BaseException) -> str:
    try:
        return excerpt(f"{type(error).__name__}: {error}", length=300)
    except Exception:  # noqa: BLE001 - its class may be a third party's
        return type(error).__name__
