"""A job of any declared kind, from the simulator to its event."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from poller.kinds import KINDS, Kind
from poller.model import Target

if TYPE_CHECKING:
    from tests.polling.conftest import Bench


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_a_job_is_followed_from_its_submission_to_its_end(kind: Kind, bench: Bench) -> None:
    """New, then each end with its outcome and all details, by a Get only where the list leaves some out."""
    target = Target("any", "us-east-1", kind.name, account_id="123456789012")
    bench.snapshot.rows.register([target])
    assert bench.poll(target).report.failure is None
    opened = kind.open_statuses[0]
    for status, outcome in kind.outcomes.items():
        bench.clock.tick(60)
        arn = bench.simulator.submit(kind.name, script=[(opened, 0), (status, 90)])
        first, second = bench.polls(2, target)
        assert first.report.failure is second.report.failure is None
        assert [first.told, second.told] == [[(None, opened)], [(opened, status)]]
        data = second.events[0]["data"]
        assert (data["job_arn"], data["kind"], data["details"]) == (arn, kind.name, "complete")
        assert (data["terminal"], data["outcome"]) == (True, outcome)
        assert data["model_id"]
        assert data["output_uri"].startswith("s3://")
        assert data["submitted_at"]
        assert data["client_request_token"]
        assert (data["job_name"] is None) == (kind.name_path is None)
        assert (data["message"] is not None) == (status not in {"Completed", "Stopped"})
        assert (kind.get_operation in second.calls) == bool(kind.details_only)
