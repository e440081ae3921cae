"""What comes of messages: a poll, and never an event of their own."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from poller.errors import StoreError
from poller.model import JobState
from poller.simulator import faults
from poller.wake_ups import Audit
from poller.wake_ups.dispatcher import _Notice, _Want
from poller.wake_ups.messages import subjects
from poller.wake_ups.sqs import Message
from tests.polling.conftest import ASYNC, BATCH, OPEN
from tests.wake_ups.samples import GARBAGE, TEST, created, event, native, notification

if TYPE_CHECKING:
    from structlog.typing import EventDict

    from tests.wake_ups.conftest import Stage

BATCH_ARN = f"arn:aws:bedrock:us-east-1:{BATCH.account_id}:model-invocation-job/{{}}"


def test_a_native_event_has_its_target_polled_at_once(stage: Stage) -> None:
    """The event comes of the list, and says that a native event had told of it; the message is done with."""

    async def during() -> None:
        arn = stage.bench.simulator.submit_batch(script=OPEN)
        await stage.settled(native(arn, "InProgress"))
        assert [each["data"]["native_event_seen"] for each in stage.bench.news()] == [None]
        stage.bench.simulator.force(arn, "Completed")
        await stage.settled(native(arn))
        (told,) = stage.bench.news()
        assert (told["data"]["status"], told["data"]["native_event_seen"]) == ("Completed", True)

    stage.run(during)
    assert stage.results() == {("job", "polled"): 2}
    assert (len(stage.deleted), stage.left) == (2, [])
    assert (stage.polls(BATCH), stage.polls(ASYNC)) == (3, 1)


def test_an_ending_without_a_native_event_says_so(stage: Stage) -> None:
    """Unless the kind has none; and the message that comes later does not change the event."""

    async def during() -> None:
        batch = stage.bench.simulator.submit_batch(script=OPEN)
        invocation = stage.bench.simulator.submit_async(script=OPEN)
        await stage.settled(event("my.app", "Submitted", {}))
        stage.bench.news()
        for arn in (batch, invocation):
            stage.bench.simulator.force(arn, "Completed")
        await stage.settled(event("my.app", "Done", {}))
        seen = {each["data"]["job_arn"]: each["data"]["native_event_seen"] for each in stage.bench.news()}
        assert seen == {batch: False, invocation: None}
        await stage.settled(native(batch))
        assert stage.bench.news() == []
        stage.bench.clock.tick(301)
        assert not stage.bench.snapshot.native_events.audit()

    stage.run(during)
    assert stage.results() == {("region", "polled"): 2, ("job", "polled"): 1}


def test_an_object_has_the_job_polled_that_writes_there(stage: Stage) -> None:
    """And again shortly, as the output comes before the end; one that lies elsewhere is let go."""

    async def during() -> None:
        arn = stage.bench.simulator.submit_async(script=OPEN)
        await stage.settled(event("my.app", "Submitted", {}))
        (output,) = [each for each in stage.bench.snapshot.open_outputs() if each.arn == arn]
        assert output.uri.startswith("s3://")
        bucket, _, prefix = output.uri.removeprefix("s3://").partition("/")
        key = "/".join(filter(None, [prefix.rstrip("/"), arn.rpartition("/")[2], "output.json"]))
        stage.bench.news()
        before = stage.polls(ASYNC)
        await stage.take(created(key, bucket), notification(("ObjectCreated:Put", "elsewhere"), bucket="xyz"))
        await stage.until(lambda: stage.polls(ASYNC) == before + 1)
        stage.bench.simulator.force(arn, "Completed")
        await stage.until(lambda: len(stage.deleted) == 3)
        assert [each["data"]["status"] for each in stage.bench.news()] == ["Completed"]
        await stage.settled(created(key, bucket))

    stage.run(during)
    assert stage.results() == {
        ("region", "polled"): 1,
        ("object", "polled"): 1,
        ("object", "unmatched"): 2,
    }
    assert stage.polls(BATCH) == 2


def test_an_object_of_a_job_that_goes_on_is_let_go_after_some_polls(stage: Stage) -> None:
    """An invocation may write its manifest long before its end."""

    async def during() -> None:
        arn = stage.bench.simulator.submit_async(script=OPEN)
        await stage.settled(event("my.app", "Submitted", {}))
        (output,) = [each for each in stage.bench.snapshot.open_outputs() if each.arn == arn]
        bucket, _, prefix = output.uri.removeprefix("s3://").partition("/")
        await stage.settled(created(f"{prefix}/{arn[-12:]}/manifest.json".lstrip("/"), bucket))

    stage.run(during)
    assert stage.results()["object", "polled"] == 1
    assert stage.polls(ASYNC) == 6


def test_an_invocation_that_ends_before_it_is_listed_is_found_by_its_output(stage: Stage) -> None:
    """By the folder of its id; a folder of no job costs some polls, and an ended job none."""

    async def during() -> None:
        arn = stage.bench.simulator.submit_async(script=OPEN)
        stage.bench.simulator.force(arn, "Completed")
        await stage.settled(created(f"out/{arn[-12:]}/output.json"))
        assert [each["data"]["job_arn"] for each in stage.bench.news()] == [arn]
        before = stage.polls(ASYNC)
        await stage.settled(created(f"out/{arn[-12:]}/output.json"))
        await stage.settled(created("somewhere/nojobatall01/x"))
        assert stage.polls(ASYNC) == before + 4

    stage.run(during)
    results = stage.results()
    assert results.keys() == {("object", "polled"), ("object", "unmatched")}


def test_a_job_that_is_not_listed_yet_is_looked_for_again(stage: Stage) -> None:
    """A few times; one that no list shows is unconfirmed, and no event is made of it (fault 70)."""
    never = BATCH_ARN.format("neverlisted0")

    async def during() -> None:
        before = stage.polls()
        await stage.settled(native(never))
        assert stage.polls() == before + 4
        arn = stage.bench.simulator.submit_batch(script=OPEN)
        # The message is ahead of the list.
        await stage.take(native(arn, "Completed"))
        await stage.until(lambda: stage.polls() == before + 5)
        stage.bench.simulator.force(arn, "Completed")
        await stage.until(lambda: len(stage.deleted) == 2)
        assert {each["data"]["job_arn"] for each in stage.bench.news()} == {arn}

    stage.run(during)
    assert stage.results() == {("job", "unconfirmed"): 1, ("job", "polled"): 1}


def test_garbage_is_counted_deleted_and_logged_once(stage: Stage, log: list[EventDict]) -> None:
    """No poll, no event, and no line for each: bounded, however much of it comes (fault 70)."""

    async def during() -> None:
        await stage.settled(*GARBAGE * 20, TEST)

    stage.run(during)
    assert stage.results() == {("unknown", "garbage"): 20 * len(GARBAGE), ("unknown", "test"): 1}
    assert stage.left == []
    assert (stage.polls(BATCH), stage.polls(ASYNC), stage.bench.news()) == (1, 1, [])
    (line,) = [each for each in log if each["event"] == "wake_up.garbage"]
    assert len(line["message"]) < 300


def test_messages_about_what_is_not_polled_here_are_let_go(stage: Stage) -> None:
    """Another account, region or kind."""
    others = [
        native(BATCH_ARN.format("abcdefghwxyz").replace(str(BATCH.account_id), "999999999999")),
        native(BATCH_ARN.format("abcdefghwxyz").replace("us-east-1", "eu-west-1")),
        native(BATCH_ARN.format("abcdefghwxyz").replace("model-invocation", "evaluation")),
        event("my.app", "Done", {}, account="999999999999"),
        event("my.app", "Done", {}, region="eu-west-1"),
    ]

    async def during() -> None:
        await stage.settled(*others)

    stage.run(during)
    assert stage.results() == {("job", "unmatched"): 3, ("region", "unmatched"): 2}
    assert (stage.polls(BATCH), stage.polls(ASYNC)) == (1, 1)
    assert stage.bench.snapshot.native_events.told([BATCH_ARN.format("abcdefghwxyz")]) == set()


def test_copies_and_late_messages_change_nothing(stage: Stage) -> None:
    """Each status is an event once, in order, whatever the messages say and however often (fault 70)."""

    async def during() -> None:
        arn = stage.bench.simulator.submit_batch(script=OPEN)
        await stage.settled(native(arn, "InProgress"))
        stage.bench.simulator.force(arn, "Completed")
        statuses = ("Completed", "Submitted", "InProgress", "Validating", "Completed", "Scheduled")
        await stage.settled(*(native(arn, status) for status in statuses * 5))
        told = [each["data"]["status"] for each in stage.bench.news()]
        assert told == ["InProgress", "Completed"]

    stage.run(during)
    assert stage.left == []
    assert stage.results().keys() <= {("job", "polled"), ("job", "coalesced")}


def test_a_message_that_contradicts_the_list_is_unconfirmed(stage: Stage) -> None:
    """The list stays the truth (fault 70)."""

    async def during() -> None:
        arn = stage.bench.simulator.submit_batch(script=OPEN)
        stage.bench.simulator.force(arn, "Completed")
        await stage.settled(native(arn, "Failed"))
        assert [each["data"]["status"] for each in stage.bench.news()] == ["Completed"]

    stage.run(during)
    assert stage.results() == {("job", "unconfirmed"): 1}


def test_a_failed_poll_leaves_the_message(stage: Stage) -> None:
    """It comes again, and is deleted after the poll that has committed."""
    message = native(BATCH_ARN.format("abcdefghwxyz"), "Submitted")

    async def during() -> None:
        stage.bench.simulator.submit_batch(script=OPEN)
        stage.bench.simulator.faults.add(faults.AccessDenied(operation="ListModelInvocationJobs"))
        await stage.settled(message)
        assert (stage.deleted, len(stage.left)) == ([], 1)
        assert stage.bench.news() == []

    stage.run(during)
    assert stage.results() == {("job", "failed"): 1}


def test_a_message_waits_for_no_poll_longer_than_it_is_ours(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A target that is throttled is polled in its own time; the message comes again."""
    monkeypatch.setattr("poller.wake_ups.dispatcher._PATIENCE_SECONDS", 0.05)

    async def during() -> None:
        stage.scheduler._paces[BATCH.id].backoff_factor = 8
        await stage.settled(native(BATCH_ARN.format("abcdefghwxyz")))

    stage.run(during)
    assert (stage.results(), stage.polls()) == ({("job", "failed"): 1}, 1)


