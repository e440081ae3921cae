"""A process that has imported everything and does nothing but fork, so that a program starts in an instant.

It has no threads, so forking is safe. Requests come as lines of JSON on standard input; each is answered with
the child's process id, and later with its exit status. One child at a time.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import traceback
from functools import lru_cache
from typing import Any

from botocore.loaders import JSONFileLoader

from tests.chaos import process


def warm() -> None:
    """Import what the program imports when it runs, and keep the service models that it reads."""
    import alembic.command
    import boto3

    import poller.app
    import poller.cli.daemon
    import poller.sinks.webhook
    import poller.store.migrations.versions
    import tests.chaos.clock
    import tests.chaos.points

    JSONFileLoader.load_file = lru_cache(maxsize=None)(JSONFileLoader.load_file)
    JSONFileLoader.exists = lru_cache(maxsize=None)(JSONFileLoader.exists)
    session = boto3.Session(region_name="us-east-1", aws_access_key_id="a", aws_secret_access_key="a")
    for service in ("bedrock", "bedrock-runtime"):
        session.client(service).close()
    del alembic, poller, tests
    gc.freeze()  # or a collection in a child would copy every page


def child(order: dict[str, Any]) -> int:
    """Become the program."""
    process.die_with_parent()
    os.environ.clear()
    os.environ.update(order["environ"])
    for number, name in enumerate((os.devnull, order["stdout"], order["stderr"])):
        flags = os.O_RDONLY if number == 0 else os.O_WRONLY | os.O_CREAT | os.O_APPEND
        os.dup2(os.open(name, flags, 0o600), number)
    try:
        code = process.main(order["arguments"])
        sys.stdout.flush()
    except BaseException:  # noqa: BLE001 - told where the parent looks
        traceback.print_exc()
        code = 70
    sys.stderr.flush()
    return code


def main() -> None:
    """Fork on demand."""
    process.die_with_parent()
    warm()
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    answers.write("ready\n")
    for line in sys.stdin:
        order = json.loads(line)
        pid = os.fork()
        if pid == 0:
            answers.close()
            os._exit(child(order))
        answers.write(f"{pid}\n")
        _, status = os.waitpid(pid, 0)
        answers.write(f"{os.waitstatus_to_exitcode(status)}\n")


if __name__ == "__main__":
    main()
