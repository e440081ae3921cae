"""Texts of strangers act on no terminal, whichever command prints them."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
import yaml

from poller.redaction import printable
from tests.harness.receiver import SECRET, Receiver

if TYPE_CHECKING:
    from poller.simulator import Simulator
    from tests.cli.conftest import Shell

HOSTILE = "[/x][bold]\x1b[2J\x1b]0;owned\x07\x9b31m\u202etxt\u2066\rforged\x7f"
ACTING = {"\x1b", "\x07", "\x9b", "\u202e", "\u2066", "\r", "\x7f"}

COMMANDS = [
    ("targets", "list"),
    ("jobs", "list"),
    ("jobs", "list", "--output", "json"),
    ("events", "list"),
    ("deliveries", "list"),
    ("deliveries", "show", "1"),
    ("deliveries", "replay", "--sink", "ops", "--dry-run"),
    ("sinks", "list"),
    ("once", "--dry-run"),
]


def harmless(text: str) -> bool:
    """Whether nothing in an output acts on a terminal."""
    return not ACTING & set(text)


def test_a_text_keeps_its_letters_and_loses_its_power() -> None:
    """Controls and bidirectional overrides are escaped, letters of every script stay (fault 66)."""
    assert harmless(printable(HOSTILE))
    assert "[/x][bold]" in printable(HOSTILE)
    assert printable("Größe 数量 ✓") == "Größe 数量 ✓"
    assert printable("a\nb\x1b", keep="\n") == "a\nb\\x1b"


@pytest.mark.parametrize("form", ["json", "console"])
def test_no_command_lets_a_stranger_act_on_the_terminal(
    at_work: Shell, simulator: Simulator, form: str
) -> None:
    """Hostile names, messages and sink errors in a real store come out escaped everywhere (fault 66)."""
    at_work.set(POLL__FIRST_SCAN="emit")
    simulator.submit_batch(script=[("InProgress", 0), ("Failed", 0.1)], message=HOSTILE)
    time.sleep(0.3)
    with Receiver(lambda _: 410) as receiver:
        at_work.sinks(ops={"type": "webhook", "url": receiver.url, "secrets": [SECRET]})
        first = at_work("once", "--log-format", form)
        assert harmless(first.out + first.err)
        # The columns that hold what strangers said, whichever release wrote them.
        for table, column in (
            ("jobs", "name"),
            ("deliveries", "last_error"),
            ("deliveries", "last_reason"),
            ("sinks", "parked_reason"),
        ):
            at_work.sql(f"UPDATE {table} SET {column} = '{HOSTILE}'")  # noqa: S608 - our own
        for command in COMMANDS:
            done = at_work(*command, "--log-format", form)
            assert "Traceback" not in done.err, command
            assert done.code == 0, (command, done.err)
            assert harmless(done.out + done.err), command
        assert "[/x][bold]" in at_work("sinks", "list").out


def test_watch_prints_a_message_without_its_power(at_work: Shell, simulator: Simulator) -> None:
    """A job's message is shown with its brackets and without its escapes (fault 66)."""
    arn = simulator.submit_batch(script=[("InProgress", 0), ("Failed", 0.3)], message=HOSTILE)
    done = at_work("watch", arn, "--every", "100ms")
    assert "message: [/x][bold]\\x1b" in done.out
    assert harmless(done.out + done.err)


def test_error_lines_are_escaped(shell: Shell) -> None:
    """What a configuration or an argument holds comes back escaped in the error line (fault 66)."""
    path = shell.write(yaml.safe_dump({"sinks": {"ops": {"type": HOSTILE}}}))
    for arguments in (("check-config", "--config", path), ("jobs", "show", HOSTILE), ("watch", HOSTILE)):
        done = shell(*arguments)
        assert done.code in {1, 2}
        assert harmless(done.out + done.err), arguments
