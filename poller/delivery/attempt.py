"""One attempt: hand events to a sink under its deadline, and turn whatever happens into delivery errors.

A sink may be a third party's. Whatever it raises is a failure of this attempt and of nothing else, also what
would end the program or cancel the worker. Only a report that names some of the events that were sent, each
with an error, says that the others were taken.
"""

from __future__ import annotations

import asyncio
import math
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from poller import logs
from poller.errors import DeliveryError, DeliveryReason, PartialDeliveryError
from poller.times import format_duration

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Sequence

    from poller.model import Event
    from poller.sinks.sink import Sink

_log = logs.get(__name__)

_CLOSING = timedelta(seconds=5)
"""How long the close of a sink may take."""


async def attempt(sink: Sink[Any], events: Sequence[Event]) -> dict[str, DeliveryError]:
    """Send once.

    Args:
        sink: Ours or a third party's; it may raise anything and never end.
        events: At most `sink.batch_size`.

    Returns:
        The error of each event that was not taken, by its id; empty if the sink has them all.

    Raises:
        CancelledError: The attempt itself was canceled, by a stop.
    """
    sent = frozenset(event.id for event in events)
    try:
        # A tuple, which the sink cannot empty.
        await _within(sink.settings.timeout, sink, lambda: sink.send(tuple(events)))
    except PartialDeliveryError as error:
        return _partial(sink.name, error, sent)
    except DeliveryError as error:
        return dict.fromkeys(sent, error)
    return {}


async def close_sink(sink: Sink[Any]) -> None:
    """Close a sink, which may raise anything and never end.

    Raises:
        DeliveryError: It could not be closed.
        CancelledError: The call itself was canceled, by a stop.
    """
    try:
        await _within(_CLOSING, sink, sink.close)
    except PartialDeliveryError as error:
        raise checked(error) from None


async def _within(deadline: timedelta, sink: Sink[Any], call: Callable[[], Awaitable[None]]) -> None:
    """Call into a sink: the one place where whatever it raises becomes an error of delivery.

    Raises:
        DeliveryError: It raised something, or took too long. Of a `PartialDeliveryError` only the class is
            certain.
        CancelledError: The call itself was canceled, by a stop.
    """
    try:
        async with asyncio.timeout(deadline.total_seconds()):
            await call()
    except PartialDeliveryError:
        raise
    except DeliveryError as error:
        raise checked(error) from None
    except TimeoutError:
        message = f"no full answer within {format_duration(deadline)}"
        raise DeliveryError(message, reason=DeliveryReason.TIMEOUT) from None
    except BaseException as error:
        task = asyncio.current_task()
        if isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling():
            raise
        _log.exception("sink.raised", sink=sink.name)
        message = f"the sink raised {type(error).__name__}"
        raise DeliveryError(message, reason=DeliveryReason.SINK) from None


def _partial(name: str, error: PartialDeliveryError, sent: frozenset[str]) -> dict[str, DeliveryError]:
    """The failures that a sink reports, if the report makes sense; otherwise nothing was taken."""
    try:
        return _read_report(error, sent)
    except Exception:  # noqa: BLE001 - every part of the report may be a third party's
        _log.error("sink.report_malformed", sink=name, events=len(sent))
        failure = DeliveryError(
            "the sink's report of a partial failure makes no sense, so none of the events counts as taken",
            reason=DeliveryReason.SINK,
        )
        return dict.fromkeys(sent, failure)


def _read_report(error: PartialDeliveryError, sent: frozenset[str]) -> dict[str, DeliveryError]:
    """The failures of a report that names some of the events, each with an error of its own.

    Raises:
        ValueError: It does not.
        Exception: Whatever the report itself raises.
    """
    failures = dict(error.failures)
    values: Iterable[object] = failures.values()
    own = all(isinstance(each, DeliveryError) for each in values)
    nested = any(isinstance(each, PartialDeliveryError) for each in values)
    if not failures or not own or nested or not failures.keys() <= sent:
        raise ValueError("not a report of the events that were sent")
    return {one: checked(each) for one, each in failures.items()}


def checked(error: DeliveryError) -> DeliveryError:
    """The same error, with attributes that can be relied on."""
    try:
        return _read_error(error)
    except Exception:  # noqa: BLE001 - its class may be a third party's
        return DeliveryError(f"the sink raised {type(error).__name__}", reason=DeliveryReason.SINK)


def _read_error(error: DeliveryError) -> DeliveryError:
    reason: Any = error.reason
    wait: Any = error.retry_after
    number = float(wait) if isinstance(wait, int | float) else math.nan
    return DeliveryError(
        str(error),
        reason=reason if isinstance(reason, DeliveryReason) else DeliveryReason.SINK,
        permanent=error.permanent is True,
        retry_after=number if math.isfinite(number) and number >= 0 else None,
        park=error.park is True,
    )
