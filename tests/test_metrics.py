"""The metrics' names, types and labels, and what `/metrics` shows of them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from prometheus_client import generate_latest, parser
from prometheus_client.openmetrics import exposition as openmetrics_exposition
from prometheus_client.openmetrics import parser as openmetrics_parser

from poller import __version__
from poller.errors import AwsReason, DeliveryReason
from poller.metrics import DELIVERY_STATES, ITEM_REASONS, POLL_REASONS, RETAINED, SCANS, Metrics
from poller.model import Target

if TYPE_CHECKING:
    from prometheus_client.samples import Sample

GOLDEN = Path(__file__).parent / "golden" / "metrics.txt"
TARGETS = (Target("prod", "us-east-1", "async_invoke"), Target("prod", "eu-west-1", "model_invocation_job"))
PREFIX = "bedrock_poller_"

# The parsers and the second format are published without types.
parse: Any = parser.text_string_to_metric_families
parse_openmetrics: Any = openmetrics_parser.text_string_to_metric_families
generate_openmetrics: Any = openmetrics_exposition.generate_latest


def declared(metrics: Metrics) -> str:
    """One line for each metric: its name, type and labels."""
    lines = []
    for collector in metrics.registry._collector_to_names:
        (family,) = collector.collect()
        labels = ",".join(collector._labelnames)  # type: ignore[attr-defined]
        suffix = {"counter": "_total", "info": "_info"}.get(family.type, "")
        lines.append(f"{family.name}{suffix} {family.type} {{{labels}}}")
    return "\n".join(sorted(lines)) + "\n"


def samples(metrics: Metrics) -> list[Sample]:
    """Everything that a scrape would show."""
    text = generate_latest(metrics.registry).decode()
    return [sample for family in parse(text) for sample in family.samples]


@pytest.fixture
def prepared() -> Metrics:
    """Metrics that know two targets and two sinks."""
    metrics = Metrics()
    metrics.prepare(iter(TARGETS), iter(["ops", "audit"]))
    return metrics


def test_names_types_and_labels_are_the_golden_ones() -> None:
    """Dashboards and alerts rely on them; a change here is a change for every user."""
    assert declared(Metrics()) == GOLDEN.read_text()


def test_every_metric_has_the_prefix_a_help_text_and_a_name_by_the_book() -> None:
    """Lower case, base units, no unit left out, and a sentence that ends."""
    for family in Metrics().registry.collect():
        assert family.name.startswith(PREFIX)
        assert family.name == family.name.lower()
        assert family.documentation.endswith(".")
        assert not family.name.endswith(("_ms", "_minutes", "_hours", "_count"))


def test_no_label_grows_with_the_number_of_jobs() -> None:
    """Neither ARNs nor names nor ids of jobs are labels."""
    for line in GOLDEN.read_text().splitlines():
        labels = line.partition("{")[2].rstrip("}").split(",")
        assert not {"job", "job_arn", "job_id", "job_name", "arn", "event_id"} & set(labels)


def test_series_that_are_predictable_exist_from_the_start(prepared: Metrics) -> None:
    """At zero, so that a rate over them has a beginning: every target, sink and reason."""
    shown = {(sample.name, *sorted(sample.labels.values())): sample.value for sample in samples(prepared)}
    for target in TARGETS:
        place = (target.name, target.region, target.kind)
        assert shown[(f"{PREFIX}polls_total", *sorted(place))] == 0
        assert shown[(f"{PREFIX}poll_last_success_timestamp_seconds", *sorted(place))] == 0
        for reason in POLL_REASONS:
            assert shown[(f"{PREFIX}poll_failures_total", *sorted((*place, str(reason))))] == 0
    for sink in ("ops", "audit"):
        for name in ("deliveries_total", "deliveries_dead_total", "sink_parked"):
            assert shown[(PREFIX + name, sink)] == 0
        assert shown[(f"{PREFIX}outbox_oldest_pending_timestamp_seconds", sink)] == 0
        for reason in DeliveryReason:
            assert shown[(f"{PREFIX}delivery_failures_total", *sorted((sink, reason)))] == 0
        for state in DELIVERY_STATES:
            assert shown[(f"{PREFIX}outbox_deliveries", *sorted((sink, state)))] == 0
    for scan in SCANS:
        assert shown[(f"{PREFIX}scans_total", scan)] == 0
    for item in ITEM_REASONS:
        assert shown[(f"{PREFIX}items_quarantined_total", item)] == 0
    for what in RETAINED:
        assert shown[(f"{PREFIX}retention_removed_total", what)] == 0
    assert shown[(f"{PREFIX}targets",)] == 2
    assert shown[(f"{PREFIX}build_info", __version__)] == 1


def test_every_reason_of_a_failure_to_poll_is_prepared() -> None:
    """Those of AWS, and what else can go wrong."""
    assert set(AwsReason) < set(POLL_REASONS)
    assert len(set(POLL_REASONS)) == len(POLL_REASONS)


def test_what_is_shown_passes_both_parsers(prepared: Metrics) -> None:
    """Prometheus' text format and OpenMetrics, with odd label values and all."""
    prepared.polls.labels('a"b\\c\nd', "é", "{}").inc()
    prepared.jobs.labels("123456789012", "us-east-1", "async_invoke", "").set(3)
    prepared.detection_delay.observe(3)
    prepared.poll_duration.labels("us-east-1", "async_invoke").observe(0.2)
    names = {sample.name for sample in samples(prepared)}
    assert f"{PREFIX}detection_delay_seconds_bucket" in names
    assert ('a"b\\c\nd', "é") in {(s.labels.get("target"), s.labels.get("region")) for s in samples(prepared)}
    families = list(parse_openmetrics(generate_openmetrics(prepared.registry).decode()))
    assert {family.name for family in families} == {family.name for family in prepared.registry.collect()}


def test_two_instances_do_not_know_each_other() -> None:
    """Each has a registry of its own, and nothing is registered globally."""
    one, two = Metrics(), Metrics()
    one.scans.labels("full").inc()
    assert one.registry.get_sample_value(f"{PREFIX}scans_total", {"scan": "full"}) == 1
    assert two.registry.get_sample_value(f"{PREFIX}scans_total", {"scan": "full"}) is None
