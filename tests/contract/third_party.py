"""The sink that the documentation of 0.1.0 showed to those who write their own, word for word."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from poller.errors import DeliveryError, DeliveryReason
from poller.model import Event
from poller.settings.sinks import SinkSettings
from poller.sinks.contract import Sink


class FileSettings(SinkSettings):
    """Events as lines of a file."""

    type: Literal["file"] = "file"
    """Which sink this is."""
    path: Path
    """The file."""


class FileSink(Sink[FileSettings]):
    """One line per event."""

    settings_type = FileSettings
    batch_size = 100

    async def send(self, events: Sequence[Event]) -> None:  # noqa: D102 - as it was
        lines = b"".join(event.body + b"\n" for event in events)
        try:
            await asyncio.to_thread(self._append, lines)
        except OSError as error:
            raise DeliveryError(f"cannot write: {error.strerror}", reason=DeliveryReason.SINK) from error

    def _append(self, lines: bytes) -> None:
        with self.settings.path.open("ab") as file:
            file.write(lines)
