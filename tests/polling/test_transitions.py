"""What a poll announces: every change that a listing or a Get shows, once, with everything it was told."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from poller.model import EventType
from poller.simulator import faults
from tests.polling.conftest import ASYNC, BATCH, OPEN, Bench

if TYPE_CHECKING:
    from pathlib import Path

    from structlog.typing import EventDict

    from poller.model import Target

LIFE = [
    ("Submitted", 0.0),
    ("Validating", 10.0),
    ("Scheduled", 20.0),
    ("InProgress", 30.0),
    ("Completed", 40.0),
]


def changed(name: str, value: Any) -> Any:
    """A change of one field in whatever shows a job."""
    return lambda item: {**item, name: value}


def test_a_first_scan_records_in_silence(bench: Bench) -> None:
    """What a target held before the first scan is recorded and not announced, without any details."""
    arns = {bench.simulator.submit_batch() for _ in range(3)}
    ended = bench.simulator.submit_batch()
    bench.simulator.force(ended, "Failed")
    poll = bench.poll()
    assert (poll.events, poll.report.full, poll.calls) == ([], True, ["ListModelInvocationJobs"])
    assert bench.statuses().keys() == {*arns, ended}
    assert bench.owed() == []


def test_a_first_scan_announces_if_it_was_asked_to(bench: Bench) -> None:
    """With `first_scan: emit` every job found is announced, and the next poll repeats none of it."""
    bench.simulator.submit_batch(script=OPEN)
    ended = bench.simulator.submit_batch()
    bench.simulator.force(ended, "Failed")
    assert sorted(bench.poll(emit=True).told) == [(None, "Failed"), (None, "InProgress")]
    bench.clock.tick(60)
    assert bench.poll(emit=True).told == []


def test_an_ending_that_is_announced_again_has_its_id(bench: Bench, tmp_path: Path) -> None:
    """A receiver that got it before the store was lost can drop the copy."""
    bench.poll()
    job = bench.simulator.submit_batch(script=OPEN)
    bench.clock.tick(60)
    bench.poll()
    bench.simulator.force(job, "Completed")
    bench.clock.tick(60)
    (before,) = bench.poll().events
    bench.clock.tick(3600)
    restored = Bench(bench.calls, bench.simulator, bench.clock, f"sqlite:///{tmp_path}/restored.db")
    (after,) = restored.poll(first_scan={"since": timedelta(hours=24)}).events
    restored.database.close()
    assert (after["id"], after["type"]) == (before["id"], before["type"])
    assert (before["data"]["previous_status"], after["data"]["previous_status"]) == ("InProgress", None)


def test_a_first_scan_announces_what_ended_lately(bench: Bench) -> None:
    """With `first_scan: {since: 24h}`: not what ended before by the service's word, nor what is open."""
    before = bench.simulator.submit_batch()
    bench.simulator.force(before, "Completed")
    bench.clock.tick(25 * 3600)
    ended, still_open = bench.simulator.submit_batch(), bench.simulator.submit_batch(script=OPEN)
    bench.simulator.force(ended, "Failed")
    bench.clock.tick(23 * 3600)
    since = {"since": timedelta(hours=24)}
    # The service's clock counts, and not the local one.
    wrong = bench.clock() + timedelta(days=9)
    (event,) = bench.poll(first_scan=since, now=lambda: wrong).events
    data = event["data"]
    assert (data["job_arn"], data["status"], data["previous_status"]) == (ended, "Failed", None)
    assert bench.statuses().keys() == {before, ended, still_open}
    bench.clock.tick(60)
    assert bench.poll(first_scan=since).told == []
    bench.simulator.force(still_open, "Completed")
    assert bench.poll(first_scan=since).told == [("InProgress", "Completed")]


@pytest.mark.parametrize("target", [ASYNC, BATCH])
def test_a_new_job_is_announced(baselined: Bench, target: Target) -> None:
    """A job first seen after the baseline is an event without a previous status, owed to the routed sinks."""
    submit = baselined.simulator.submit_async if target is ASYNC else baselined.simulator.submit_batch
    arn = submit(script=OPEN)
    woken: list[bool] = []
    baselined.snapshot.on_owed = lambda: woken.append(True)
    poll = baselined.poll(target, route=lambda _: ("audit", "ops"))
    (event,) = poll.events
    assert event["type"] == "bedrock-poller.job.status_changed"
    assert (event["data"]["job_arn"], event["data"]["previous_status"]) == (arn, None)
    assert (event["data"]["target"], event["data"]["account_id"]) == ("prod", "123456789012")
    assert baselined.owed() == [(event["id"], "audit"), (event["id"], "ops")]
    assert woken == [True]


