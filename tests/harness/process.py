"""The real program with a saboteur in it: `python -m tests.harness.process run`.

Takes the command line of `bedrock-poller`. What is done to it is in variables, so that it is also the real
program in everything that is not done to it.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from pathlib import Path

_SET_PARENT_DEATH_SIGNAL = 1


def die_with_parent() -> None:
    """Be killed when whoever started this ends, however it ends; on Linux."""
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None).prctl(_SET_PARENT_DEATH_SIGNAL, signal.SIGKILL)


def main(arguments: list[str]) -> int:
    """Run one command line, and return its exit code."""
    if clock := os.environ.get("CHAOS_CLOCK"):
        from tests.chaos.clock import install

        install(Path(clock), database=os.environ.get("CHAOS_CLOCK_DATABASE") == "1")
    from tests.chaos.points import Plan, Points

    plan = Plan.from_environ(os.environ)
    if plan is not None:
        Points(plan).install()
    from poller.cli import run

    return run(arguments)


if __name__ == "__main__":
    die_with_parent()
    sys.exit(main(sys.argv[1:]))
