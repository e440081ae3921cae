"""The log sink writes whole lines to standard output."""

from __future__ import annotations

import asyncio
import io
import json
import os
import sys
import threading
from contextlib import asynccontextmanager, redirect_stdout
from typing import TYPE_CHECKING

import pytest

from poller.errors import DeliveryError, DeliveryReason
from poller.sinks.conformance import Subject, sample_event
from poller.sinks.log import LogSettings, LogSink
from tests.sinks.samples import EVENT, in_loop

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


def log_sink() -> LogSink:
    """Make one as the configuration would."""
    return LogSink("audit", LogSettings.model_validate({"type": "log"}))


@asynccontextmanager
async def subject(up: bool) -> AsyncIterator[Subject]:
    """The sink with standard output open or closed, for the checks of conformance."""
    stream = io.TextIOWrapper(io.BytesIO())
    if not up:
        stream.close()
    with redirect_stdout(stream):
        yield Subject(log_sink)


def redirect(monkeypatch: pytest.MonkeyPatch, raw: io.RawIOBase) -> None:
    """Put a stream in the place of standard output."""
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BufferedWriter(raw)))


@in_loop
async def test_a_line_is_the_events_bytes(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    """Standard output gets the body and a newline, flushed; standard error gets nothing."""
    sink = log_sink()
    await sink.send([EVENT])
    captured = capfdbinary.readouterr()
    assert captured.out == EVENT.body + b"\n"
    assert captured.err == b""
    await sink.close()


@in_loop
async def test_a_batch_is_a_line_each(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    """Events of a batch keep their order."""
    sink = log_sink()
    events = [sample_event(f"job{i}") for i in range(sink.batch_size)]
    await sink.send(events)
    assert capfdbinary.readouterr().out.splitlines() == [event.body for event in events]
    await sink.close()


@in_loop
async def test_lines_of_several_sinks_never_mix(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    """Large events sent at once through two sinks come out as whole lines."""
    sinks = [log_sink(), log_sink()]
    events = [sample_event(f"job{i}", message=str(i) * 50_000) for i in range(20)]
    await asyncio.gather(*(sink.send([event]) for event in events for sink in sinks))
    lines = capfdbinary.readouterr().out.splitlines()
    assert len(lines) == 40
    assert {json.loads(line)["id"] for line in lines} == {event.id for event in events}
    await asyncio.gather(*(sink.close() for sink in sinks))


@in_loop
async def test_a_reader_that_went_away_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    """A broken pipe is reported as such, and is worth another try."""
    reading, writing = os.pipe()
    os.close(reading)
    raw = io.FileIO(writing, "w")
    redirect(monkeypatch, raw)
    sink = log_sink()
    with pytest.raises(DeliveryError, match="standard output: Broken pipe") as caught:
        await sink.send([EVENT])
    assert caught.value.reason is DeliveryReason.SINK
    assert not caught.value.permanent
    await sink.close()
    raw.close()


@pytest.mark.parametrize("closed", [True, False])
@in_loop
async def test_no_standard_output_is_a_failure(closed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A closed stream, and a process started without one, are reported alike."""
    if closed:
        stream = io.TextIOWrapper(io.BytesIO())
        stream.close()
        monkeypatch.setattr(sys, "stdout", stream)
    else:
        monkeypatch.setattr(sys, "stdout", None)
    sink = log_sink()
    with pytest.raises(DeliveryError, match="standard output: it is closed"):
        await sink.send([EVENT])
    await sink.close()


@in_loop
async def test_a_full_disk_tears_no_later_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a full disk cut short is ended before the event is written again."""
    disk = _Disk(room=100)
    redirect(monkeypatch, disk)
    sink = log_sink()
    event = sample_event(message="x" * 100_000)
    with pytest.raises(DeliveryError, match="No space left"):
        await sink.send([event])
    disk.room = sys.maxsize
    await sink.send([event])
    await sink.send([EVENT])
    torn, *lines = bytes(disk.content).splitlines()
    assert event.body.startswith(torn)
    assert [line for line in lines if line] == [event.body, EVENT.body]
    await sink.close()


class _Disk(io.RawIOBase):
    """A file on a disk with little room."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.content = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, data: bytes) -> int:  # type: ignore[override]
        taken = bytes(data[: self.room])
        if not taken:
            raise OSError(28, "No space left on device")
        self.room -= len(taken)
        self.content += taken
        return len(taken)


def test_a_reader_that_stops_reading_blocks_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the pipe full, the loop goes on, the send can be given up, and the program can end."""
    reading, writing = os.pipe()
    redirect(monkeypatch, io.FileIO(writing, "w"))
    sink = log_sink()

    async def scenario() -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(sink.send([sample_event(message="x" * 1_000_000)]), 0.1)
        await sink.close()

    asyncio.run(scenario())
    drain = threading.Thread(target=lambda: [None for _ in iter(lambda: os.read(reading, 65536), b"")])
    drain.start()
    # The write ends now that somebody reads; only then may the stream be closed.
    for thread in threading.enumerate():
        if thread.name == "sink-audit":
            thread.join(5)
    sys.stdout.close()
    drain.join(5)
    os.close(reading)
