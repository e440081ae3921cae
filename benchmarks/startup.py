"""How soon the command answers."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from benchmarks.processes import PROGRAM, cost_of, environment
from benchmarks.table import Figures, Row

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.bench import Bench

_OURS = (PROGRAM, "version")
_FLOOR = (sys.executable, "-c", "pass")
_RIVAL = (sys.executable, "-c", "import boto3; boto3.client('bedrock')")


def rows(bench: Bench) -> Iterator[Row]:
    """The command against a script that has done no more than make a client."""
    environ = environment("http://127.0.0.1:9")
    ours, theirs, floor = [], [], []
    bench.say(f"{bench.sizes.startups} starts")
    for _ in range(bench.sizes.startups):
        ours.append(cost_of(_OURS, environ, bench.folder).seconds)
        theirs.append(cost_of(_RIVAL, environ, bench.folder).seconds)
        floor.append(cost_of(_FLOOR, environ, bench.folder).seconds)
    yield Row(
        "start of `bedrock-poller version`",
        "s",
        Figures(ours),
        "`import boto3; boto3.client('bedrock')`",
        Figures(theirs),
        most=0.5,
        floor="`python -c pass`",
        floor_figures=Figures(floor),
    )
