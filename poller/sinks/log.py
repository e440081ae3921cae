"""Writes every event to standard output: one line of JSON each, the CloudEvents envelope itself.

For `kubectl logs`, journald and pipes. The daemon's own log goes to standard error, so that this stream holds
events and nothing else. A reader that stops reading blocks a write for as long as it likes; therefore the
write happens in a thread, where it holds up neither the loop nor the end of the process.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Literal

from poller.errors import DeliveryError, DeliveryReason
from poller.settings.sinks import SinkSettings
from poller.sinks.sink import Sink
from poller.threads import DaemonThreads

if TYPE_CHECKING:
    from collections.abc import Sequence

    from poller.model import Event


class LogSettings(SinkSettings):
    """Events as lines of JSON on standard output."""

    type: Literal["log"] = "log"
    """Which sink this is."""


class LogSink(Sink[LogSettings]):
    """One line per event, whole and flushed."""

    settings_type = LogSettings
    batch_size = 100

    def __init__(self, name: str, settings: LogSettings) -> None:
        super().__init__(name, settings)
        # One thread, so that lines do not mix, and a write that is given up before it began never happens.
        self._thread = DaemonThreads(f"sink-{name}", 1)
        self._torn = False

    async def send(self, events: Sequence[Event]) -> None:
        """Write the events' bodies, a newline after each, and flush.

        Raises:
            DeliveryError: Standard output is closed, its reader has gone, or its disk is full.
        """
        await self._thread.run(self._write, b"".join(event.body + b"\n" for event in events))

    async def close(self) -> None:
        """Let the thread end."""
        self._thread.close()

    def _write(self, lines: bytes) -> None:
        # What a full disk cut short is ended first, or the next line would be glued to it.
        if self._torn:
            lines = b"\n" + lines
        try:
            # Looked up at each write: a test or a supervisor may replace sys.stdout.
            stream = sys.stdout.buffer
            stream.write(lines)
            stream.flush()
        except (OSError, ValueError, AttributeError) as error:
            # ValueError: the stream was closed. AttributeError: the process was started without one.
            self._torn = isinstance(error, OSError)
            what = getattr(error, "strerror", None) or "it is closed"
            raise DeliveryError(
                f"cannot write to standard output: {what}", reason=DeliveryReason.SINK
            ) from error
        self._torn = False
