"""Tries every point in turn: `make sweep`.

For each mode the course of events is played with the fault at point 1, 2, 3 and so on, until it is played to
its end without the fault having acted. Each time the oracle judges.
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Self

from tests.chaos.disk import private_disks, unmount
from tests.chaos.following import DaemonCourse
from tests.chaos.points import Mode
from tests.chaos.scenario import Course, Outcome, play
from tests.harness.daemon import Zygote

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_MODES = (Mode.KILL, Mode.ERROR_ONCE, Mode.ERROR_FOR_GOOD, Mode.DISK_FULL)
_PROGRAMS: dict[str, type[Course]] = {"once": Course, "run": DaemonCourse}
_KINDS = ("lost", "phantom", "altered", "disordered")


class Stages:
    """Plays on several stages at once, each with a disk and a zygote of its own; a context manager.

    Args:
        disks: A folder for each.
        seed: Of every simulator.
        course: How the program is run.
    """

    def __init__(self, disks: Sequence[Path], seed: int, course: type[Course]) -> None:
        self._seed = seed
        self._course = course
        self._stack = ExitStack()
        self._disks = list(disks)
        self._free: list[tuple[Zygote, Path]] = []
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        self._free = [(self._stack.enter_context(Zygote()), disk) for disk in self._disks]
        self._pool = self._stack.enter_context(ThreadPoolExecutor(len(self._disks)))
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)
        self._stack.close()

    def play(self, mode: Mode, numbers: Iterable[int]) -> Iterable[Outcome]:
        """Play a mode at several points; the outcomes come in their order."""
        return self._pool.map(lambda number: self._play(mode, number), numbers)

    def _play(self, mode: Mode, number: int) -> Outcome:
        with self._lock:
            zygote, disk = self._free.pop()
        try:
            return play(zygote, disk, mode, number, seed=self._seed, course=self._course)
        finally:
            with self._lock:
                self._free.append((zygote, disk))


def sweep(stages: Stages, mode: Mode, numbers: range, most: int) -> bool:
    """Try a mode at some points, and say how it went.

    Args:
        stages: Where.
        mode: What happens at the points.
        numbers: The points; it goes on in the same steps until a run ends without the fault.
        most: But never beyond this one.

    Returns:
        Whether there was no violation.
    """
    began = time.monotonic()
    outcomes = list(stages.play(mode, numbers))
    # The number of points varies a little from run to run.
    number = numbers.start + len(outcomes) * numbers.step
    while outcomes[-1].fired and number <= most:
        outcomes += stages.play(mode, [number])
        number += numbers.step
    fired = [outcome for outcome in outcomes if outcome.fired]
    found: Counter[str] = Counter()
    for outcome in outcomes:
        found.update({kind: len(getattr(outcome.verdict.violations, kind)) for kind in _KINDS})
        if not outcome.clean:
            where = outcome.names[outcome.number - 1] if outcome.number <= len(outcome.names) else "no point"
            say(f"  {mode} at {outcome.number} ({where}): {outcome.verdict.line}")
            for what in (*outcome.verdict.violations.all, *outcome.problems):
                say(f"    {what}")
    wrong = sum(not outcome.clean for outcome in outcomes)
    say(
        f"sweep: mode={mode} points={len(fired)} runs={len(outcomes)} "
        + " ".join(f"{kind}={found[kind]}" for kind in _KINDS)
        + f" failed={wrong} kills={sum(outcome.verdict.kills for outcome in outcomes)}"
        + f" copies={sum(outcome.verdict.copies for outcome in outcomes)}"
        + f" seconds={time.monotonic() - began:.0f}"
    )
    steps = Counter(
        outcome.names[outcome.number - 1] for outcome in fired if outcome.number <= len(outcome.names)
    )
    say("  " + ", ".join(f"{name} {count}" for name, count in sorted(steps.items())))
    return not wrong


def say(line: str) -> None:
    """Print at once, for whoever waits."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main(arguments: list[str] | None = None) -> int:
    """Sweep; the exit code says whether there was no violation."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.sweep", description=__doc__)
    parser.add_argument("--stride", type=int, default=1, help="try every so manieth point")
    parser.add_argument("--first", type=int, default=1, help="the first point to try")
    parser.add_argument("--modes", nargs="+", type=Mode, choices=_MODES, default=list(_MODES))
    parser.add_argument("--most", type=int, default=sys.maxsize, help="try no point beyond this one")
    parser.add_argument("--program", choices=sorted(_PROGRAMS), default="once", help="what is run")
    parser.add_argument(
        "--no-mount", action="store_true", help="limit the size of files instead of a full disk"
    )
    parser.add_argument("--workers", type=int, default=2, help="stages at once")
    parser.add_argument("--seed", type=int, default=1, help="of the simulator")
    chosen = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that everything is cleaned up
    with tempfile.TemporaryDirectory(prefix="chaos-disks-") as folder:
        disks = [Path(folder) / str(number) for number in range(chosen.workers)]
        for disk in disks:
            disk.mkdir()
        real = not chosen.no_mount and private_disks(*disks)
        with ExitStack() as stack:
            if real:
                stack.callback(unmount, *disks)
            stages = stack.enter_context(Stages(disks, chosen.seed, _PROGRAMS[chosen.program]))
            (clean,) = stages.play(Mode.COUNT, [0])
            say(
                f"sweep: program={chosen.program} points={len(clean.names)} "
                f"disk={'tmpfs' if real else 'limited'} {clean.verdict.line}"
            )
            if not clean.clean:
                say("\n".join([*clean.verdict.violations.all, *clean.problems]))
                return 1
            numbers = range(chosen.first, min(chosen.most, len(clean.names)) + 1, chosen.stride)
            good = [sweep(stages, mode, numbers, chosen.most) for mode in chosen.modes]
    return 0 if all(good) else 1


if __name__ == "__main__":
    sys.exit(main())
