"""The command tree: help for everything, exit codes, global options on either side of the command."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from poller import __version__
from poller.cli import main, move_global_options_first
from poller.cli.program import program

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.cli.conftest import Shell


def commands(tree: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Every command and group, by the words that name it."""
    yield path
    for name, inner in getattr(tree, "commands", {}).items():
        yield from commands(inner, (*path, name))


@pytest.mark.parametrize("path", list(commands(program)), ids=" ".join)
def test_every_command_explains_itself(shell: Shell, path: tuple[str, ...]) -> None:
    """`--help` of every command and group shows its usage and something about it, and exits with 0."""
    done = shell(*path, "--help")
    assert (done.code, done.err) == (0, "")
    assert "Usage: bedrock-poller" in done.out
    assert len(done.out.splitlines()) > 5


def test_the_version(shell: Shell) -> None:
    """`version` names the program and its version, with options and without."""
    assert shell("version").out == f"bedrock-poller {__version__}\n"
    assert shell("version", "--log-level", "info").out == f"bedrock-poller {__version__}\n"


def test_the_version_alone_needs_no_parser() -> None:
    """What scripts ask for all the time loads nothing that takes time to load."""
    code = "import sys; from poller.cli import run; run(['version']); print('typer' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == f"bedrock-poller {__version__}\nFalse\n"


def test_nothing_at_all_shows_the_help(shell: Shell) -> None:
    """Without a command the help is shown, as for wrong use."""
    done = shell()
    assert (done.code, "Usage:" in done.out + done.err) == (2, True)


@pytest.mark.parametrize(
    "arguments",
    [
        ["frobnicate"],
        ["run", "--frobnicate"],
        ["demo", "--for", "soon"],
        ["demo", "--jobs", "0"],
        ["schema", "sinks"],
        ["version", "--log-level", "loud"],
        ["version", "--config"],
        ["sinks", "test"],
    ],
    ids=" ".join,
)
def test_wrong_use_is_2(shell: Shell, arguments: list[str]) -> None:
    """What cannot be parsed exits with 2, says so on standard error, and prints no traceback."""
    done = shell(*arguments)
    assert (done.code, done.out) == (2, "")
    assert "Error" in done.err
    assert "Traceback" not in done.err


@pytest.mark.parametrize(
    "arguments",
    [
        ["--config", "{file}", "check-config"],
        ["check-config", "--config", "{file}"],
        ["check-config", "--config={file}", "--log-level", "error", "--log-format=json"],
        ["--log-format", "console", "check-config", "--config", "{file}"],
    ],
)
def test_global_options_stand_on_either_side(shell: Shell, arguments: list[str]) -> None:
    """`--config` and the options of the log are accepted before and after the command."""
    path = shell.write("sinks: {one: {type: log}, two: {type: log}}")
    done = shell(*(argument.format(file=path) for argument in arguments))
    assert (done.code, done.err) == (0, "")
    assert done.out == f"{path}: no problems (1 targets, 2 sinks, 0 routes)\n"


def test_the_file_can_come_from_the_environment(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """`BEDROCK_POLLER_CONFIG` names the file."""
    path = shell.write("sinks: {one: {type: log}}")
    monkeypatch.setenv("BEDROCK_POLLER_CONFIG", path)
    assert path in shell("check-config").out


def test_what_follows_two_hyphens_stays_in_its_place() -> None:
    """After `--` nothing is an option, and an option without its value is left for the parser to complain."""
    assert move_global_options_first(["sinks", "test", "--", "--config"]) == [
        "sinks",
        "test",
        "--",
        "--config",
    ]
    assert move_global_options_first(["run", "--config"]) == ["--config", "run"]
    assert move_global_options_first(["a", "--log-level", "debug", "b"]) == ["--log-level", "debug", "a", "b"]


def test_main_exits_with_the_code(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    """The console script takes the process's arguments and exits."""
    monkeypatch.setattr(sys, "argv", ["bedrock-poller", "version"])
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 0


@pytest.mark.slow
def test_a_reader_that_stops_reading_is_no_crash() -> None:
    """Printing into a closed pipe ends quietly."""
    program = [sys.executable, "-m", "poller", "schema", "config"]
    with subprocess.Popen(program, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        errors = process.stderr.read()
        assert process.wait(20) == 1
    assert errors == b""
