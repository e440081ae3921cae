"""The tables of the reference pages say all that there is, and nothing else."""

from __future__ import annotations

import json
import re
from typing import Any, get_args

import pytest
from prometheus_client.metrics import MetricWrapperBase

from poller.errors import DeliveryReason, RefusalReason
from poller.events import schema as event_schema
from poller.metrics import ITEM_REASONS, POLL_REASONS, Metrics
from poller.model import EventType
from poller.sinks import registry
from poller.web.api import SELECTABLE
from tests.docs.generate import CONFIGURATION, SCHEMA, generated, settings
from tests.docs.pages import ROOT, first_column, row

DOCS = ROOT / "docs"
EVENTS = DOCS / "events.md"
METRICS = DOCS / "metrics.md"
OPERATIONS = DOCS / "operations.md"


def test_every_setting_is_documented() -> None:
    """The configuration page has a row for each key of the schema, and for no other."""
    assert set(first_column(CONFIGURATION)) == {path for path, _ in settings(SCHEMA)}


def test_meanings_are_those_of_the_program() -> None:
    """What the configuration page says of a setting is its docstring; `make docs` writes it."""
    assert CONFIGURATION.read_text() == generated(CONFIGURATION.read_text())


@pytest.mark.parametrize(("key", "node"), sorted(dict(settings(SCHEMA)).items()))
def test_defaults_are_documented(key: str, node: dict[str, Any]) -> None:
    """The configuration page gives the default that the schema gives."""
    default = node.get("default")
    written = row(CONFIGURATION, key)[1]
    if key == "sinks.*.type":
        assert written == "required"
    elif isinstance(default, bool):
        assert written == f"`{json.dumps(default)}`"
    elif isinstance(default, str | int | float):
        assert written == f"`{default}`"
    elif isinstance(default, list | dict) and not default:
        assert written == f"`{default}`" or not written.startswith("`")
    elif key != "targets[].regions":
        assert not written.startswith("`")


def test_every_metric_is_documented() -> None:
    """The page of metrics has a row for each metric with its type and labels, and for no other."""
    declared = {}
    for metric in vars(Metrics()).values():
        if isinstance(metric, MetricWrapperBase):
            suffix = {"counter": "_total", "info": "_info"}.get(str(metric._type), "")
            labels = ("version",) if metric._type == "info" else metric._labelnames
            declared[metric._name + suffix] = (metric._type, ", ".join(f"`{label}`" for label in labels))
    documented = {name: tuple(row(METRICS, name)[1:3]) for name in first_column(METRICS)}
    assert documented == declared


@pytest.mark.parametrize("reasons", [POLL_REASONS, tuple(DeliveryReason), ITEM_REASONS, tuple(RefusalReason)])
def test_every_reason_is_documented(reasons: tuple[str, ...]) -> None:
    """The page of metrics names each value of a `reason` label."""
    text = METRICS.read_text()
    for reason in reasons:
        assert f"`{reason}`" in text


def test_queries_use_metrics_that_exist() -> None:
    """Every metric that any page speaks of is in the table."""
    known = set(first_column(METRICS))
    for page in [ROOT / "README.md", *DOCS.glob("*.md")]:
        for name in re.findall(r"bedrock_poller_[a-z_]+[a-z]", page.read_text()):
            assert name in known or name == "bedrock_poller_"


def test_every_member_of_an_event_is_documented() -> None:
    """The page of events has a row for each member of the envelope, each type, and each member of `data`."""
    envelope = event_schema()["properties"]
    expected = {*envelope, *EventType, *envelope["data"]["properties"]}
    assert set(first_column(EVENTS)) == expected


@pytest.mark.parametrize("name", sorted(event_schema()["properties"]["data"]["properties"]))
def test_what_can_be_null_is_documented(name: str) -> None:
    """The page of events says `never` for exactly those members of `data` that are never null."""
    node = event_schema()["properties"]["data"]["properties"][name]
    nullable = "null" in node.get("type", ()) or None in node.get("enum", ()) or "anyOf" in node
    assert (row(EVENTS, name)[2] != "never") == nullable


def test_every_sink_is_documented() -> None:
    """The page of sinks has a heading for each built-in sink, and the configuration page names its type."""
    headings = re.findall(r"^## (.+)$", (DOCS / "sinks.md").read_text(), re.MULTILINE)
    for name in registry.BUILT_IN:
        settings = registry.sink_type(name).settings_type
        assert get_args(settings.model_fields["type"].annotation) == (name,)
        assert name in headings
        assert f"`{name}`" in row(CONFIGURATION, "sinks.*.type")[2]


def test_every_selection_of_the_api_is_documented() -> None:
    """The page of operations says by what each list of the API can be selected."""
    for name, keys in SELECTABLE.items():
        assert row(OPERATIONS, f"/api/{name}")[1] == ", ".join(f"`{key}`" for key in keys)
