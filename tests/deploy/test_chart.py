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


def test_secrets_are_current() -> None:
    """The chart knows secrets by the program's schema; `make manifests` writes that down (fault 80)."""
    assert chart.SECRETS.read_text() == chart.secrets()


def test_every_secret_setting_is_known() -> None:
    """Every setting that the program's schema marks as a secret is one to the chart (fault 80)."""
    known = yaml.safe_load(chart.SECRETS.read_text())
    assert known["settings"]["external_id"] == {"rule": "always", "file": "external_id_file"}
    assert known["settings"]["url"]["rule"] == "address"
    assert known["sinks"]["webhook"]["headers"] == {"rule": "named", "file": "header_files"}
    marked = {name for settings in (known["settings"], *known["sinks"].values()) for name in settings}
    schema = json.loads((chart.ROOT / "config" / "schema.json").read_text())
    for name, definition in schema["$defs"].items():
        for setting, node in definition.get("properties", {}).items():
            # A reference to other settings stands in their definition.
            if '"format": "password"' in json.dumps(node):
                assert setting in marked, f"{name}.{setting}"


def _is_secret_address(text: str) -> bool:
    return any(re.search(pattern, text) for pattern in chart.SECRET_ADDRESSES)


@pytest.mark.parametrize(
    "address",
    [
        "postgresql://user:tiger@db.example.com/poller",
        "postgresql+psycopg://user:tiger@db.example.com/poller",
        "postgresql://user:ti/g?er@db.example.com/poller",
        "postgresql://:tiger@/poller",
        "postgresql://user@db.example.com/poller?password=tiger",
        "postgresql://user@db.example.com/poller?sslmode=require&password=tiger",
        "postgresql://user@db.example.com/poller?sslpassword=tiger",
        "postgresql://user@db.example.com/poller?pass%77ord=tiger",
        "https://user:tiger@hooks.example.com/",
        "https://tiger@hooks.example.com/",
        "https://hooks.example.com/a?token=tiger",
        "https://hooks.example.com/a?x=1&api-key=1&apiKey=tiger",
        "https://hooks.example.com/a?sv=1&sig=tiger",
        "nats://user:tiger@broker.example.com:4222",
        "HTTP://USER:TIGER@PROXY:3128",
    ],
)
def test_addresses_with_a_secret_are_recognized(address: str) -> None:
    """A password or token in an address is recognized, wherever it stands in it (fault 80)."""
    assert _is_secret_address(address)


@pytest.mark.parametrize(
    "address",
    [
        "postgresql://user@db.example.com:6432/poller?sslmode=verify-full&sslrootcert=/etc/ca.pem",
        "postgresql://user@one.example.com:6432,two.example.com:6432/poller",
        "postgresql://user@/poller?host=/run/postgresql&passfile=/etc/passfile&options=-csearch_path%3Dx",
        "sqlite:////var/lib/bedrock-poller/poller.db",
        "https://hooks.example.com:8443/a/b@c?team=ml&x=a@b",
        "https://hooks.example.com/a?filter%5Bteam%5D=ml",
        "http://[fd00::1]:9000/",
        "arn:aws:sns:eu-west-1:111111111111:bedrock-jobs",
    ],
)
def test_other_addresses_are_let_through(address: str) -> None:
    """An address without a password is not taken for one that has it (fault 80)."""
    assert not _is_secret_address(address)


@pytest.mark.parametrize(
    ("name", "secret"),
    [
        *((each, True) for each in ("secret", "secrets", "password", "token", "Authorization", "X-Api-Key")),
        *((each, True) for each in ("botToken", "DB_PASSWORD", "Cookie", "x-amz-security-token")),
        *((each, False) for each in ("secret_file", "token_file", "x-team", "room", "AWS_REGION")),
    ],
)
def test_names_of_secrets_are_recognized(name: str, secret: bool) -> None:
    """What is called like a secret is taken for one, but not the setting that names its file (fault 80)."""
    assert bool(re.search(chart.SECRET_NAMES, name)) is secret


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
