"""What the settings mean once they are read."""

from __future__ import annotations

import os
from datetime import timedelta
from typing import TYPE_CHECKING, Literal

import pytest
from pydantic import ValidationError

from poller.rules import FIELDS
from poller.settings.schema import FirstScanSettings, MatchSettings, Settings, TargetSettings, configuration
from poller.settings.sinks import RetrySettings, SinkSettings
from tests.settings.samples import SINKS, Log, load_file, load_text

if TYPE_CHECKING:
    from pathlib import Path

ROLE = "arn:aws:iam::111111111111:role/r"


def test_without_a_file_everything_has_a_default() -> None:
    """Current credentials and region, every kind, SQLite, the log sink."""
    settings = load_file(None)
    (target,) = settings.targets
    assert (target.name, target.regions, target.role_arn) == ("default", (), None)
    assert target.kinds == ("async_invoke", "model_invocation_job")
    assert settings.sinks == {"log": Log(type="log")}
    assert settings.routes == ()
    assert settings.web.address == ("127.0.0.1", 9477)
    assert settings.poll.first_scan == "baseline"
    assert settings.shutdown.grace == timedelta(seconds=20)


def test_settings_do_not_change_once_read() -> None:
    """Sections are frozen."""
    with pytest.raises(ValidationError):
        load_file(None).poll.concurrency = 1  # type: ignore[misc]


def test_intervals_follow_a_budget_unless_one_is_set(tmp_path: Path) -> None:
    """By default, by name, or by an environment variable that goes before the file."""
    assert load_file(None).poll.interval is None
    assert load_text(tmp_path, "poll: {interval: auto}").poll.interval is None
    assert load_text(tmp_path, "poll: {interval: 30s}").poll.interval == timedelta(seconds=30)
    fixed = load_text(tmp_path, "poll: {interval: auto}", BEDROCK_POLLER_POLL__INTERVAL="30s").poll
    assert (fixed.interval, fixed.idle_interval) == (timedelta(seconds=30), timedelta(minutes=2))
    free = load_text(tmp_path, "poll: {interval: 30s}", BEDROCK_POLLER_POLL__INTERVAL="auto").poll
    assert free.interval is None


@pytest.mark.parametrize(
    ("written", "share"), [("10%", 0.1), ("2.5%", 0.025), ("100%", 1), ("0.1", 0.1), ("1", 1)]
)
def test_a_share_is_a_percentage_or_a_fraction(tmp_path: Path, written: str, share: float) -> None:
    """In a file and in an environment variable; 10% by default."""
    assert load_text(tmp_path, f"aws: {{poll_share: {written}}}").aws.poll_share == pytest.approx(share)
    given = load_file(None, BEDROCK_POLLER_AWS__POLL_SHARE=written).aws
    assert given.poll_share == pytest.approx(share)
    assert load_file(None).aws.poll_share == pytest.approx(0.1)


def test_a_first_scan_can_look_back(tmp_path: Path) -> None:
    """A mapping with a duration, also from the environment."""
    day = timedelta(hours=24)
    polls = (
        load_text(tmp_path, "poll: {first_scan: {since: 24h}}").poll,
        load_file(None, BEDROCK_POLLER_POLL__FIRST_SCAN__SINCE="24h").poll,
        load_file(None, BEDROCK_POLLER_POLL__FIRST_SCAN='{"since": "24h"}').poll,
    )
    for poll in polls:
        assert isinstance(poll.first_scan, FirstScanSettings)
        assert poll.first_scan.since == day


def test_slow_polling_slows_down_the_rest(tmp_path: Path) -> None:
    """Intervals that are not set follow one that is longer than their default."""
    poll = load_text(tmp_path, "poll: {interval: 2d}").poll
    assert poll.idle_interval == poll.full_scan_interval == timedelta(days=2)
    assert RetrySettings(initial=timedelta(hours=5)).max == timedelta(hours=5)


@pytest.mark.parametrize(
    ("listen", "address"),
    [
        ("127.0.0.1:0", ("127.0.0.1", 0)),
        ("'[::1]:80'", ("::1", 80)),
        ("localhost:9477", ("localhost", 9477)),
        ("null", None),
    ],
)
def test_the_web_server_listens_on_an_address_or_not_at_all(
    tmp_path: Path, listen: str, address: tuple[str, int] | None
) -> None:
    """Names, IPv4 and IPv6 addresses, any port, or `null`."""
    assert load_text(tmp_path, f"web: {{listen: {listen}}}").web.address == address


def test_capitals_in_a_log_level_do_not_matter(tmp_path: Path) -> None:
    """Both spellings are common."""
    assert load_text(tmp_path, "log: {level: WARNING}").log.level == "warning"


def test_a_match_has_exactly_the_keys_that_rules_know() -> None:
    """What can be configured can be matched, and the reverse."""
    assert list(MatchSettings.model_fields) == [*FIELDS, "failed_records"]


