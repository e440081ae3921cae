"""Settings from environment variables."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from tests.settings.samples import Hook, load_file, load_text, problems_in, problems_of

if TYPE_CHECKING:
    from pathlib import Path

CANARY = "canary-90be"


def test_a_variable_goes_before_the_file(tmp_path: Path) -> None:
    """What the file says besides stays."""
    text = "poll: {interval: 10s, overlap: 5m}"
    poll = load_text(tmp_path, text, BEDROCK_POLLER_POLL__INTERVAL="20s").poll
    assert (poll.interval, poll.overlap) == (timedelta(seconds=20), timedelta(minutes=5))


def test_names_of_variables_may_be_written_in_small_letters() -> None:
    """Container platforms differ in what they allow."""
    assert load_file(None, bedrock_poller_poll__concurrency="3").poll.concurrency == 3


def test_lists_are_json() -> None:
    """A list replaces the file's."""
    targets = json.dumps([{"name": "a", "regions": ["eu-west-1"]}])
    routes = json.dumps([{"match": {"name": "x-*"}, "sinks": ["log"]}])
    settings = load_file(None, BEDROCK_POLLER_TARGETS=targets, BEDROCK_POLLER_ROUTES=routes)
    assert settings.targets[0].regions == ("eu-west-1",)
    assert settings.routes[0].match.conditions == {"name": ("x-*",)}


def test_a_section_can_be_json_and_is_merged(tmp_path: Path) -> None:
    """Only the keys it names are replaced; a more specific variable goes before it."""
    text = "poll: {interval: 10s, overlap: 5m}"
    poll = load_text(
        tmp_path,
        text,
        BEDROCK_POLLER_POLL='{"overlap": "6m", "concurrency": 2}',
        BEDROCK_POLLER_POLL__CONCURRENCY="3",
    ).poll
    assert poll.interval == timedelta(seconds=10)
    assert poll.overlap == timedelta(minutes=6)
    assert poll.concurrency == 3


@pytest.mark.parametrize("name", ["ops", "Ops", "OPS"])
def test_a_variable_reaches_a_sink_of_the_file_whatever_its_case(tmp_path: Path, name: str) -> None:
    """Variables are written in capitals, names of sinks as the operator likes."""
    text = f"sinks: {{{name}: {{type: webhook, url: a}}}}"
    settings = load_text(tmp_path, text, BEDROCK_POLLER_SINKS__OPS__SECRET="good")
    sink = settings.sinks[name]
    assert isinstance(sink, Hook)
    assert sink.secret is not None
    assert (sink.url, sink.secret.get_secret_value()) == ("a", "good")


def test_a_hyphen_in_a_sinks_name_is_an_underscore_in_the_variable(tmp_path: Path) -> None:
    """Shells know no hyphens in names."""
    text = "sinks: {on-call: {type: log}}"
    settings = load_text(tmp_path, text, BEDROCK_POLLER_SINKS__ON_CALL__TIMEOUT="3s")
    assert settings.sinks["on-call"].timeout == timedelta(seconds=3)


def test_a_sink_can_be_made_of_variables_alone() -> None:
    """No file is needed; mappings are merged from JSON and single keys."""
    settings = load_file(
        None,
        BEDROCK_POLLER_SINKS__OPS__TYPE="webhook",
        BEDROCK_POLLER_SINKS__OPS__URL="123",
        BEDROCK_POLLER_SINKS__OPS__HEADERS='{"a": "1"}',
        BEDROCK_POLLER_SINKS__OPS__HEADERS__B="2",
        BEDROCK_POLLER_SINKS__OPS__VERIFY="false",
    )
    (sink,) = settings.sinks.values()
    assert isinstance(sink, Hook)
    assert sink.url == "123"
    assert not sink.verify
    assert {name: value.get_secret_value() for name, value in sink.headers.items()} == {"a": "1", "b": "2"}


def test_null_and_nothing() -> None:
    """`null` is no value, and an empty variable counts as not set."""
    settings = load_file(None, BEDROCK_POLLER_WEB__LISTEN="null", BEDROCK_POLLER_POLL__CONCURRENCY="")
    assert settings.web.address is None
    assert settings.poll.concurrency == 8


def test_null_brings_back_the_default(tmp_path: Path) -> None:
    """A section of the file can be switched off from outside."""
    text = "routes: [{sinks: [log]}]"
    assert load_text(tmp_path, text, BEDROCK_POLLER_ROUTES="null").routes == ()


