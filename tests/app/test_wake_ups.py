"""What a configuration with queues of wake-ups becomes."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from poller.app import Components
from poller.model import Target

if TYPE_CHECKING:
    from collections.abc import Callable

    from poller.metrics import Metrics

URL = "https://sqs.us-east-1.amazonaws.com/111111111111/"
TARGETS = [{"name": "prod", "kinds": ["async_invoke"]}, {"name": "org", "kinds": ["model_invocation_job"]}]
MEMBER = Target("org-222222222222", "us-east-1", "model_invocation_job", "222222222222")
ALIAS = Target("first", "us-east-1", "model_invocation_job", "111111111111", aliases=("prod",))
OTHER = Target("test", "us-east-1", "model_invocation_job", "333333333333")


def queues(*entries: dict[str, object]) -> str:
    """The setting."""
    return json.dumps(
        [{"type": "sqs", "queue_url": f"{URL}q{number}", **each} for number, each in enumerate(entries)]
    )


@pytest.mark.parametrize(
    ("entries", "heard"),
    [
        ([], []),
        ([{}], [MEMBER, ALIAS, OTHER]),
        ([{"targets": ["org"]}], [MEMBER]),
        ([{"targets": ["prod"]}, {"targets": ["org"]}], [MEMBER, ALIAS]),
    ],
)
def test_which_targets_are_listened_for(
    components: Callable[..., Components], entries: list[dict[str, object]], heard: list[Target]
) -> None:
    """By any of their names, or that of their organization; a process without listeners hears of none."""
    built = components(TARGETS=json.dumps(TARGETS), WAKE_UPS=queues(*entries))
    poller = built.poller(listening=True)
    assert [each for each in (MEMBER, ALIAS, OTHER) if poller.listens(each)] == heard
    assert not any(built.poller().listens(each) for each in (MEMBER, ALIAS, OTHER))


def _queues(metrics: Metrics) -> set[str]:
    (family,) = metrics.wake_up_queue_reachable.collect()
    return {sample.labels["queue"] for sample in family.samples}


def test_the_series_of_a_removed_queue_go(components: Callable[..., Components]) -> None:
    """And those of a queue that is there exist from the start, at zero."""
    before = components(WAKE_UPS=queues({}, {}))
    before.open_store()
    count = before.metrics.registry.get_sample_value
    assert count("bedrock_poller_wake_ups_total", {"type": "job", "result": "polled"}) == 0
    missed = {"kind": "model_invocation_job"}
    assert count("bedrock_poller_native_events_missed_total", missed) == 0
    assert count("bedrock_poller_native_events_missed_total", {"kind": "async_invoke"}) is None
    assert _queues(before.metrics) == {f"{URL}q0", f"{URL}q1"}
    settings = before.settings.model_copy(update={"wake_ups": before.settings.wake_ups[1:]})
    after = Components(settings, runtime=before.runtime)
    after.take_over()
    before.close(after)
    assert _queues(before.metrics) == {f"{URL}q1"}
