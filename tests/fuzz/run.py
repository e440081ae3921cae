"""Tries new inputs for as long as it is told to: `make fuzz FUZZ_ARGS="--for 1h --seed 7"`."""

from __future__ import annotations

import argparse
import sys
import time
import traceback
from collections import Counter
from typing import TYPE_CHECKING, Any

from hypothesis import HealthCheck, given, settings
from hypothesis import seed as seeded

from poller.times import parse_duration
from tests.fuzz.properties import PROPERTIES

if TYPE_CHECKING:
    from tests.fuzz.properties import Property

_ROUND = 500
"""Inputs of one property before it is the next one's turn."""


def tried(prop: Property, *, seed: int, inputs: int) -> int:
    """Try a property with so many inputs at most, and say how many they were.

    Raises:
        Exception: The property does not hold; the traceback shows the smallest input that was found.
    """
    count = 0

    def counted(value: Any) -> None:
        nonlocal count
        count += 1
        prop.holds(value)

    seeded(seed)(
        settings(max_examples=inputs, deadline=None, database=None, suppress_health_check=list(HealthCheck))(
            given(prop.inputs)(counted)
        )
    )()
    return count


def main() -> int:
    """Fuzz, and print how many inputs each parser got; the exit code says whether all held."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.run")
    parser.add_argument("--for", dest="span", type=parse_duration, default=parse_duration("1m"))
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    end = time.monotonic() + asked.span.total_seconds()
    counts: Counter[str] = Counter()
    failed: list[str] = []
    turn = asked.seed
    while time.monotonic() < end and not failed:
        for name, prop in PROPERTIES.items():
            try:
                # A smaller share for slow ones, as in the tests.
                counts[name] += tried(prop, seed=turn, inputs=_ROUND * prop.weight // 300)
            except Exception:  # noqa: BLE001 - whatever it is, it is the result
                traceback.print_exc()
                failed.append(name)
        turn += 1
    told = ", ".join(f"{name} {counts[name]}" for name in PROPERTIES)
    ended = f"rounds={turn - asked.seed} inputs={counts.total()} failed={len(failed)}"
    sys.stdout.write(f"fuzz: seed={asked.seed} {ended} ({told})\n")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
