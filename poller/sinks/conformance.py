"""What every sink must pass; for the sinks here and for those of other packages.

Needs no test framework. With pytest, one test per promise:

    @pytest.mark.parametrize("check", conformance.CHECKS)
    def test_conforms(check):
        asyncio.run(check(conformance.Subject(make=lambda: PigeonSink("ops", settings), secrets=["coo"])))

`make` is called for a new sink each time. Whatever it talks to should take events while the check runs; where
it cannot, as with a receiver that is down, a `DeliveryError` conforms as well, unless it shows a secret.
"""

from __future__ import annotations

import asyncio
import json
import traceback
from collections.abc import Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias, get_args

from poller.errors import DeliveryError, PartialDeliveryError
from poller.model import Event, EventType
from poller.settings.sinks import SinkSettings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from poller.sinks.sink import Sink

PATIENCE = 30.0
"""Seconds that a check waits for what must not hang."""


class ConformanceError(AssertionError):
    """A sink broke a promise."""


@dataclass(frozen=True, slots=True)
class Subject:
    """The sink to check.

    Args:
        make: Makes a new one.
        secrets: What its settings hold that must appear in no error.
    """

    make: Callable[[], Sink[Any]]
    secrets: Sequence[str] = field(default=(), repr=False)


Check: TypeAlias = Callable[[Subject], Awaitable[None]]


def sample_event(label: str = "sample000000", **data: Any) -> Event:
    """Make an event of the shape that sinks get.

    Args:
        label: The job's id; the event's id follows from it.
        data: Fields of `data` to replace.
    """
    arn = f"arn:aws:bedrock:us-east-1:123456789012:model-invocation-job/{label}"
    fields = {
        "kind": "model_invocation_job",
        "account_id": "123456789012",
        "region": "us-east-1",
        "target": "prod",
        "targets": ["prod"],
        "job_arn": arn,
        "job_id": label,
        "job_name": "nightly-summaries",
        "model_id": "arn:aws:bedrock:us-east-1::foundation-model/example.model-v1:0",
        "client_request_token": None,
        "status": "Completed",
        "previous_status": "InProgress",
        "terminal": True,
        "outcome": "succeeded",
        "message": None,
        "submitted_at": "2026-11-20T09:00:00.000Z",
        "modified_at": "2026-11-20T10:00:00.123Z",
        "ended_at": "2026-11-20T10:00:00.123Z",
        "observed_at": "2026-11-20T10:00:21.456Z",
        "input_uri": "s3://example-bucket/input/",
        "output_uri": "s3://example-bucket/output/",
        "records": {"total": 100, "processed": 100, "succeeded": 100, "failed": 0},
        "details": "complete",
        "job": {"jobArn": arn, "status": "Completed"},
        **data,
    }
    envelope = {
        "specversion": "1.0",
        "id": f"sample-{label}",
        "type": EventType.STATUS_CHANGED.value,
        "source": "arn:aws:bedrock:us-east-1:123456789012",
        "subject": arn,
        "time": "2026-11-20T10:00:00.123Z",
        "datacontenttype": "application/json",
        "dataschema": "urn:bedrock-poller:schema:job-event:1",
        "data": fields,
    }
    return Event.from_body(json.dumps(envelope, separators=(",", ":")).encode("ascii"))


async def declares_itself(subject: Subject) -> None:
    """Its settings class is its own, its `type` is one literal, and its batches hold at least one event."""
    async with _opened(subject) as sink:
        declared = sink.settings_type
        if declared is SinkSettings or not isinstance(sink.settings, declared):
            raise ConformanceError(f"{declared.__name__} is not the class of the sink's settings")
        if get_args(declared.model_fields["type"].annotation) != (sink.settings.type,):
            raise ConformanceError(f"{declared.__name__}.type is not one Literal")
        if sink.batch_size < 1:
            raise ConformanceError("batch_size is less than 1")


async def takes_one_event(subject: Subject) -> None:
    """`send` of one event returns or raises a DeliveryError."""
    await _send(subject, [sample_event()])


