"""The JSON Schema, and the files in `config/` that go with it."""

from __future__ import annotations

import json
import re
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any, Literal

import pytest
import yaml
from jsonschema import Draft202012Validator
from pydantic import GetCoreSchemaHandler, SecretStr
from pydantic_core import core_schema

from poller.errors import ConfigError
from poller.settings.json_schema import Reference, json_schema
from poller.settings.loading import load
from poller.settings.schema import Settings, configuration
from poller.settings.sinks import SinkSettings
from tests.settings import samples

CONFIG = Path(__file__).parents[2] / "config"


class Odd:
    """A value that JSON Schema has no word for."""

    @classmethod
    def __get_pydantic_core_schema__(cls, _source: Any, _handler: GetCoreSchemaHandler) -> Any:
        """Be any instance of it."""
        return core_schema.is_instance_schema(cls)


class Strange(SinkSettings):
    """What a third party may come up with."""

    type: Literal["strange"]
    odd: Odd | None = None
    network: IPv4Network | None = None
    nested: dict[str, list[SecretStr]] | None = None
    anything: Any = None


@pytest.fixture(scope="module")
def real() -> type[Settings]:
    """The model of the sinks that exist."""
    from poller.sinks.registry import BUILT_IN, settings_types

    sinks = {name: settings for name, settings in settings_types().items() if name in BUILT_IN}
    return configuration(sinks)


def test_the_schema_is_valid_and_refuses_what_loading_refuses() -> None:
    """Draft 2020-12, durations as texts, unknown keys refused, secrets write-only."""
    schema = json_schema(configuration(samples.SINKS))
    Draft202012Validator.check_schema(schema)
    validator = Draft202012Validator(schema)
    assert validator.is_valid({"poll": {"interval": "30s"}, "sinks": {"a": {"type": "log"}}})
    assert not validator.is_valid({"poll": {"interval": 30}})
    assert not validator.is_valid({"poll": {"intervall": "30s"}})
    assert not validator.is_valid({"poll": {"interval": "often"}})
    assert validator.is_valid({"poll": {"interval": "auto"}, "aws": {"poll_share": "2.5%"}})
    assert not validator.is_valid({"sinks": {"a": {}}})
    assert not validator.is_valid({"targets": [{"name": "a", "kinds": ["x"]}]})
    assert schema["$defs"]["PollSettings"]["properties"]["interval"]["default"] == "auto"
    assert schema["$defs"]["PollSettings"]["properties"]["idle_interval"]["default"] == "2m"
    assert schema["$defs"]["StoreSettings"]["properties"]["url"]["writeOnly"] is True
    assert schema["$defs"]["Hook"]["properties"]["secret"]["anyOf"][0]["writeOnly"] is True


def test_every_setting_is_described(real: type[Settings]) -> None:
    """The schema is the reference; nothing in it is left to guess."""
    schema = json_schema(real)
    silent = [
        f"{name}.{key}"
        for name, definition in [("", schema), *schema["$defs"].items()]
        for key, described in definition.get("properties", {}).items()
        if "description" not in described
    ]
    assert silent == []


def test_a_sink_that_json_schema_cannot_describe_does_no_harm() -> None:
    """A third party's types are accepted as anything."""
    schema = json_schema(configuration({**samples.SINKS, "strange": Strange}))
    Draft202012Validator.check_schema(schema)
    assert Draft202012Validator(schema).is_valid({"sinks": {"a": {"type": "strange", "odd": 1}}})


def test_the_words_of_others_are_used_where_we_have_none(tmp_path: Path) -> None:
    """An error of a type that only a third party uses is still shown, at its place."""
    path = tmp_path / "config.yaml"
    path.write_text("sinks: {a: {type: strange, network: x, odd: 1}}")
    with pytest.raises(ConfigError) as caught:
        load(path, sink_types={**samples.SINKS, "strange": Strange}, environ={"HOME": "/"})
    found = {problem.where: problem.what for problem in caught.value.problems}
    assert found == {
        "sinks.a.network": "is not a valid IPv4 network",
        "sinks.a.odd": "must be an instance of Odd",
    }


def test_secrets_are_found_wherever_they_stand() -> None:
    """By what the schema says of a place, and by the names of keys that it does not know."""
    reference = Reference(json_schema(configuration({**samples.SINKS, "strange": Strange})))
    data = {
        "sinks": {
            "a": {"type": "strange", "nested": {"x": ["one", None]}, "anything": {"password": "two"}},
            "b": {"type": "webhook", "url": "open", "headers": {"h": "three"}, "secret": 4},
            "c": {"type": "unknown", "my-api-key": "five", "secret_file": "open", "tokens": ["six"]},
            "d": "open",
        },
        "store": {"url": "seven"},
    }
    assert reference.secrets(data) == {"one", "two", "three", "4", "five", "six", "seven"}


def test_the_schema_in_the_repository_is_current(real: type[Settings]) -> None:
    """`bedrock-poller schema > config/schema.json` brings it up to date."""
    assert json.loads((CONFIG / "schema.json").read_text()) == json_schema(real)


@pytest.mark.parametrize("name", ["bedrock-poller.example.yaml", "minimal.yaml"])
def test_the_examples_are_accepted(name: str) -> None:
    """On any machine, by loading and by an editor that knows the schema."""
    from poller.sinks.registry import settings_types

    path = CONFIG / name
    settings = load(path, sink_types=settings_types(), environ={"HOME": "/home/poller"})
    assert "ops" in settings.sinks
    schema = json.loads((CONFIG / "schema.json").read_text())
    assert list(Draft202012Validator(schema).iter_errors(yaml.safe_load(path.read_text()))) == []


def test_the_annotated_example_explains_every_setting(real: type[Settings]) -> None:
    """Each key stands in it, in use or in a comment; what is shown as a default is one."""
    text = (CONFIG / "bedrock-poller.example.yaml").read_text()
    schema = json_schema(real)
    for name, definition in [("", schema), *schema["$defs"].items()]:
        for key in definition.get("properties", {}):
            assert re.search(rf"\b{key}\b", text), f"{name}.{key}"
    default = real.model_validate({})
    from poller.sinks.registry import settings_types

    shown = load(
        CONFIG / "bedrock-poller.example.yaml",
        sink_types=settings_types(),
        environ={"HOME": "/"},
    )
    for section in ("poll", "aws", "web", "log", "shutdown"):
        assert getattr(shown, section) == getattr(default, section)