def test_each_transition_is_one_event(baselined: Bench) -> None:
    """A job polled through its life gives one event for each status, each naming the one before."""
    baselined.simulator.submit_batch(script=LIFE)
    told = [step for poll in baselined.polls(12, every=5) for step in poll.told]
    statuses = [status for status, _ in LIFE]
    assert told == list(zip([None, *statuses], statuses, strict=False))
    for status in statuses:
        labels = {"kind": "model_invocation_job", "status": status}
        assert baselined.count("transitions_total", **labels) == 1
    assert baselined.count("events_total", type=EventType.STATUS_CHANGED) == 5


def test_statuses_skipped_between_polls_are_not_made_up(baselined: Bench) -> None:
    """Of what happened between two polls only the last status is announced, after the one last seen.

    Injects fault 22.
    """
    baselined.simulator.submit_batch(script=LIFE)
    assert baselined.poll().told == [(None, "Submitted")]
    baselined.clock.tick(60)
    assert baselined.poll().told == [("Submitted", "Completed")]


def test_a_status_that_goes_back_and_comes_again_is_new_each_time(baselined: Bench) -> None:
    """A job that really returns to a status is announced each time, under another id (fault 22)."""
    arn = baselined.simulator.submit_batch(script=OPEN)
    found = [baselined.poll()]
    for status in ("Scheduled", "InProgress", "Scheduled"):
        baselined.clock.tick(5)
        baselined.simulator.force(arn, status)
        found.append(baselined.poll())
    assert [poll.told for poll in found] == [
        [(None, "InProgress")],
        [("InProgress", "Scheduled")],
        [("Scheduled", "InProgress")],
        [("InProgress", "Scheduled")],
    ]
    assert len({event["id"] for poll in found for event in poll.events}) == 4


def test_an_old_state_from_a_lagging_replica_is_not_an_event(baselined: Bench) -> None:
    """A page that shows a job as it was before changes nothing."""
    arn = baselined.simulator.submit_async(script=OPEN)
    baselined.poll(ASYNC)
    stale: list[dict[str, Any]] = []

    def peek(item: dict[str, Any]) -> dict[str, Any]:
        stale.append(item)
        return item

    with baselined.simulator.faults.active(faults.Change(peek, arn=arn)):
        baselined.poll(ASYNC)
    baselined.clock.tick(5)
    baselined.simulator.force(arn, "Completed")
    assert baselined.poll(ASYNC).told == [("InProgress", "Completed")]
    with baselined.simulator.faults.active(faults.Change(lambda _: stale[0], arn=arn)):
        assert baselined.poll(ASYNC).told == []
    assert baselined.poll(ASYNC).told == []


def test_the_details_of_an_ended_job_come_from_a_get(baselined: Bench) -> None:
    """When a job ends, what only Get tells is in the event, and the service's fields stand there verbatim."""
    fields = {
        "vpcConfig": {"subnetIds": ["subnet-1"], "securityGroupIds": ["sg-1"]},
        "outputDataConfig": {
            "s3OutputDataConfig": {"s3Uri": "s3://out/", "s3BucketOwner": "222222222222"},
        },
    }
    arn = baselined.simulator.submit_batch(
        script=OPEN, token="the-callers-token", message="no records", fields=fields
    )
    baselined.poll()
    baselined.clock.tick(5)
    baselined.simulator.force(arn, "Failed")
    poll = baselined.poll()
    (event,) = poll.events
    data = event["data"]
    assert poll.calls == ["ListModelInvocationJobs", "GetModelInvocationJob"]
    assert (data["message"], data["client_request_token"]) == ("no records", "the-callers-token")
    assert (data["outcome"], data["terminal"], data["output_uri"]) == ("failed", True, "s3://out/")
    assert {name: data["job"][name] for name in fields} == fields
    assert data["job"]["message"] == "no records"
    assert data["job"]["jobArn"] == arn