def test_a_match_takes_one_value_or_several(tmp_path: Path) -> None:
    """Account numbers may be written without quotes, with leading zeros too."""
    text = """
targets: [{name: prod}]
routes:
  - match:
      kind: "*_job"
      status: [Failed, "Partial*", Unheard-*]
      outcome: ["", succeeded]
      target: pr?d
      account: [111111111111, 012345678901, "2*"]
      region: [eu-west-1, us-*]
      model: anthropic.*
      name: nightly
    sinks: [log]
"""
    (route,) = load_text(tmp_path, text).routes
    assert route.match.conditions == {
        "kind": ("*_job",),
        "status": ("Failed", "Partial*", "Unheard-*"),
        "outcome": ("", "succeeded"),
        "target": ("pr?d",),
        "account": ("111111111111", "012345678901", "2*"),
        "region": ("eu-west-1", "us-*"),
        "model": ("anthropic.*",),
        "name": ("nightly",),
    }
    assert route.sinks == ("log",)


@pytest.mark.parametrize(
    "second",
    [
        "{name: b, regions: [eu-west-1]}",
        "{name: b, regions: [us-east-1], profile: p}",
        f"{{name: b, regions: [us-east-1], role_arn: '{ROLE}'}}",
        "{name: b, regions: [us-east-1], kinds: [model_invocation_job]}",
    ],
)
def test_targets_may_differ_in_anything(tmp_path: Path, second: str) -> None:
    """Another region, profile, role or kind is another set of jobs."""
    text = f"targets: [{{name: a, regions: [us-east-1], kinds: [async_invoke]}}, {second}]"
    assert len(load_text(tmp_path, text).targets) == 2


def test_an_external_id_is_read_anew_each_time(tmp_path: Path) -> None:
    """A rotated file takes effect at the next use; a broken one says so without its content."""
    path = tmp_path / "id"
    path.write_text("first-id\n")
    text = f"targets: [{{name: a, role_arn: '{ROLE}', external_id_file: {path}}}]"
    (target,) = load_text(tmp_path, text).targets
    assert target.read_external_id() == "first-id"
    path.write_text("second-id\n")
    assert target.read_external_id() == "second-id"
    path.write_text("not an id")
    with pytest.raises(ValueError, match="is not an external ID"):
        target.read_external_id()


def test_an_external_id_may_stand_in_the_file(tmp_path: Path) -> None:
    """It is kept out of what is printed all the same."""
    text = f"targets: [{{name: a, role_arn: '{ROLE}', external_id: canary-1}}, {{name: b}}]"
    first, second = load_text(tmp_path, text).targets
    assert (first.read_external_id(), second.read_external_id()) == ("canary-1", None)
    assert "canary-1" not in repr(first)


@pytest.mark.parametrize("partition", ["aws", "aws-cn", "aws-us-gov", "aws-iso-b"])
def test_roles_of_every_partition_are_accepted(partition: str) -> None:
    """China, GovCloud and the isolated ones have ARNs of their own."""
    arn = f"arn:{partition}:iam::111111111111:role/team/reader@x"
    assert TargetSettings(name="a", role_arn=arn).role_arn == arn


@pytest.mark.parametrize(
    "region",
    ["us-east-1", "ap-southeast-3", "us-gov-west-1", "us-iso-east-1", "mx-central-1", "eusc-de-east-1"],
)
def test_regions_of_every_partition_are_accepted(region: str) -> None:
    """Which regions exist changes too often to list them; only the shape counts."""
    assert TargetSettings(name="a", regions=(region,)).regions == (region,)


def test_a_sinks_class_must_declare_its_type() -> None:
    """A mistake of whoever writes a sink is an error with its name, not a strange configuration."""

    class Pigeon(SinkSettings):
        type: Literal["dove"]

    with pytest.raises(TypeError, match=r'Pigeon must declare: type: Literal\["pigeon"\]'):
        configuration({"log": Log, "pigeon": Pigeon})


def test_one_type_of_sink_is_enough() -> None:
    """There need not be a choice."""
    model = configuration({"log": Log})
    assert model.model_validate({}).sinks == {"log": Log(type="log")}


def test_reading_does_not_touch_the_process_environment() -> None:
    """What is not handed over does not count, and nothing is set."""
    before = dict(os.environ)
    os.environ["BEDROCK_POLLER_POLL__CONCURRENCY"] = "77"
    try:
        assert load_file(None).poll.concurrency == 8
    finally:
        del os.environ["BEDROCK_POLLER_POLL__CONCURRENCY"]
    assert dict(os.environ) == before


def test_the_concrete_model_is_still_a_settings() -> None:
    """Whoever takes `Settings` takes what `configuration` builds."""
    assert issubclass(configuration(SINKS), Settings)