async def takes_a_full_batch(subject: Subject) -> None:
    """`send` of `batch_size` events returns, or raises for all of them or names those that failed."""
    async with _opened(subject) as sink:
        await _attempt(sink, subject, [sample_event(f"batch{i:07}") for i in range(sink.batch_size)])


async def takes_a_large_event(subject: Subject) -> None:
    """`send` of an event of 300 KB returns or raises a DeliveryError."""
    await _send(subject, [sample_event(job={"blob": "x" * 300_000})])


async def takes_hostile_text(subject: Subject) -> None:
    """`send` copes with control characters, line breaks and half surrogate pairs in names and statuses."""
    hostile = "a\r\nb\x00c\x1b[31m\ud800\udfff\ufffe</script>{{7*7}}"
    await _send(subject, [sample_event(job_name=hostile, status=hostile, message=hostile, target=hostile)])


async def survives_cancellation(subject: Subject) -> None:
    """A canceled `send` ends at once as canceled, at any point, and the next one works."""
    async with _opened(subject) as sink:
        for steps in range(12):
            task = asyncio.create_task(sink.send([sample_event(f"cancel{steps:06}")]))
            for _ in range(steps):
                await asyncio.sleep(0)
            task.cancel()
            done, _ = await asyncio.wait([task], timeout=PATIENCE)
            if not done:
                raise ConformanceError("a canceled send goes on")
            if not task.cancelled() and (error := task.exception()) is not None:
                _judge(error, subject, [])
        await _attempt(sink, subject, [sample_event()])


async def closes_twice(subject: Subject) -> None:
    """`close` works before the first send and after the last, and a second time."""
    unused = subject.make()
    await unused.close()
    used = subject.make()
    await _attempt(used, subject, [sample_event()])
    await used.close()
    await used.close()


CHECKS: tuple[Check, ...] = (
    declares_itself,
    takes_one_event,
    takes_a_full_batch,
    takes_a_large_event,
    takes_hostile_text,
    survives_cancellation,
    closes_twice,
)
"""Every check. Each raises `ConformanceError` when the sink breaks a promise."""


@asynccontextmanager
async def _opened(subject: Subject) -> AsyncIterator[Sink[Any]]:
    sink = subject.make()
    try:
        yield sink
    finally:
        await sink.close()


async def _send(subject: Subject, events: Sequence[Event]) -> None:
    async with _opened(subject) as sink:
        await _attempt(sink, subject, events)


async def _attempt(sink: Sink[Any], subject: Subject, events: Sequence[Event]) -> None:
    try:
        async with asyncio.timeout(PATIENCE):
            await sink.send(events)
    except TimeoutError:
        raise ConformanceError("send neither returns nor fails") from None
    except BaseException as error:  # noqa: BLE001 - judging whatever a stranger's sink raises is the point
        _judge(error, subject, events)


def _judge(error: BaseException, subject: Subject, events: Sequence[Event]) -> None:
    if not isinstance(error, DeliveryError):
        raise ConformanceError(f"send raised {type(error).__name__}, which is not a DeliveryError") from error
    failures: Any = error.failures if isinstance(error, PartialDeliveryError) else {}
    if not isinstance(failures, dict):
        raise ConformanceError("send reported failures that are not a dict")
    if isinstance(error, PartialDeliveryError) and events and not failures:
        raise ConformanceError("send reported a partial failure of no event")
    if any(
        not isinstance(each, DeliveryError) or isinstance(each, PartialDeliveryError)
        for each in failures.values()
    ):
        raise ConformanceError("send reported a failure that is not a DeliveryError of one event")
    if strangers := failures.keys() - {event.id for event in events}:
        raise ConformanceError(f"send reported events it was not given: {sorted(strangers)}")
    for shown in (error, *failures.values()):
        text = "".join(traceback.format_exception(shown)) + repr(vars(shown))
        if any(secret in text for secret in subject.secrets):
            # Without the error as its cause, which would show what it must not.
            raise ConformanceError(f"a {type(shown).__name__} shows a secret") from None