def test_many_jobs_that_end_at_once_all_get_their_details(baselined: Bench) -> None:
    """More endings on one page than are recorded at a time all come, each with its own message."""
    arns = [baselined.simulator.submit_batch(script=OPEN) for _ in range(45)]
    assert len(baselined.poll().events) == 45
    baselined.clock.tick(5)
    for number, arn in enumerate(arns):
        baselined.simulator.force(arn, "Failed", message=f"because {number}")
    messages = {event["data"]["job_arn"]: event["data"]["message"] for event in baselined.poll().events}
    assert messages == {arn: f"because {number}" for number, arn in enumerate(arns)}


@pytest.mark.parametrize(
    "fault",
    [
        faults.AccessDenied(operation="GetModelInvocationJob"),
        faults.Throttle(operation="GetModelInvocationJob"),
        faults.Garbage(operation="GetModelInvocationJob"),
        faults.Change(lambda _: ["not", "an", "object"], operation="GetModelInvocationJob"),
        faults.Change(lambda item: {**item, "jobArn": "arn:nonsense"}, operation="GetModelInvocationJob"),
        faults.Change(
            lambda item: {**item, "jobArn": item["jobArn"][:-12] + "abcdefghwxyz"},
            operation="GetModelInvocationJob",
        ),
    ],
    ids=["denied", "throttled", "garbage", "no-object", "no-arn", "another-job"],
)
def test_an_ending_is_announced_even_if_the_get_fails(baselined: Bench, fault: faults.Fault) -> None:
    """The event goes out with what the listing showed, and the poll is whole."""
    arn = baselined.simulator.submit_batch(script=OPEN)
    baselined.poll()
    baselined.clock.tick(5)
    baselined.simulator.force(arn, "Failed", message="why")
    with baselined.simulator.faults.active(fault):
        poll = baselined.poll(details_wait=0.5)
    assert poll.report.failure is None
    assert poll.told == [("InProgress", "Failed")]
    assert (poll.events[0]["data"]["message"], poll.events[0]["data"]["job_arn"]) == (None, arn)
    assert baselined.poll().told == []


def test_a_get_that_is_denied_is_said_once(baselined: Bench, log: list[EventDict]) -> None:
    """A missing permission on Get is one warning for each target, not one for each job (fault 25)."""
    arns = [baselined.simulator.submit_batch(script=OPEN) for _ in range(3)]
    poller = baselined.poller()
    baselined.poll(poller=poller)
    baselined.clock.tick(5)
    for arn in arns:
        baselined.simulator.force(arn, "Completed")
    with baselined.simulator.faults.active(faults.AccessDenied(operation="GetModelInvocationJob")):
        assert len(baselined.poll(poller=poller).events) == 3
    (warning,) = [entry for entry in log if entry["event"] == "job.details_unavailable"]
    assert (warning["log_level"], warning["target"]) == ("warning", BATCH.id)
    assert "AccessDeniedException" in warning["error"]


def test_what_is_unknown_passes_verbatim(baselined: Bench) -> None:
    """An unknown status, field and union member reach the event as they came; the status is no ending.

    Injects fault 21.
    """
    strange = {
        "status": "Dreaming",
        "mood": {"level": 3, "of": ["a", None, 1.5]},
        "outputDataConfig": {"holographicOutputDataConfig": {"uri": "holo://1"}},
        "jobName": "bell\x07 lone \ud800 line\nfeed",
    }
    arn = baselined.simulator.submit_batch(script=OPEN, fields=strange)
    (event,) = baselined.poll().events
    data = event["data"]
    assert {name: data["job"][name] for name in strange} == strange
    assert (data["status"], data["outcome"], data["terminal"]) == ("Dreaming", None, False)
    assert data["output_uri"] is None
    assert baselined.statuses()[arn] == "Dreaming"
    labels = {"kind": "model_invocation_job", "status": "unknown"}
    assert baselined.count("transitions_total", **labels) == 1
    baselined.clock.tick(60)
    assert baselined.poll().told == []


