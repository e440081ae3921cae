"""The alerts and the dashboard agree with the program's metrics, its kinds and the runbooks."""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from prometheus_client.metrics import MetricWrapperBase

from poller.kinds import KINDS
from poller.metrics import Metrics
from tests.docs.pages import anchors

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "deploy" / "prometheus"
RUNBOOKS = ROOT / "docs" / "runbooks.md"
RULES = [
    rule
    for group in yaml.safe_load((FOLDER / "alerts.yaml").read_text())["groups"]
    for rule in group["rules"]
]
ALERTS = {rule["alert"]: rule for rule in RULES}
DASHBOARD = json.loads((ROOT / "deploy" / "grafana" / "bedrock-poller.json").read_text())
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
OF_PROMETHEUS = {"job", "instance", "cluster", "namespace", "le"}
"""Labels that the scraper and histograms add."""

_SUFFIXES = {"counter": ["_total"], "info": ["_info"], "histogram": ["_bucket", "_count", "_sum"]}
_SELECTOR = re.compile(r"\b(bedrock_poller_\w+)(?:\{([^}]*)\})?")
_LABEL = re.compile(r"(\w+)\s*(?:=~|!~|!=|=)")


def _series() -> dict[str, set[str]]:
    """Every series that the program can have, with its labels."""
    found = {}
    for metric in vars(Metrics()).values():
        if isinstance(metric, MetricWrapperBase):
            labels = {"version"} if metric._type == "info" else set(metric._labelnames)
            for suffix in _SUFFIXES.get(str(metric._type), [""]):
                found[metric._name + suffix] = labels
    return found


def _strings(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        node = list(node.values())
    if isinstance(node, list):
        for child in node:
            yield from _strings(child)
    elif isinstance(node, str):
        yield node


def _selectors() -> Iterator[tuple[str, set[str]]]:
    """Each series that rules, their tests and the dashboard name, with the labels they select it by."""
    tests = yaml.safe_load((FOLDER / "alerts_test.yaml").read_text())
    for text in _strings([RULES, tests, DASHBOARD]):
        for name, matchers in _SELECTOR.findall(text):
            yield name, set(_LABEL.findall(matchers))


def _overlapping(panels: list[dict[str, Any]]) -> list[str]:
    taken: dict[tuple[int, int], str] = {}
    clashes: list[str] = []
    for panel in panels:
        at = panel["gridPos"]
        for x in range(at["x"], at["x"] + at["w"]):
            clashes.extend(
                f"{panel['title']} over {taken[x, y]}"
                for y in range(at["y"], at["y"] + at["h"])
                if taken.setdefault((x, y), panel["title"]) != panel["title"]
            )
    return clashes


@pytest.mark.parametrize("name", ALERTS)
def test_alerts_say_what_to_do(name: str) -> None:
    """Every alert has a severity, a summary, a description, and a runbook that exists."""
    alert = ALERTS[name]
    assert alert["labels"]["severity"] in {"critical", "warning"}
    assert alert["annotations"]["summary"].endswith(".")
    assert alert["annotations"]["description"].endswith(".")
    page, _, anchor = alert["annotations"]["runbook_url"].partition("#")
    assert ROOT / page == RUNBOOKS
    assert anchor == name.lower()
    assert anchor in anchors(RUNBOOKS)


def test_runbooks_are_of_alerts() -> None:
    """Every section about an alert is about one that exists, once."""
    sections = re.findall(r"^## (BedrockPoller\w+)$", RUNBOOKS.read_text(), re.MULTILINE)
    assert sorted(sections) == sorted(ALERTS)
    assert len(RULES) == len(ALERTS)


def test_every_alert_is_tested_both_ways() -> None:
    """The rules' own tests have for each alert a case in which it fires, and one in which it does not."""
    tried = defaultdict(set)
    for test in yaml.safe_load((FOLDER / "alerts_test.yaml").read_text())["tests"]:
        for case in test["alert_rule_test"]:
            tried[case["alertname"]].add(bool(case["exp_alerts"]))
    assert tried == {name: {True, False} for name in ALERTS}


def test_metrics_exist() -> None:
    """Every series in rules, their tests and the dashboard is ours, and selected by labels that it has."""
    series = _series()
    named = list(_selectors())
    assert len(named) > len(RULES) + len(PANELS)
    for name, labels in named:
        assert name in series
        assert labels <= series[name] | OF_PROMETHEUS, name


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel["title"])
def test_panels_are_explained(panel: dict[str, Any]) -> None:
    """Every panel has a description, a unit and a query, and asks the data source that was chosen."""
    assert panel["description"].endswith(".")
    assert panel["fieldConfig"]["defaults"]["unit"]
    assert panel["targets"]
    for asked in (panel, *panel["targets"]):
        assert asked["datasource"] == {"type": "prometheus", "uid": "${datasource}"}


def test_panels_have_their_own_place() -> None:
    """No panel lies over another or beyond the edge, and no two have the same id."""
    panels = DASHBOARD["panels"]
    assert _overlapping(panels) == []
    assert all(panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24 for panel in panels)
    assert max(Counter(panel["id"] for panel in panels).values()) == 1


def test_queries_use_the_variables() -> None:
    """Every variable is used by a query, and every variable of a query exists."""
    variables = {variable["name"] for variable in DASHBOARD["templating"]["list"]}
    queries = [target["expr"] for panel in PANELS for target in panel["targets"]]
    used = {name for query in queries for name in re.findall(r"\$\{?(\w+)", query)}
    assert used - {"__rate_interval"} == variables - {"datasource"}


def test_open_jobs_are_those_that_are_open() -> None:
    """The dashboard tells open jobs from ended ones by the statuses that the kinds declare."""
    declared = {status for kind in KINDS.values() for status in kind.open_statuses}
    texts = [text for text in _strings(PANELS) if "bedrock_poller_jobs{" in text]
    chosen = [set(found.split("|")) for text in texts for found in re.findall(r'status[=!]~"([^"]+)"', text)]
    assert len(chosen) > 2
    assert all(statuses == declared for statuses in chosen)
