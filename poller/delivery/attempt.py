"""One attempt: hand events to a sink under its deadline, and turn whatever happens into delivery errors."""

from __future__ import annotations

import asyncio
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
    """
    deadline = sink.settings.timeout
    try:
        async with asyncio.timeout(deadline.total_seconds()):
            await sink.send(events)
    except PartialDeliveryError as error:
        return error.failures
    except DeliveryError as error:
        failure = error
    except TimeoutError:
        failure = DeliveryError(
            f"no full answer within {format_duration(deadline)}", reason=DeliveryReason.TIMEOUT
        )
    except Exception as error:  # noqa: BLE001 - a third party's sink may raise anything
        _log.exception("sink.raised", sink=sink.name)
        failure = DeliveryError(f"the sink raised {type(error).__name__}", reason=DeliveryReason.SINK)
    else:
        return {}
    return {event.id: failure for event in events}
