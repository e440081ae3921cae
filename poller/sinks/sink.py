"""What a sink is: one class with one `async def send`.

To write one, copy `log.py`: a settings class, a class with `send`, one line in `registry.py`. A sink in
another package registers its class under the entry-point group `bedrock_poller.sinks` instead.
The worker owns queueing, order, deadlines, retries, dead letters and metrics; a sink only sends.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar, Generic, TypeVar

from poller.settings.sinks import SinkSettings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from poller.model import Event

SettingsT = TypeVar("SettingsT", bound=SinkSettings)


class Sink(ABC, Generic[SettingsT]):
    """A place that events are delivered to.

    Args:
        name: The sink's name in the configuration.
        settings: Its validated settings.
    """

    settings_type: ClassVar[type[SinkSettings]]
    """The class that validates this sink's part of the configuration."""

    batch_size: ClassVar[int] = 1
    """How many events one `send` takes at most, 1 to 1000. A batch never holds two events of one job."""

    parses_strangers: ClassVar[bool] = False
    """Whether answers of receivers are parsed on the loop, so that a hostile one can keep it busy. Such sinks
    share a loop of their own."""

    def __init__(self, name: str, settings: SettingsT) -> None:
        self.name = name
        self.settings = settings

    @abstractmethod
    async def send(self, events: Sequence[Event]) -> None:
        """Hand over 1 to `batch_size` events; returning means the receiver has them all.

        Called concurrently up to `settings.concurrency` times, under a deadline of `settings.timeout`, after
        which the call is canceled and counts as failed.

        Raises:
            DeliveryError: None of the events was taken; its attributes say whether and when to try again.
            PartialDeliveryError: Some were taken; it names the others.
        """

    async def close(self) -> None:
        """Release connections; called once, after the last send, and canceled if it takes 5 seconds."""
