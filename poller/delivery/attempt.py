"""One attempt: hand events to a sink under its deadline, and turn whatever happens into delivery errors.

A sink may be a third party's. Whatever it raises is a failure of this attempt and of nothing else, also what
would end the program or cancel the worker. Only a report that names some of the events that were sent, each
with an error, says that the others were taken.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from poller import logs
from poller.durations import format_duration
from poller.errors import DeliveryError, DeliveryReason, PartialDeliveryError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from poller.model import Event
    from poller.sinks.contract import Sink

_log = logs.get(__name__)


async def attempt(sink: Sink[Any], events: Sequence[Event]) -> dict[str, DeliveryError]:
    """Send once.

    Args:
        sink: Ours or a third party's; it may raise anything and take for ever.
        events: At most `sink.batch_size`.

    Returns:
        The error of each event that was not taken, by its id; empty if the sink has them all.

    Raises:
        CancelledError: The attempt itself was cancelled, by a stop.
    """
    deadline = sink.settings.timeout
    try:
        async with asyncio.timeout(deadline.total_seconds()):
            await sink.send(events)
    except PartialDeliveryError as error:
        return _partial(sink.name, error, events)
    except DeliveryError as error:
        failure = checked(error)
    except TimeoutError:
        failure = DeliveryError(
            f"no full answer within {format_duration(deadline)}", reason=DeliveryReason.TIMEOUT
        )
    except BaseException as error:
        task = asyncio.current_task()
        if isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling():
            raise
        _log.exception("sink.raised", sink=sink.name)
        failure = DeliveryError(f"the sink raised {type(error).__name__}", reason=DeliveryReason.SINK)
    else:
        return {}
    return {event.id: failure for event in events}


def _partial(name: str, error: PartialDeliveryError, events: Sequence[Event]) -> dict[str, DeliveryError]:
    """The failures that a sink reports, if the report makes sense; otherwise nothing was taken."""
    failures = getattr(error, "failures", None)
    sent = {event.id for event in events}
    if (
        isinstance(failures, Mapping)
        and failures
        and failures.keys() <= sent
        and all(isinstance(each, DeliveryError) for each in failures.values())
    ):
        return {one: checked(each) for one, each in failures.items()}
    _log.error("sink.report_malformed", sink=name, events=len(events))
    failure = DeliveryError(
        "the sink's report of a partial failure makes no sense, so none of the events counts as taken",
        reason=DeliveryReason.SINK,
    )
    return dict.fromkeys(sent, failure)


def checked(error: DeliveryError) -> DeliveryError:
    """The same error, with attributes that can be relied on."""
    try:
        message = str(error)
    except Exception:  # noqa: BLE001 - its class may be a third party's
        message = f"the sink raised {type(error).__name__}"
    reason: Any = error.reason
    wait: Any = error.retry_after
    number = float(wait) if isinstance(wait, int | float) else math.nan
    return DeliveryError(
        message,
        reason=reason if isinstance(reason, DeliveryReason) else DeliveryReason.SINK,
        permanent=error.permanent is True,
        retry_after=number if math.isfinite(number) and number >= 0 else None,
        park=error.park is True,
    )
