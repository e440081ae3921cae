"""Which sinks an event goes to."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poller.rules import FIELDS, Rule, Threshold, sinks_for

DATA: dict[str, Any] = {
    "kind": "model_invocation_job",
    "status": "Failed",
    "outcome": "failed",
    "target": "prod",
    "targets": ["prod", "all-of-it"],
    "account_id": "123456789012",
    "region": "eu-west-1",
    "model_id": "arn:aws:bedrock:eu-west-1::foundation-model/amazon.nova-lite-v1:0",
    "job_name": "nightly-[7]",
}


def matches(field: str, *patterns: str, **members: Any) -> bool:
    """Whether one condition holds for the data, changed as said."""
    return Rule({field: patterns}, ("x",)).matches(DATA | members)


def test_a_rule_can_look_at_these_fields() -> None:
    """Each field is a member of every event's data."""
    assert set(FIELDS.values()) == set(DATA) - {"target"}


def test_a_target_matches_by_any_of_its_names() -> None:
    """A job that belongs to two configured targets is routed by either name (fault 49)."""
    assert matches("target", "prod")
    assert matches("target", "all-*")
    assert not matches("target", "test")


@pytest.mark.parametrize(
    ("comparison", "failed", "total", "expected"),
    [
        (">0", 0, 100, False),
        (">0", 1, 100, True),
        (" >= 5 ", 5, 100, True),
        ("<5", 5, 100, False),
        ("<=5", 5, 100, True),
        ("=100", 100, 100, True),
        (">5%", 5, 100, False),
        (">5%", 6, 100, True),
        (">=0.5%", 1, 200, True),
        (">0", None, 100, False),
        (">0", 1, None, True),
        (">5%", 1, None, False),
        (">5%", 1, 0, False),
        ("<5%", None, None, False),
        (">0", 2**63 - 1, 1, True),
    ],
)
def test_a_rule_compares_the_number_of_failed_records(
    comparison: str, failed: int | None, total: int | None, expected: bool
) -> None:
    """A number or a share; what was not counted does not match (fault 84)."""
    rule = Rule({}, ("x",), Threshold.parse(comparison))
    assert rule.matches({"records": {"failed": failed, "total": total}}) is expected
    assert not rule.matches({"records": None})
    assert not Rule({"status": ("a",)}, ("x",), rule.failed_records).matches({"status": "b"})


@pytest.mark.parametrize(
    "text", ["", "0", ">", "> -1", ">1.5", "%", ">=%", ">1e3", "≥1", ">5 percent", "!=0"]
)
def test_a_comparison_of_another_form_is_refused(text: str) -> None:
    """The message shows the value and forms that are right (fault 84)."""
    with pytest.raises(ValueError, match="is not a comparison") as caught:
        Threshold.parse(text)
    assert repr(text) in str(caught.value)


@pytest.mark.parametrize(
    ("field", "pattern"),
    [
        ("kind", "model_invocation_job"),
        ("status", "Failed"),
        ("outcome", "failed"),
        ("target", "prod"),
        ("account", "123456789012"),
        ("region", "eu-west-1"),
        ("model", "*nova-lite*"),
        ("name", "nightly-*"),
    ],
)
def test_a_rule_matches_by_each_field(field: str, pattern: str) -> None:
    """The right value matches, another does not."""
    assert matches(field, pattern)
    assert not matches(field, "other")
    assert matches(field, "other", pattern)


@pytest.mark.parametrize(
    ("pattern", "holds"),
    [
        ("eu-*", True),
        ("eu-west-?", True),
        ("eu-west-[12]", True),
        ("eu-west-[!1]", False),
        ("eu", False),
        ("EU-*", False),
        ("", False),
        ("*", True),
    ],
)
def test_patterns_are_globs_over_the_whole_value(pattern: str, holds: bool) -> None:
    """`*`, `?` and `[…]` work, capitals count, and a part is not the whole."""
    assert matches("region", pattern) is holds


def test_an_absent_value_is_the_empty_text() -> None:
    """None and a missing member match the empty pattern and `*`, and no other."""
    for members in ({"job_name": None}, {"job_name": ""}):
        assert matches("name", "", **members)
        assert matches("name", "*", **members)
        assert not matches("name", "?*", **members)
    assert Rule({"outcome": ("",)}, ("x",)).matches({})


def test_a_rule_without_conditions_matches_everything() -> None:
    """Even an event without any data."""
    assert Rule({}, ("x",)).matches({})


def test_a_condition_without_patterns_matches_nothing() -> None:
    """No pattern can hold."""
    assert not matches("status")


def test_all_conditions_have_to_hold() -> None:
    """Fields are joined by and, the patterns of one field by or."""
    rule = Rule({"status": ("Failed", "Expired"), "name": ("nightly-*",)}, ("ops",))
    assert rule.matches(DATA)
    assert rule.matches(DATA | {"status": "Expired"})
    assert not rule.matches(DATA | {"status": "Completed"})
    assert not rule.matches(DATA | {"job_name": "weekly"})


def test_each_sink_gets_an_event_once_in_the_order_named() -> None:
    """Every rule that matches adds its sinks; being named twice makes no difference."""
    rules = [
        Rule({"status": ("Failed",)}, ("ops", "topic")),
        Rule({"status": ("Completed",)}, ("done",)),
        Rule({}, ("audit", "ops")),
    ]
    assert sinks_for(rules, DATA) == ("ops", "topic", "audit")


def test_what_matches_nothing_goes_nowhere() -> None:
    """No rule, or none that holds, gives no sink."""
    assert sinks_for([], DATA) == ()
    assert sinks_for([Rule({"region": ("us-*",)}, ("ops",))], DATA) == ()


@given(
    st.lists(
        st.tuples(st.sampled_from(["Failed", "F*", "x"]), st.lists(st.sampled_from("abc"), max_size=3)),
        max_size=5,
    )
)
def test_a_sink_gets_an_event_if_and_only_if_some_rule_says_so(rules: list[tuple[str, list[str]]]) -> None:
    """The result is the union of the matching rules' sinks, without repetition."""
    made = [Rule({"status": (pattern,)}, tuple(sinks)) for pattern, sinks in rules]
    found = sinks_for(made, DATA)
    assert len(set(found)) == len(found)
    assert set(found) == {sink for pattern, sinks in rules if pattern != "x" for sink in sinks}


@given(st.text(), st.text(max_size=20))
def test_no_pattern_and_no_value_raises(value: str, pattern: str) -> None:
    """A stranger's names cannot break a rule, nor can an odd pattern."""
    assert matches("name", pattern, job_name=value) in {True, False}
    assert matches("name", "*", job_name=value)
