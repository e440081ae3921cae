"""What reaches standard error: no secret, no forged line, and every line readable by a machine."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest
import structlog
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from poller import logs, redaction
from poller.redaction import register_secret

if TYPE_CHECKING:
    from collections.abc import Iterator

SECRET = "whsec_Zm9v/bar+b'a\"z\\q="
ODD = "name\r\nINJECTED level=error\x1b[2J\x00\x07\x7f\x85\u2028\ud800"
both_forms = pytest.mark.parametrize("form", ["json", "console"])


@pytest.fixture(autouse=True)
def unconfigured() -> Iterator[None]:
    """Leave the process's logging as it was."""
    root = logging.getLogger()
    loggers = [root, logging.getLogger("poller"), logging.getLogger("stranger")]
    before = list(root.handlers), [logger.level for logger in loggers]
    before_secrets, redaction._registered = redaction._registered, redaction._Registered()
    yield
    root.handlers[:] = before[0]
    for logger, level in zip(loggers, before[1], strict=True):
        logger.setLevel(level)
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()
    redaction._registered = before_secrets


class Output:
    """Configures logging and reads what it wrote."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def configure(self, form: str, level: str = "info") -> structlog.stdlib.BoundLogger:
        """Set logging up and return a logger of the program."""
        logs.configure(level=level, form=form)
        return logs.get("poller.example")

    def text(self) -> str:
        """What was written since the last call; nothing on standard output."""
        out, err = self._capsys.readouterr()
        assert out == ""
        return err

    def events(self) -> list[dict[str, Any]]:
        """The JSON lines written since."""
        return [json.loads(line) for line in self.text().splitlines()]


@pytest.fixture
def output(capsys: pytest.CaptureFixture[str]) -> Output:
    """Where logs go."""
    return Output(capsys)


def fail(text: str) -> None:
    """Raise an error whose text and cause hold something."""
    try:
        _ = dict[str, str]()[text]
    except KeyError as cause:
        raise RuntimeError(f"it said {text}") from cause


def test_a_line_of_json_says_what_when_and_who(output: Output) -> None:
    """The dotted event with its keys, the level, the logger and the time in UTC."""
    output.configure("json").info("delivery.settled", sink="ops", attempts=3)
    (event,) = output.events()
    assert event.pop("timestamp").endswith("Z")
    assert event == {
        "event": "delivery.settled",
        "sink": "ops",
        "attempts": 3,
        "level": "info",
        "logger": "poller.example",
    }


def test_a_line_for_a_terminal_says_the_same(output: Output) -> None:
    """Without colours where it is none."""
    output.configure("console").warning("delivery.failed", sink="ops", retry_in=1.5)
    line = output.text()
    assert "\x1b" not in line
    for part in ("delivery.failed", "sink=ops", "retry_in=1.5", "warning"):
        assert part in line


def test_context_is_in_every_line(output: Output) -> None:
    """What was bound for a task goes with everything it logs, and with a library's records too."""
    log = output.configure("json")
    structlog.contextvars.bind_contextvars(target="prod/us-east-1/async_invoke")
    log.info("poll.finished")
    logging.getLogger("stranger").warning("odd")
    assert [event["target"] for event in output.events()] == ["prod/us-east-1/async_invoke"] * 2


def test_the_level_holds_for_the_program_and_libraries_speak_from_warnings_up(output: Output) -> None:
    """Even at debug level no library's chatter is shown: botocore would print bodies there."""
    log = output.configure("json", level="debug")
    log.debug("poll.planned")
    logging.getLogger("apscheduler.scheduler").warning("a run was skipped, as it is meant to be")
    for name in ("botocore.parsers", "stranger", "uvicorn.error"):
        logging.getLogger(name).info("chatter")
        logging.getLogger(name).warning("warned by %s", name)
    assert [event["event"].partition(" by")[0] for event in output.events()] == ["poll.planned"] + [
        "warned"
    ] * 3
    output.configure("json", level="error").warning("poll.failed")
    assert output.text() == ""


@both_forms
def test_a_registered_secret_is_struck_wherever_it_stands(form: str, output: Output) -> None:
    """In the event, in values at any depth, in keys, in objects' texts and in other libraries' records."""
    log = output.configure(form)
    register_secret(SECRET)
    said = f"sent {SECRET}"
    log.info(
        said,
        plain=SECRET,
        inside=f"Bearer {SECRET}!",
        nested={"list": [SECRET, {"deep": (SECRET,)}], SECRET: 1, 5: SECRET},
        thing=RuntimeError(SECRET),
        raw=SECRET.encode(),
        address=f"https://x/{quote(SECRET, safe='')}",
    )
    logging.getLogger("stranger").warning("connecting with %s", SECRET)
    logging.getLogger("stranger").warning("as a dictionary %r", {"k": SECRET})
    text = output.text()
    assert "[secret]" in text
    for shape in (SECRET, repr(SECRET)[1:-1], json.dumps(SECRET)[1:-1], quote(SECRET, safe="")):
        assert shape not in text
    assert "Zm9v" not in text


