"""What a daemon costs that has nothing to do: one target with default settings, and no open job."""

from __future__ import annotations

import os
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.bench import SMALL
from benchmarks.pages import Account, PageServer
from benchmarks.processes import PROGRAM, environment, running
from benchmarks.serving import serving
from benchmarks.table import Figures, Row

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.bench import Bench

_MINUTE = 60


def rows(bench: Bench) -> Iterator[Row]:
    """Processor seconds a minute; a daemon for each run, all at the same time, since all are idle."""
    watched, settle = bench.sizes.idle_seconds, bench.sizes.settle_seconds
    with serving(PageServer(Account(SMALL))) as url, ExitStack() as stack:
        daemons = []
        for _ in range(bench.sizes.runs):
            store = {
                "BEDROCK_POLLER_STORE__URL": f"sqlite:///{bench.new_store()}",
                "BEDROCK_POLLER_WEB__LISTEN": "127.0.0.1:0",
            }
            command = running((PROGRAM, "run"), environment(url, **store), bench.folder)
            daemons.append(stack.enter_context(command))
        bench.say(f"{len(daemons)} idle daemons start, and are left alone for {settle:g} s")
        time.sleep(settle)
        bench.say(f"they are watched for {watched:g} s")
        before, began = [_used(daemon.pid) for daemon in daemons], time.monotonic()
        time.sleep(watched)
        minutes = (time.monotonic() - began) / _MINUTE
        used = [
            (_used(daemon.pid) - seconds) / minutes for daemon, seconds in zip(daemons, before, strict=True)
        ]
    yield Row(
        f"processor time of an idle daemon a minute, over {watched:g} s, {settle:g} s after its start",
        "s",
        Figures(used),
        limit=0.3,
    )


def _used(pid: int) -> float:
    """The processor seconds of a process so far; the 14th and 15th fields of proc(5)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