def test_a_store_that_fails_leaves_the_messages(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, log: list[EventDict]
) -> None:
    """What was told must be known to all replicas before the message is deleted."""

    async def during() -> None:
        monkeypatch.setattr(stage.bench.database, "write", _full)
        await stage.settled(native(BATCH_ARN.format("abcdefghwxyz")))
        monkeypatch.undo()

    stage.run(during)
    assert stage.results() == {("job", "failed"): 1}
    assert [each["messages"] for each in log if each["event"] == "wake_ups.store_failed"] == [1]


def test_a_flood_is_polled_for_within_the_budget(stage: Stage) -> None:
    """Ten thousand messages of every kind cost a poll of each target a second at most (fault 70)."""

    async def during() -> None:
        arns = [stage.bench.simulator.submit_batch(script=OPEN) for _ in range(20)]
        await stage.settled(event("my.app", "Submitted", {}))
        stage.bench.news()
        stage.bench.simulator.requests.clear()
        loop = asyncio.get_running_loop()
        began = loop.time()
        bodies = [
            *(json.dumps(native(arns[number % 20], "InProgress")) for number in range(6000)),
            *(json.dumps(native(BATCH_ARN.format(f"{number:012}"))) for number in range(2000)),
            *(json.dumps(event("my.app", "Done", {"number": number})) for number in range(1000)),
            *GARBAGE[:3] * 334,
        ][:10_000]
        await stage.settled(*bodies)
        # With a tenth of a second in place of a second; one poll may be at either end.
        most = (loop.time() - began) / 0.1 + 2
        listed = [each.operation for each in stage.bench.simulator.requests]
        assert len(listed) <= 2 * most
        assert max(stage.polls(BATCH), stage.polls(ASYNC)) <= most + 2
        assert stage.bench.news() == []

    stage.run(during)
    assert sum(stage.results().values()) == 10_001
    assert stage.left == []