@pytest.mark.parametrize(
    "variable",
    [
        "BEDROCK_POLLER_SERVICE_HOST",
        "BEDROCK_POLLER_PORT",
        "BEDROCK_POLLER_PORT_9477_TCP_ADDR",
        "BEDROCK_POLLER_CONFIG",
        "BEDROCK_POLLER_",
        "OTHER__THING",
    ],
)
def test_variables_of_others_are_left_alone(variable: str) -> None:
    """Kubernetes describes services by variables of the same prefix."""
    assert load_file(None, **{variable: "tcp://10.0.0.1:9477"}).poll.concurrency == 8


@pytest.mark.parametrize(
    ("variable", "value", "where", "words"),
    [
        ("BEDROCK_POLLER_POL__INTERVAL", "30s", "", "no section 'pol'; did you mean poll?"),
        ("BEDROCK_POLLER_ZZZ__INTERVAL", "30s", "", "the sections are: poll, aws"),
        ("BEDROCK_POLLER_POLL__", "30s", "", "has an empty part"),
        ("BEDROCK_POLLER_POLL_INTERVAL", "30s", "", "write BEDROCK_POLLER_POLL__INTERVAL"),
        ("BEDROCK_POLLER_POLL__INTERVALL", "30s", "poll.intervall", "did you mean interval?"),
        ("BEDROCK_POLLER_POLL__INTERVAL", "30", "poll.interval", "such as 30s"),
        ("BEDROCK_POLLER_POLL", "30s", "poll", "must be a mapping with the keys interval"),
        ("BEDROCK_POLLER_POLL__INTERVAL__X", "30s", "poll.interval", "not a duration"),
        ("BEDROCK_POLLER_ROUTES", "log", "routes", "as JSON"),
        ("BEDROCK_POLLER_ROUTES", "[{", "routes", "not valid JSON"),
        ("BEDROCK_POLLER_ROUTES", "[" * 100_000, "routes", "not valid JSON"),
        ("BEDROCK_POLLER_ROUTES", '[{"sinks": ["x"]}]', "routes[0].sinks[0]", "is no sink"),
        ("BEDROCK_POLLER_TARGETS__0__NAME", "x", "targets", "must be a list"),
        ("BEDROCK_POLLER_SINKS__X__TIMEOUT", "1s", "sinks.x.type", "which sink this is"),
        ("BEDROCK_POLLER_SINKS", '{"x": {"type": "y"}}', "sinks.x.type", "is no type of sink"),
        (
            "BEDROCK_POLLER_AWS__REQUESTS_PER_SECOND",
            "nan",
            "aws.requests_per_second",
            "must be a finite number",
        ),
        ("BEDROCK_POLLER_WEB__LISTEN", "nowhere", "web.listen", "host:port"),
    ],
)
def test_a_wrong_variable_is_named(variable: str, value: str, where: str, words: str) -> None:
    """The problem stands at the variable, with the key that it sets."""
    (problem,) = problems_of(None, **{variable: value})
    assert (problem.file, problem.line, problem.where) == (variable, None, where)
    assert words in problem.what


def test_a_problem_between_file_and_variable_names_each_ones_own_place(tmp_path: Path) -> None:
    """A sink of the file and its setting from outside keep their places, the file's first."""
    text = "sinks:\n  ops:\n    type: webhook\n    url: 1\n"
    line, variable = problems_in(tmp_path, text, BEDROCK_POLLER_SINKS__OPS__TIMEOUT="1")
    assert (line.where, line.line) == ("sinks.ops.url", 4)
    assert (variable.where, variable.file) == ("sinks.ops.timeout", "BEDROCK_POLLER_SINKS__OPS__TIMEOUT")


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("BEDROCK_POLLER_SINKS__OPS__SECRET", CANARY),
        ("BEDROCK_POLLER_SINKS__OPS__HEADERS", f'{{"a": "{CANARY}'),
        ("BEDROCK_POLLER_STORE__URL", f"mysql://u:{CANARY}@h"),
        ("BEDROCK_POLLER_STORE", f"postgresql://u:{CANARY}@h"),
    ],
)
def test_a_secret_in_a_variable_is_not_shown(variable: str, value: str) -> None:
    """Not even when it is what is wrong."""
    ops = {"BEDROCK_POLLER_SINKS__OPS__TYPE": "webhook", "BEDROCK_POLLER_SINKS__OPS__URL": "x"}
    found = problems_of(None, **ops, **{variable: value})
    assert found
    assert CANARY not in "\n".join(map(str, found))
