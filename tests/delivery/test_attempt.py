"""Whatever a sink raises, an attempt says which events were taken, and fails for all others."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from poller.delivery import attempt, close_sink
from poller.errors import DeliveryError, DeliveryReason, PartialDeliveryError
from poller.sinks.conformance import sample_event
from poller.sinks.isolation import IsolatedSink
from tests.sinks.samples import EVENT, in_loop
from tests.sinks.test_isolation import Strange

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from poller.model import Event
    from poller.sinks.sink import Sink


def _throwing(error: BaseException) -> Callable[[], object]:
    def throw() -> None:
        raise error

    return throw


class _OddError(PartialDeliveryError):
    """A report whose failures are whatever it is given."""

    def __init__(self, failures: object) -> None:
        super().__init__({})
        self.failures = failures  # type: ignore[assignment] # that is the point


class _UnreadableError(PartialDeliveryError):
    """A report that cannot be looked at."""

    def __getattribute__(self, name: str) -> Any:
        if name == "failures":
            raise ZeroDivisionError
        return super().__getattribute__(name)


NO = DeliveryError("no", reason=DeliveryReason.SERVER_ERROR)


@pytest.mark.parametrize("isolated", [True, False])
@pytest.mark.parametrize(
    "error",
    [
        SystemExit(3),
        KeyboardInterrupt(),
        asyncio.CancelledError(),
        GeneratorExit(),
        _OddError({}),
        _OddError(None),
        _OddError("abc"),
        _OddError({"somebody-else": NO}),
        _OddError({EVENT.id: NO, "somebody-else": NO}),
        _OddError({EVENT.id: "no"}),
        _OddError({EVENT.id: None}),
        _OddError({EVENT.id: PartialDeliveryError({EVENT.id: NO})}),
        _OddError({("an", "id"): NO}),
        PartialDeliveryError({}),
        _UnreadableError({}),
    ],
    ids=repr,
)
@in_loop
async def test_whatever_a_sink_raises_is_a_failure_of_every_event(
    error: BaseException, isolated: bool
) -> None:
    """An exit, a cancellation of its own, and reports without sense: nothing counts as taken (fault 65)."""
    inner = Strange(_throwing(error))
    sink: Sink[Any] = IsolatedSink(inner) if isolated else inner
    events = [EVENT, sample_event("another0000a")]
    try:
        for _ in range(2):
            failures = await attempt(sink, events)
            assert failures.keys() == {event.id for event in events}
            assert {failure.reason for failure in failures.values()} == {DeliveryReason.SINK}
    finally:
        await sink.close()


@in_loop
async def test_a_report_that_makes_sense_says_what_was_taken() -> None:
    """The events that it does not name are taken; the others keep their errors (fault 65)."""
    events = [EVENT, sample_event("another0000a")]
    failures = await attempt(Strange(_throwing(PartialDeliveryError({EVENT.id: NO}))), events)
    assert {one: failure.reason for one, failure in failures.items()} == {
        EVENT.id: DeliveryReason.SERVER_ERROR
    }


@pytest.mark.parametrize("wait", ["soon", float("nan"), float("inf"), -1.0, None, 5])
@in_loop
async def test_attributes_without_sense_are_dropped(wait: Any) -> None:
    """A reason that is none of ours, a wait that is no time, flags that are no flags (fault 65)."""
    error = DeliveryError("no", reason="because", permanent="yes", retry_after=wait, park=1)  # type: ignore[arg-type]
    failure = (await attempt(Strange(_throwing(error)), [EVENT]))[EVENT.id]
    expected = 5.0 if wait == 5 else None
    assert (failure.reason, failure.permanent, failure.park, failure.retry_after) == (
        DeliveryReason.SINK,
        False,
        False,
        expected,
    )


@in_loop
async def test_a_cancelled_attempt_stays_cancelled() -> None:
    """A stop cancels sends under way, and they are released, not counted."""

    class Slow(Strange):
        async def send(self, events: Sequence[Event]) -> None:
            await asyncio.sleep(60)

    task = asyncio.create_task(attempt(Slow(), [EVENT]))
    await asyncio.sleep(0.05)
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()


@in_loop
async def test_an_error_that_cannot_be_shown_is_named_by_its_class() -> None:
    """A third party's error may fail to say what it is (fault 65)."""

    class UnspeakableError(DeliveryError):
        def __str__(self) -> str:
            raise ZeroDivisionError

    error = UnspeakableError("no", reason=DeliveryReason.SERVER_ERROR)
    failure = (await attempt(Strange(_throwing(error)), [EVENT]))[EVENT.id]
    assert str(failure) == "the sink raised UnspeakableError"
    assert failure.reason is DeliveryReason.SINK


@in_loop
async def test_a_sink_that_empties_what_it_was_given_has_not_taken_it() -> None:
    """All that was sent is accounted for, whatever the sink does with the sequence (fault 65)."""

    class Emptying(Strange):
        async def send(self, events: Sequence[Event]) -> None:
            events.clear()  # type: ignore[attr-defined] # a list has it
            raise NO

    assert (await attempt(Emptying(), [EVENT])).keys() == {EVENT.id}


@pytest.mark.parametrize("isolated", [True, False])
@pytest.mark.parametrize(
    "error",
    [SystemExit(3), KeyboardInterrupt(), asyncio.CancelledError(), OSError("no"), _OddError(None), NO],
    ids=repr,
)
@in_loop
async def test_whatever_a_sink_raises_when_it_is_closed_is_a_failure(
    error: BaseException, isolated: bool
) -> None:
    """An exit or a cancellation of its own ends neither its worker nor the program (fault 65)."""

    class Stubborn(Strange):
        async def close(self) -> None:
            raise error

    sink: Sink[Any] = IsolatedSink(Stubborn()) if isolated else Stubborn()
    with pytest.raises(DeliveryError) as caught:
        await close_sink(sink)
    assert caught.value.reason is (DeliveryReason.SERVER_ERROR if error is NO else DeliveryReason.SINK)
