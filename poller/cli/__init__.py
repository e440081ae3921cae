"""The command line: parses, calls the layers below, prints, and turns failures into exit codes.

0 is done, 1 is failed, 2 is wrong use or a wrong configuration. Commands import what they need when they run,
so that `--help` answers soon and `version` at once.
"""

from __future__ import annotations

import sys
import threading
import traceback

from poller import __version__
from poller.errors import ConfigError, PollerError

VERSION = f"bedrock-poller {__version__}"
"""What `version` prints."""

_GLOBAL = ("--config", "--log-level", "--log-format")


def main() -> None:
    """Run the command line and exit."""
    threading.excepthook = lambda crash: _say(crash.exc_value) if crash.exc_value else None
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run one command line.

    Returns:
        The exit code.
    """
    if arguments == ["version"]:
        # Scripts ask for it all the time; the parser alone takes longer to import than everything else.
        print(VERSION)
        return 0
    from poller.cli.program import program

    try:
        program(move_global_options_first(arguments), prog_name="bedrock-poller")
    except ConfigError as error:
        for problem in error.problems:
            _print_line(str(problem))
        return 2
    except PollerError as error:
        _print_line(f"bedrock-poller: {error}")
        return 1
    except SystemExit as done:
        return done.code if isinstance(done.code, int) else 1
    except Exception as error:  # noqa: BLE001 - a mistake of ours
        _say(error)
        return 1
    return 0


def _say(error: BaseException) -> None:
    """Print a traceback as Python does, without the secrets that may be in it."""
    from poller.redaction import printable, redact

    text = redact("".join(traceback.format_exception(error)))
    print(printable(text, keep="\n"), end="", file=sys.stderr)


def _print_line(text: str) -> None:
    from poller.redaction import printable, redact

    print(printable(redact(text)), file=sys.stderr)


def move_global_options_first(arguments: list[str]) -> list[str]:
    """Move the global options before the command, so that they can be written on either side of it."""
    before, after = [], []
    rest = iter(arguments)
    for argument in rest:
        if argument == "--":
            after += [argument, *rest]
        elif argument in _GLOBAL:
            before += [argument, *([value] if (value := next(rest, None)) is not None else [])]
        elif argument.startswith(tuple(f"{option}=" for option in _GLOBAL)):
            before.append(argument)
        else:
            after.append(argument)
    return before + after
