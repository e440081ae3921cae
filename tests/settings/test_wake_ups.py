"""The queues of wake-ups: where their region comes from, and what is said of mistakes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.settings.samples import load_text, problems_in

if TYPE_CHECKING:
    from pathlib import Path

URL = "https://sqs.us-east-1.amazonaws.com/111111111111/bedrock-wake-ups"
ROLE = "arn:aws:iam::111111111111:role/r"


@pytest.mark.parametrize(
    ("url", "region"),
    [
        (URL, "us-east-1"),
        ("https://sqs.cn-north-1.amazonaws.com.cn/111111111111/q", "cn-north-1"),
        ("https://sqs-fips.us-gov-west-1.amazonaws.com/111111111111/q", "us-gov-west-1"),
        ("https://sqs.eu-west-1.api.aws/111111111111/q", "eu-west-1"),
        ("https://vpce-0a1b-2c3d.sqs.eu-west-2.vpce.amazonaws.com/111111111111/q", "eu-west-2"),
        ("https://us-west-2.queue.amazonaws.com/111111111111/q", "us-west-2"),
    ],
)
def test_the_region_is_in_the_url(tmp_path: Path, url: str, region: str) -> None:
    """In every form that SQS gives out; a region that is set goes before it."""
    (queue,) = load_text(tmp_path, f'wake_ups: [{{type: sqs, queue_url: "{url}"}}]').wake_ups
    assert queue.region == region
    assert queue.resource == f"sqs:{region}:111111111111:{url.rpartition('/')[2]}"
    (queue,) = load_text(
        tmp_path, f'wake_ups: [{{type: sqs, queue_url: "{url}", region: eu-north-1}}]'
    ).wake_ups
    assert queue.region == "eu-north-1"


def test_without_queues_there_are_no_wake_ups(tmp_path: Path) -> None:
    """The list may be left out, or be empty."""
    assert load_text(tmp_path, "wake_ups: []").wake_ups == load_text(tmp_path, "poll: {}").wake_ups == ()


def test_an_external_id_goes_with_a_role(tmp_path: Path) -> None:
    """In place, or in a file that is read each time."""
    file = tmp_path / "id"
    file.write_text("one-id")
    given = f'type: sqs, queue_url: "{URL}", role_arn: "{ROLE}"'
    (queue,) = load_text(tmp_path, f"wake_ups: [{{{given}, external_id: given-id}}]").wake_ups
    assert queue.read_external_id() == "given-id"
    (queue,) = load_text(tmp_path, f"wake_ups: [{{{given}, external_id_file: {file}}}]").wake_ups
    file.write_text("other-id")
    assert queue.read_external_id() == "other-id"
    (queue,) = load_text(tmp_path, f"wake_ups: [{{{given}}}]").wake_ups
    assert queue.read_external_id() is None


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        (f'{{type: sns, queue_url: "{URL}"}}', "wake_ups[0].type: must be sqs"),
        ("{type: sqs}", "wake_ups[0].queue_url: is missing"),
        (f'{{queue_url: "{URL}"}}', "wake_ups[0].type: is missing"),
        (f'{{type: sqs, queue_url: "{URL}.fifo"}}', "a FIFO queue is not needed"),
        (f'{{type: sqs, queue_url: "{URL}?a=b"}}', "has more than host, account and name"),
        ('{type: sqs, queue_url: "arn:aws:sqs:us-east-1:111111111111:q"}', "is not the URL of a queue"),
        ('{type: sqs, queue_url: "http://127.0.0.1:5000/111111111111/q"}', "needs region"),
        (f'{{type: sqs, queue_url: "{URL}", external_id: abc}}', "set role_arn too"),
        (f'{{type: sqs, queue_url: "{URL}", targets: [defualt]}}', "did you mean default?"),
        (f'{{type: sqs, queue_url: "{URL}", queue: q}}', "did you mean queue_url?"),
        (
            f'{{type: sqs, queue_url: "{URL}"}}, {{type: sqs, queue_url: "{URL}"}}',
            "is the queue of wake_ups[0] too",
        ),
    ],
)
def test_mistakes_are_named(tmp_path: Path, entry: str, said: str) -> None:
    """Each with its place and the remedy (fault 42)."""
    found = problems_in(tmp_path, f"wake_ups: [{entry}]")
    assert any(said in str(problem) for problem in found), found


def test_both_forms_of_an_external_id_are_one_too_many(tmp_path: Path) -> None:
    """As for targets."""
    file = tmp_path / "id"
    file.write_text("one-id")
    entry = f'type: sqs, queue_url: "{URL}", role_arn: "{ROLE}", external_id: one, external_id_file: {file}'
    (problem,) = problems_in(tmp_path, f"wake_ups: [{{{entry}}}]")
    assert "keep one of them" in str(problem)
