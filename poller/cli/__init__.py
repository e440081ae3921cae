"""The command line: parses, calls the layers below, prints, and turns failures into exit codes.

0 is done, 1 is failed, 2 is wrong use or a wrong configuration. Commands import what they need when they run,
so that `version` and `--help` answer at once.
"""

from __future__ import annotations

import sys

from poller.cli.program import program
from poller.errors import ConfigError, PollerError

_GLOBAL = ("--config", "--log-level", "--log-format")


def main() -> None:
    """Run the command line and exit."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run one command line.

    Returns:
        The exit code.
    """
    try:
        program(hoist(arguments), prog_name="bedrock-poller")
    except ConfigError as error:
        for problem in error.problems:
            print(problem, file=sys.stderr)
        return 2
    except PollerError as error:
        print(f"bedrock-poller: {error}", file=sys.stderr)
        return 1
    except SystemExit as done:
        return done.code if isinstance(done.code, int) else 1
    return 0


def hoist(arguments: list[str]) -> list[str]:
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
