"""A process that has imported everything and does nothing but fork, so that a program starts in an instant.

It has no threads, so forking is safe. Orders come as lines of JSON on standard input. It answers each with
`started PID`, and says `ended PID CODE` when that program has ended.
"""

from __future__ import annotations

import gc
import json
import os
import select
import signal
import sys
import traceback
from typing import Any, TextIO

from tests.harness import models, process

_ENDED = os.pipe()
"""Gets a byte whenever a program has ended."""


def warm() -> None:
    """Import what the program imports when it runs, and keep the service models that it reads."""
    import alembic.command
    import boto3
    import sqlalchemy.dialects.postgresql.psycopg

    import poller.app
    import poller.cli.daemon
    import poller.sinks.webhook
    import poller.store.migrations.versions
    import poller.web
    import tests.chaos.clock
    import tests.chaos.points

    models.keep()
    session = boto3.Session(region_name="us-east-1", aws_access_key_id="a", aws_secret_access_key="a")
    for service in ("bedrock", "bedrock-runtime", "sts"):
        session.client(service).close()
    del alembic, poller, sqlalchemy, tests
    gc.freeze()  # or a collection in a child would copy every page


def child(order: dict[str, Any]) -> int:
    """Become the program."""
    process.die_with_parent()
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for descriptor in _ENDED:
        os.close(descriptor)
    os.environ.clear()
    os.environ.update(order["environ"])
    for number, name in enumerate((os.devnull, order["stdout"], order["stderr"])):
        flags = os.O_RDONLY if number == 0 else os.O_WRONLY | os.O_CREAT | os.O_APPEND
        descriptor = os.open(name, flags, 0o600)
        os.dup2(descriptor, number)
        os.close(descriptor)
    try:
        code = process.main(order["arguments"])
        sys.stdout.flush()
    except BaseException:  # noqa: BLE001 - told where the parent looks
        traceback.print_exc()
        code = 70
    sys.stderr.flush()
    return code


def reap(answers: TextIO) -> None:
    """Say which programs have ended."""
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        answers.write(f"ended {pid} {os.waitstatus_to_exitcode(status)}\n")


def main() -> None:
    """Fork on demand."""
    process.die_with_parent()
    warm()
    for descriptor in _ENDED:
        os.set_blocking(descriptor, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(_ENDED[1])
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    answers.write("ready\n")
    waiting = b""
    while True:
        readable, _, _ = select.select([0, _ENDED[0]], [], [])
        if _ENDED[0] in readable:
            os.read(_ENDED[0], 4096)
            reap(answers)
        if 0 in readable:
            piece = os.read(0, 65536)
            if not piece:
                return
            *orders, waiting = (waiting + piece).split(b"\n")
            for order in orders:
                pid = os.fork()
                if pid == 0:
                    answers.close()
                    # As any program ends: with its threads joined.
                    sys.exit(child(json.loads(order)))
                answers.write(f"started {pid}\n")


if __name__ == "__main__":
    main()
