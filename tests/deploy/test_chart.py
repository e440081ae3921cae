"""What can be said of the Helm chart without Helm; `make verify-deploy` renders it."""

from __future__ import annotations

import json
import re
from typing import Any

import jsonschema
import pytest
import yaml

from poller import __version__
from tests.deploy import chart
from tests.docs.pages import Block, blocks

VALUES_TEXT = (chart.CHART / "values.yaml").read_text()
VALUES: dict[str, Any] = yaml.safe_load(VALUES_TEXT)
SCHEMA: dict[str, Any] = json.loads(chart.VALUES_SCHEMA.read_text())
ON_THE_PAGE = [block for block in blocks("yaml") if block.page.name == "kubernetes.md"]


def _errors(values: Any) -> list[str]:
    return [error.message for error in jsonschema.Draft7Validator(SCHEMA).iter_errors(values)]


def test_copies_are_current() -> None:
    """The chart has the alerts and the dashboard as they are; `make manifests` copies them."""
    for copy, original in chart.COPIES.items():
        assert copy.read_bytes() == original.read_bytes(), copy.name


def test_schema_is_current() -> None:
    """The schema of the values has the program's own schema in it; `make manifests` puts it there."""
    assert chart.VALUES_SCHEMA.read_text() == chart.values_schema()


def test_version_is_that_of_the_program() -> None:
    """Chart and image have the version of the program."""
    about = yaml.safe_load((chart.CHART / "Chart.yaml").read_text())
    assert about["version"] == about["appVersion"] == __version__


def test_defaults_fit_the_schema() -> None:
    """The schema is one, it takes the defaults, and it knows each of them and nothing else."""
    jsonschema.Draft7Validator.check_schema(SCHEMA)
    assert _errors(VALUES) == []
    for_parents = {"enabled", "global"}
    assert VALUES.keys() == SCHEMA["properties"].keys() - for_parents
    for name, node in SCHEMA["properties"].items():
        if "properties" in node and "additionalProperties" in node:
            passed_on = name in {"dnsConfig", "lifecycle", "resources"}
            assert passed_on or VALUES[name].keys() == node["properties"].keys(), name


def test_every_value_is_explained() -> None:
    """Each value, or the group of lines that it stands in, begins with a comment."""
    for paragraph in re.split(r"\n{2,}", VALUES_TEXT.strip()):
        assert paragraph.startswith("# "), paragraph


@pytest.mark.parametrize("block", ON_THE_PAGE, ids=str)
def test_values_on_the_page_fit_the_schema(block: Block) -> None:
    """Every YAML block on the page about Kubernetes holds values of the chart."""
    assert _errors(yaml.safe_load(block.text)) == []


@pytest.mark.parametrize(
    "values",
    [
        {"persistance": {"enabled": False}},
        {"image": {"digest": "0.1.0"}},
        {"config": {"poll": {"interval": 30}}},
        {"config": {"sinks": {"ops": {"type": "webhook", "url": "https://example.com", "secret": "x"}}}},
        {"config": {"sinks": {"ops": {}}}},
    ],
)
def test_mistakes_do_not_fit(values: dict[str, Any]) -> None:
    """Misspelt names and wrong types are refused, also in the configuration and in a sink."""
    assert _errors(values)


@pytest.mark.parametrize(
    "values",
    [
        {"hostAliases": [{"ip": "10.0.0.5", "hostnames": ["hooks.example.com"]}]},
        {"dnsPolicy": "None", "dnsConfig": {"nameservers": ["10.0.0.10"], "options": [{"name": "ndots"}]}},
        {"initContainers": [{"name": "wait", "image": "wait:1"}]},
        {"extraContainers": [{"name": "proxy", "image": "proxy:1"}]},
        {"service": {"labels": {"a": "b"}, "annotations": {"c": "d"}}},
        {"commonAnnotations": {"a": "b"}},
        {"extraObjects": [{"apiVersion": "v1", "kind": "Secret"}, "apiVersion: v1"]},
        {"lifecycle": {"preStop": {"exec": {"command": ["sleep", "5"]}}}},
    ],
    ids=lambda values: next(iter(values)),
)
def test_what_users_of_other_charts_ask_for(values: dict[str, Any]) -> None:
    """What users of neighboring charts asked for is a value, which a template reads (fault 82)."""
    assert _errors(values) == []
    templates = "".join(path.read_text() for path in (chart.CHART / "templates").iterdir())
    for name, value in values.items():
        inner = value if name == "service" else {"": None}
        for key in inner:
            place = f".Values.{name}.{key}".rstrip(".")
            assert place in templates or f"Values.{name} " in templates, place
        assert _errors({name: 5})


def test_network_policy_is_on() -> None:
    """Unless the user says otherwise, the pods may reach names and HTTPS only, and are scraped (fault 82)."""
    assert VALUES["networkPolicy"]["enabled"] is True
    assert VALUES["networkPolicy"]["egress"]["ports"] == [443]
    assert VALUES["networkPolicy"]["ingress"]["from"] == []


def test_sinks_of_other_packages_fit() -> None:
    """A sink of a type that we do not know may have settings that we do not know."""
    assert _errors({"config": {"sinks": {"chat": {"type": "chat", "room": "ops"}}}}) == []