def state(**members: Any) -> JobState:
    """What the snapshot has of a job."""
    known = JobState(BATCH_ARN.format("abcdefghwxyz"), "InProgress", 3, False, None, {"InProgress": 1})
    return replace(known, **members)


ENDED = {"status": "Completed", "rank": 1000, "terminal": True, "entries": {"Completed": 1}}


@pytest.mark.parametrize(
    ("status", "known", "shown"),
    [
        ("InProgress", state(), True),
        ("Scheduled", state(), True),
        ("Stopping", state(), False),
        ("Completed", state(), False),
        ("Completed", state(**ENDED), True),
        ("Failed", state(**ENDED), False),
        ("Stopping", state(**ENDED), True),
        ("Brandnew", state(), False),
        ("Brandnew", state(**ENDED), True),
        (None, state(), True),
        ("InProgress", None, False),
    ],
)
def test_when_the_list_has_shown_what_a_message_says(
    status: str | None, known: JobState | None, *, shown: bool
) -> None:
    """The status was entered, or passed on the way to a later one; an ending has to be the same."""
    message = Message(json.dumps(native()), "r")
    notice = _Notice(message, lambda *_, **__: None, subjects(message.body), "job")
    assert _Want(notice, "t", state().arn, status).is_shown_by(known) is shown


def test_endings_of_which_no_event_told_are_counted(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, log: list[EventDict]
) -> None:
    """After five minutes, once; a store that fails is asked again later."""

    async def during() -> None:
        audit = Audit(stage.bench.snapshot.native_events, stage.metrics)
        arns = [stage.bench.simulator.submit_batch(script=OPEN) for _ in range(3)]
        await stage.settled(event("my.app", "Submitted", {}))
        for arn in arns:
            stage.bench.simulator.force(arn, "Completed")
        await stage.settled(event("my.app", "Done", {}))
        await stage.settled(native(arns[0]))
        stage.bench.clock.tick(301)
        with monkeypatch.context() as patch:
            patch.setattr(stage.bench.database, "write", _full)
            await audit.look()
        task = asyncio.create_task(audit.run())
        await stage.until(lambda: missed() == 2)
        task.cancel()
        await audit.look()
        assert missed() == 2

    def missed() -> float:
        return stage.bench.count("native_events_missed_total", kind="model_invocation_job")

    stage.run(during)
    assert [each["event"] for each in log if each["event"] == "wake_ups.audit_failed"]
    assert [each["endings"] for each in log if each["event"] == "native_events.missed"] == [2]


def _full(*_: object) -> None:
    raise StoreError("full")
