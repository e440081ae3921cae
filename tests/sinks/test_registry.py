"""Sinks are found by type, ours and those of other packages."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import ValidationError

from poller.errors import ConfigError
from poller.settings.sinks import SinkSettings
from poller.sinks import registry
from poller.sinks.isolation import IsolatedSink
from poller.sinks.log import LogSettings, LogSink
from poller.sinks.webhook import WebhookSettings, WebhookSink

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

SINK = """
from typing import Literal
from poller.settings.sinks import SinkSettings
from poller.sinks.sink import Sink
class Settings(SinkSettings):
    type: Literal["{type}"] = "{type}"
class Pigeon(Sink[Settings]):
    settings_type = Settings
    def __init__(self, name, settings):
        super().__init__(name, settings)
        {init}
    async def send(self, events):
        pass
"""


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Install packages with one sink each, for as long as the test runs."""
    monkeypatch.syspath_prepend(str(tmp_path))
    loaded: list[str] = []

    def install(package: str, code: str, *, sink: str = "pigeon", attribute: str = "Pigeon") -> None:
        module = package.replace("-", "_")
        loaded.append(module)
        (tmp_path / f"{module}.py").write_text(code)
        info = tmp_path / f"{module}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
        points = f"[bedrock_poller.sinks]\n{sink} = {module}:{attribute}\n"
        (info / "entry_points.txt").write_text(points)
        forget()

    yield install
    for module in loaded:
        sys.modules.pop(module, None)
    forget()


def forget() -> None:
    """Look for packages anew."""
    registry._third_party.cache_clear()
    registry._load.cache_clear()


def test_the_built_in_sinks_are_there() -> None:
    """Each type has its class, and its settings stand beside it."""
    assert registry.settings_types().keys() >= {"log", "sns", "webhook"}
    assert registry.sink_type("log") is LogSink
    assert registry.settings_types()["webhook"] is WebhookSettings
    assert registry.problems() == []


def test_building_gives_the_sink_of_that_type() -> None:
    """The settings' type decides about the class, the name is the configured one."""
    sink = registry.build("ops", WebhookSettings.model_validate({"url": "https://h.example"}))
    assert isinstance(sink, IsolatedSink)
    assert isinstance(sink.inner, WebhookSink)
    assert sink.name == "ops"


def test_an_unknown_type_names_those_there_are() -> None:
    """A misspelt type is answered with the list of right ones."""
    with pytest.raises(
        ConfigError, match=f"no sink of type 'webhok'; there are {', '.join(registry.BUILT_IN)}"
    ):
        registry.sink_type("webhok")


ONLY_LOGS = """
import os, pathlib, sys
from poller.app.configuration import load_settings
from poller.app.runtime import Components
from poller.sinks import registry
from poller.store import Database

os.environ["AWS_REGION"] = "eu-west-1"
settings = load_settings({path}, {{"HOME": "/"}})
Components(settings, database=Database("sqlite://"))
for name, sink in settings.sinks.items():
    registry.build(name, sink)
imported = sorted(name for name in sys.modules if name.startswith("poller.sinks."))
allowed = {{"isolation", "log", "registry", "sink"}}
assert {{name.removeprefix("poller.sinks.") for name in imported}} == allowed, imported
assert "aiohttp" not in sys.modules
"""


@pytest.mark.parametrize("configuration", [None, "sinks: {audit: {type: log}}"])
def test_a_daemon_that_only_logs_imports_no_other_sink(configuration: str | None, tmp_path: Path) -> None:
    """Neither the module of an AWS or HTTP sink, nor the HTTP client, from the configuration to the sinks."""
    path = None
    if configuration is not None:
        (tmp_path / "config.yaml").write_text(configuration)
        path = tmp_path / "config.yaml"
    subprocess.run(
        [sys.executable, "-c", ONLY_LOGS.format(path=f"pathlib.{path!r}" if path else None)], check=True
    )