@both_forms
def test_a_traceback_carries_no_secret(form: str, output: Output) -> None:
    """Neither in the error's text, nor in its cause's, nor where it is shown as a literal."""
    log = output.configure(form)
    register_secret(SECRET)
    try:
        fail(SECRET)
    except RuntimeError:
        log.exception("poll.failed", why=SECRET)
        logging.getLogger("stranger").exception("failed with %s", SECRET)
    text = output.text()
    assert text.count("Traceback") == 4
    assert "RuntimeError" in text
    assert "Zm9v" not in text


@both_forms
@pytest.mark.parametrize(
    "key",
    [
        "secret",
        "secret_files",
        "webhook_secret",
        "Password",
        "AUTHORIZATION",
        "webhook-signature",
        "credentials",
        "aws_session_token",
        "external_id",
    ],
)
def test_a_key_that_tells_of_a_secret_loses_its_value(key: str, form: str, output: Output) -> None:
    """Whether or not anybody registered it, at the top and further down; nothing is made of an empty one."""
    log = output.configure(form)
    log.info("x", **{key: "unregistered"})
    log.info("x", headers={key: "unregistered", "other": "kept"})
    log.info("x", **{key: None})
    text = output.text()
    assert "unregistered" not in text
    assert "kept" in text
    assert text.count("[secret]") == 2


def test_what_merely_resembles_one_is_kept(output: Output) -> None:
    """A client request token and an event's id are no secrets; a very short text is struck nowhere."""
    log = output.configure("json")
    register_secret("abc", "")
    log.info("x", client_request_token="token-1", event_id="abcdef", name="abc")
    (event,) = output.events()
    assert (event["client_request_token"], event["event_id"], event["name"]) == ("token-1", "abcdef", "abc")


@both_forms
def test_a_stranger_s_text_cannot_forge_a_line(form: str, output: Output) -> None:
    """Line ends and control characters of a job's name are escaped, in the event and in every value.

    Injects fault 45.
    """
    log = output.configure(form)
    log.info(ODD, job_name=ODD, nested={"names": [ODD]}, thing=RuntimeError(ODD))
    logging.getLogger("stranger").warning("name is %s", ODD)
    text = output.text()
    assert len(text.splitlines()) == 2
    assert text.count("\n") == 2
    assert not {char for char in text if char != "\n" and char < " "}
    assert "\u2028" not in text
    assert "\\r\\n" in text


@both_forms
def test_a_traceback_keeps_its_lines_and_nothing_else(form: str, output: Output) -> None:
    """An error's text cannot clear the screen, and odd characters do not cost the record."""
    log = output.configure(form)
    try:
        fail(ODD)
    except RuntimeError:
        log.exception("poll.failed")
    text = output.text()
    assert "Logging error" not in text
    assert "poll.failed" in text
    assert not {char for char in text if char != "\n" and char < " "}
    assert ("\\n  File" in text) == (form == "json")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=50)
@given(text=st.text(st.characters(codec=None), max_size=20), key=st.text(max_size=8))
def test_whatever_is_logged_is_one_line_of_json(text: str, key: str, output: Output) -> None:
    """Any text comes back from the line as it was."""
    log = output.configure("json")
    log.info("x", value=text, nested={key: text})
    text_written = output.text()
    assert text_written.count("\n") == 1
    event = json.loads(text_written)
    as_json = json.loads(json.dumps(text))
    assert event["value"] == as_json
    assert list(event["nested"].values()) in ([as_json], ["[secret]"])


def test_values_that_json_does_not_know_are_written_as_text(output: Output) -> None:
    """Objects, sets and bytes; numbers, truth and nothing stay what they are."""
    log = output.configure("json")
    log.info("x", thing=RuntimeError("why"), some={1}, raw=b"x", n=None, yes=True, number=1.5, pair=(1, "a"))
    (event,) = output.events()
    assert (event["thing"], event["some"], event["raw"]) == ("why", "{1}", "b'x'")
    assert (event["n"], event["yes"], event["number"], event["pair"]) == (None, True, 1.5, [1, "a"])


def test_configuring_again_replaces_what_was(output: Output) -> None:
    """After a reload each record is written once, in the new form."""
    output.configure("console")
    log = output.configure("json")
    log.info("x")
    assert len(output.events()) == 1
