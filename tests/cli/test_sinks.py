"""`sinks list`, `sinks test` and `sinks unpark`, against receivers that answer and others that do not."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.harness.receiver import SECRET, Receiver

if TYPE_CHECKING:
    from poller.simulator import Simulator
    from tests.cli.conftest import Shell


def hook(receiver: Receiver, **more: Any) -> dict[str, Any]:
    """A webhook sink."""
    return {"type": "webhook", "url": receiver.url, "secrets": [SECRET], **more}


def test_a_sample_is_sent_and_taken(shell: Shell) -> None:
    """`sinks test` sends one signed event of its own type, says so, and records nothing."""
    with Receiver() as receiver:
        shell.sinks(ops=hook(receiver))
        done = shell("sinks", "test", "ops")
        (event,) = receiver.events
    assert (done.code, done.err) == (0, f"ops: took event {event['id']}\n")
    assert event["type"] == "bedrock-poller.sink.test"
    assert not shell.store.exists()


@pytest.mark.parametrize(
    ("status", "reason"), [(500, "server_error"), (404, "client_error"), (410, "gone"), (429, "rate_limited")]
)
def test_a_refusal_is_said(shell: Shell, status: int, reason: str) -> None:
    """What the receiver answered is said, with 1 and without the path of its URL."""
    with Receiver(lambda _: status) as receiver:
        shell.sinks(ops=hook(receiver))
        done = shell("sinks", "test", "ops")
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith(f"ops: failed ({reason}): ")
    assert str(status) in done.err
    assert "/hook" not in done.err


def test_nobody_there(shell: Shell) -> None:
    """A receiver that cannot be reached, or does not answer in time, is 1 and one line."""

    def slowly(_: object) -> int:
        time.sleep(0.5)
        return 204

    with Receiver(slowly) as receiver:
        shell.sinks(ops=hook(receiver, timeout="100ms"))
        assert "ops: failed (timeout): " in shell("sinks", "test", "ops").err
    done = shell("sinks", "test", "ops")
    assert done.code == 1
    assert done.err.startswith("ops: failed (connect): ")


def test_a_log_sink_prints_the_sample(shell: Shell) -> None:
    """The default sink prints the event on standard output."""
    done = shell("sinks", "test", "log")
    assert [row["type"] for row in done.rows] == ["bedrock-poller.sink.test"]


@pytest.mark.parametrize("command", ["test", "unpark"])
def test_a_sink_that_is_not_configured(shell: Shell, command: str) -> None:
    """A name that no sink has is wrong use, and the names there are are said."""
    done = shell("sinks", command, "ops")
    assert (done.code, done.err) == (2, "sinks.ops: there is no such sink; there are: log\n")


def test_a_parked_sink_is_listed_and_resumed(at_work: Shell, simulator: Simulator) -> None:
    """A receiver that says 410 parks its sink, its events are kept, `unpark` resumes it, and they arrive.

    Injects fault 27.
    """
    at_work.set(POLL__FIRST_SCAN="emit")
    simulator.submit_batch(script=[("InProgress", 0)])
    with Receiver(lambda _: 410) as receiver:
        at_work.sinks(ops=hook(receiver), audit={"type": "log"})
        done = at_work("once")
        assert (done.code, len(done.rows)) == (0, 1)
        assert "once: 1 deliveries are still owed to ops" in done.err
        listed = at_work("sinks", "list").out
        assert "410" in listed
        receiver.answer = lambda _: 204
        sent = len(receiver.ids)
        assert at_work("once").code == 0
        assert len(receiver.ids) == sent
        assert at_work("sinks", "unpark", "ops").out == "ops: resumed\n"
        assert at_work("sinks", "unpark", "ops").code == 1
        at_work("once")
        assert len(receiver.distinct()) == 1
        assert len(receiver.ids) == sent + 1
    at_work.sinks(audit={"type": "log"})
    words = [line.split() for line in at_work("sinks", "list").out.splitlines()]
    assert words[0] == ["sink", "type", "pending", "dead", "parked"]
    assert words[1][:4] == ["audit", "log", "0", "0"]