def test_a_status_that_the_list_leaves_out_is_got(baselined: Bench) -> None:
    """The batch list need not show the status; a Get then tells it, and nothing is quarantined."""
    baselined.simulator.submit_batch(script=OPEN)
    drop = faults.Change(
        lambda item: {name: value for name, value in item.items() if name != "status"},
        operation="ListModelInvocationJobs",
    )
    with baselined.simulator.faults.active(drop):
        poll = baselined.poll()
    assert poll.told == [(None, "InProgress")]
    assert baselined.count("items_quarantined_total", reason="status") == 0


@pytest.mark.parametrize(
    ("shown", "reason"),
    [
        ("a text", "type"),
        ({}, "arn"),
        ({"jobArn": "arn:aws:s3:::a-bucket", "status": "Completed"}, "arn"),
        ({"jobArn": 5, "status": "Completed"}, "arn"),
        ({"jobArn": "arn:aws:bedrock:us-east-1:123456789012:model-invocation-job/abcdefghwxyz"}, "status"),
    ],
)
def test_a_malformed_item_is_quarantined_alone(
    baselined: Bench, shown: Any, reason: str, log: list[EventDict]
) -> None:
    """An item that cannot be understood is counted and logged once, and the rest of its page goes on.

    Injects fault 21.
    """
    first, bad, last = (baselined.simulator.submit_batch(script=OPEN) for _ in range(3))
    poller = baselined.poller()
    with baselined.simulator.faults.active(faults.Change(lambda _: shown, arn=bad)):
        polls = [baselined.poll(poller=poller) for _ in range(2)]
    assert [poll.report.failure for poll in polls] == [None, None]
    assert {event["data"]["job_arn"] for poll in polls for event in poll.events} == {first, last}
    assert baselined.count("items_quarantined_total", reason=reason) == 2
    assert [entry["event"] for entry in log].count("item.quarantined") == 1
    assert baselined.poll(poller=poller).told == [(None, "InProgress")]


@pytest.mark.parametrize("late_first", [True, False])
def test_a_job_listed_twice_counts_as_the_later_one(baselined: Bench, late_first: bool) -> None:
    """Of two states of one job on a page the later modification wins, in either order, as one event.

    Injects fault 17.
    """
    arn = baselined.simulator.submit_batch(script=OPEN)
    later = {"status": "Stopping", "lastModifiedTime": "2026-11-20T23:00:00.000Z"}
    earlier = {"status": "Submitted", "lastModifiedTime": "2026-11-20T01:00:00.000Z"}
    twice = faults.Twice(lambda item: {**item, **(earlier if late_first else later)}, arn=arn)
    first = faults.Change(lambda item: {**item, **(later if late_first else {})}, arn=arn)
    with baselined.simulator.faults.active(first, twice):
        assert baselined.poll().told == [(None, "Stopping")]


def test_absurd_times_cost_nothing_but_themselves(baselined: Bench) -> None:
    """Times that are none, or lie outside the calendar, are null in the event and verbatim in the job.

    Injects fault 21.
    """
    absurd = {"submitTime": "soon", "lastModifiedTime": "0001-01-01T00:00:00Z", "endTime": 10**20}
    baselined.simulator.submit_batch(script=OPEN, fields=absurd)
    (event,) = baselined.poll().events
    assert {name: event["data"]["job"][name] for name in absurd} == absurd
    assert (event["data"]["submitted_at"], event["data"]["modified_at"]) == (None, None)
    baselined.clock.tick(60)
    poll = baselined.poll()
    assert (poll.told, poll.report.failure) == ([], None)


def test_an_event_that_nothing_matches_is_kept_and_counted(baselined: Bench, log: list[EventDict]) -> None:
    """What no route matches is recorded, owed to nobody, counted and logged."""
    baselined.simulator.submit_batch(script=OPEN)
    poll = baselined.poll(route=lambda _: ())
    assert (len(poll.events), baselined.owed()) == (1, [])
    assert baselined.count("events_unrouted_total") == 1
    assert [entry["event"] for entry in log] == ["event.unrouted"]


def test_the_delay_of_detection_is_measured_by_the_services_word(baselined: Bench) -> None:
    """From the moment the service names to the moment we saw it; not for what a first scan announces."""
    baselined.simulator.submit_batch(script=OPEN)
    baselined.clock.tick(7)
    baselined.poll()
    assert baselined.count("detection_delay_seconds_sum") == pytest.approx(7)