def test_to_name_the_types_imports_none() -> None:
    """The registry alone loads neither the AWS SDK nor the HTTP client."""
    code = (
        "import sys; from poller.sinks import registry; registry.names(); list(registry.settings_types());"
        "registry.sink_type('log');"
        "assert not {'boto3', 'botocore', 'aiohttp'} & sys.modules.keys(), sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_third_party_sink_is_found(install: Callable[..., None]) -> None:
    """An installed package's sink is configured and built like one of ours."""
    install("carrier-pigeons", SINK.format(type="pigeon", init="pass"))
    assert "pigeon" in registry.names()
    settings = registry.settings_types()["pigeon"].model_validate({"type": "pigeon"})
    built = registry.build("loft", settings)
    assert isinstance(built, IsolatedSink)
    assert (built.name, type(built.inner).__name__) == ("loft", "Pigeon")
    assert registry.problems() == []


def test_the_name_that_earlier_releases_documented_still_works(install: Callable[..., None]) -> None:
    """A package that imports `Sink` from `poller.sinks.contract` is found and built."""
    code = SINK.format(type="pigeon", init="pass").replace("poller.sinks.sink", "poller.sinks.contract")
    assert "poller.sinks.contract" in code
    install("old-pigeons", code)
    settings = registry.settings_types()["pigeon"].model_validate({"type": "pigeon"})
    assert registry.build("loft", settings).name == "loft"
    assert registry.problems() == []


@pytest.mark.parametrize(
    ("code", "says"),
    [
        (
            "raise ImportError('no wings')",
            "cannot be imported from broken_birds:Pigeon: ImportError: no wings",
        ),
        ("raise SystemExit(1)", "cannot be imported from broken_birds:Pigeon: SystemExit: 1"),
        ("1 +", "cannot be imported from broken_birds:Pigeon: SyntaxError"),
        ("", "cannot be imported from broken_birds:Pigeon: AttributeError"),
        ("Pigeon = 7", "is broken_birds:Pigeon, which is not a subclass of Sink"),
        ("class Pigeon: pass", "is broken_birds:Pigeon, which is not a subclass of Sink"),
        (
            "from poller.sinks.sink import Sink\nclass Pigeon(Sink): pass",
            "lacks a settings_type derived from SinkSettings",
        ),
        (SINK.format(type="dove", init="pass"), 'needs settings with type: Literal["pigeon"]'),
    ],
)
def test_a_broken_package_is_one_problem_with_its_name(
    install: Callable[..., None], code: str, says: str
) -> None:
    """It is left out and named; the other sinks are as they were."""
    install("broken-birds", code)
    (problem,) = registry.problems()
    assert str(problem).startswith(f"the sink 'pigeon' of package broken-birds {says}")
    assert "pigeon" not in registry.settings_types()
    assert "pigeon" not in list(registry.settings_types())
    assert "log" in registry.settings_types()
    with pytest.raises(ConfigError, match="broken-birds"):
        registry.sink_type("pigeon")


def test_a_package_cannot_take_the_name_of_a_built_in_sink(install: Callable[..., None]) -> None:
    """Whoever installs a package keeps the webhook they know; the attempt is a problem."""
    install("impostors", SINK.format(type="webhook", init="pass"), sink="webhook")
    assert registry.sink_type("webhook") is WebhookSink
    (problem,) = registry.problems()
    assert "package impostors has the name of a built-in sink" in str(problem)


def test_of_two_packages_with_one_name_the_second_is_a_problem(install: Callable[..., None]) -> None:
    """Which one wins does not depend on the order of installation."""
    install("zebra-birds", SINK.format(type="pigeon", init="pass"))
    install("alpha-birds", SINK.format(type="pigeon", init="pass"))
    assert registry.sink_type("pigeon").__module__ == "alpha_birds"
    (problem,) = registry.problems()
    assert "package zebra-birds has the name of a sink of package alpha-birds" in str(problem)


def test_a_third_party_that_cannot_be_made_is_a_problem(install: Callable[..., None]) -> None:
    """A constructor that raises is reported with the sink's key in the configuration."""
    install("broken-birds", SINK.format(type="pigeon", init="raise KeyError('loft')"))
    settings = registry.settings_types()["pigeon"].model_validate({"type": "pigeon"})
    with pytest.raises(ConfigError, match=r"sinks\.loft: a sink of type 'pigeon' cannot be made: KeyError"):
        registry.build("loft", settings)


@pytest.mark.parametrize(
    "init",
    ["raise SystemExit(3)", "raise KeyboardInterrupt", "self.batch_size = 0", "self.batch_size = True"],
)
def test_a_third_party_that_exits_or_makes_no_sense_is_a_problem(
    install: Callable[..., None], init: str
) -> None:
    """Its constructor ends nothing, and a batch of no event is refused (fault 65)."""
    install("broken-birds", SINK.format(type="pigeon", init=init))
    settings = registry.settings_types()["pigeon"].model_validate({"type": "pigeon"})
    with pytest.raises(ConfigError, match=r"sinks\.loft: a sink of type 'pigeon' cannot be made"):
        registry.build("loft", settings)


def test_a_failure_of_our_own_is_not_dressed_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """A defect in a built-in sink comes out as it is."""

    def broken(self: Any, name: str, settings: Any) -> None:
        raise KeyError(name)

    monkeypatch.setattr(LogSink, "__init__", broken)
    with pytest.raises(KeyError):
        registry.build("audit", LogSettings())


@pytest.mark.parametrize("name", registry.BUILT_IN)
def test_every_settings_class_refuses_unknown_keys(name: str) -> None:
    """A misspelt key is an error for every sink, and every one has the settings all share."""
    settings = registry.settings_types()[name]
    assert issubclass(settings, SinkSettings)
    with pytest.raises(ValidationError, match="Extra inputs are not permitted"):
        settings.model_validate({"type": name, "tiemout": "3s"})


@pytest.mark.parametrize("name", registry.BUILT_IN)
def test_every_setting_is_described(name: str) -> None:
    """The schema that users read has a sentence for every key."""
    schema = registry.settings_types()[name].model_json_schema()
    assert schema["description"]
    missing = [key for key, value in schema["properties"].items() if not value.get("description")]
    assert missing == []
