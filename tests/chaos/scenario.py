"""The short, fixed course of events in which every point is tried once.

A store that does not exist yet, a baseline, transitions of several jobs, a delivery that fails and is tried
again, and a last transition when all is over. The program is `once`, forked anew for every poll; whatever
happens to it, it is started again until it has done its work.
"""

from __future__ import annotations

import shutil
import signal
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.chaos.disk import make_room
from tests.chaos.points import Mode, Plan
from tests.chaos.stage import LOG, Stage
from tests.chaos.trace import Trace
from tests.harness.receiver import Act, Mood, Receiver

if TYPE_CHECKING:
    from pathlib import Path

    from tests.chaos.oracle import Verdict
    from tests.harness.daemon import Child, Zygote

_HOOK = "hook"
STARTS = 12
LONGEST = 60.0
_BROKEN_SECONDS = 0.3
_LEASE_SECONDS = 60.0
"""How far the clock is put forward before each start, so that what a killed process held is free."""


@dataclass
class Outcome:
    """How one course went.

    Args:
        mode: What was done.
        number: At which point.
        verdict: The judgement.
        names: The points that were passed.
        fired: Whether the point was reached at all.
        problems: What else was wrong.
    """

    mode: Mode
    number: int
    verdict: Verdict
    names: list[str]
    fired: bool
    problems: list[str] = field(default_factory=list)

    @property
    def clean(self) -> bool:
        """Whether nothing was wrong."""
        return self.verdict.clean and not self.problems


class Course:
    """One course under one plan, with `once` for every poll."""

    def __init__(self, zygote: Zygote, stage: Stage, plan: Plan) -> None:
        self._zygote = zygote
        self.stage = stage
        self._plan = plan
        self._trace = Trace(plan.trace)
        self._clock = stage.outputs / "clock"
        self._over = False
        self.starts = 0
        self.kills = 0
        self.problems: list[str] = []

    def poll(self) -> None:
        """Run the program until it says that all went well."""
        for _ in range(STARTS):
            child = self.start("once")
            code = self._watch(child)
            self.ended(code)
            if code == 0:
                return
        self.problems.append(f"it failed {STARTS} times in a row")

    def drain(self) -> None:
        """Run it until nothing is owed any more."""
        for _ in range(STARTS):
            self.poll()
            if self.problems or self.stage.pending() == 0:
                return
        self.problems.append(f"after {STARTS} polls something is still owed")

    def start(self, command: str) -> Child:
        """Start the program."""
        self.starts += 1
        self._clock.write_text(str(self.starts * _LEASE_SECONDS))
        outputs = self.stage.outputs
        environ = {**self.stage.environ(AWS__MAX_ATTEMPTS="1"), **self._plan.environ()}
        return self._zygote.start(
            [command],
            {**environ, "CHAOS_CLOCK": str(self._clock), "CHAOS_CLOCK_DATABASE": "1"},
            outputs / f"out-{self.starts:03}",
            outputs / f"err-{self.starts:03}",
        )

    def ended(self, code: int) -> None:
        """Take note that the program has ended."""
        self.kills += self._plan.mode is Mode.KILL and code == -signal.SIGKILL
        if self.lasting and self.fired:
            self._mend(None)
        self.stage.look()

    def endure(self, child: Child) -> int | None:
        """Let a fault that lasts last a while; then the process ends, or the fault does.

        Returns:
            The exit code of a process that has ended.
        """
        code = child.poll(_BROKEN_SECONDS)
        if self._plan.number % 2 and code is None:
            self.kills += 1
            code = child.kill()
        self._mend(None if code is not None else child.pid)
        return code

    @property
    def lasting(self) -> bool:
        """Whether there is a fault that has to be ended from outside."""
        return self._plan.mode in {Mode.ERROR_FOR_GOOD, Mode.DISK_FULL} and not self._over

    @property
    def fired(self) -> int:
        """How often the fault has acted."""
        return self._trace.fired

    @property
    def names(self) -> list[str]:
        """The points passed."""
        return self._trace.names

    def _watch(self, child: Child) -> int:
        deadline = time.monotonic() + LONGEST
        while (code := child.poll(0.01)) is None:
            if time.monotonic() > deadline:
                self.problems.append(f"it hung for {LONGEST:.0f} s")
                return child.kill()
            if self.lasting and self.fired and (code := self.endure(child)) is not None:
                break
        return code

    def _mend(self, pid: int | None) -> None:
        self._over = True
        assert self._plan.ended is not None
        self._plan.ended.touch()
        make_room(self.stage.folder, pid)


def play(
    zygote: Zygote, disk: Path, mode: Mode, number: int, *, seed: int = 1, course: type[Course] = Course
) -> Outcome:
    """Play it once.

    Args:
        zygote: Forks the program.
        disk: Where the store is to be; nothing else may be there.
        mode: What happens at the point.
        number: The point.
        seed: Of the simulator.
        course: How the program is run.
    """
    folder = disk / "store"
    folder.mkdir()
    try:
        with Stage(
            seed, folder, [Receiver(name=_HOOK, mood=_RefuseFirst())], owed=lambda _: (_HOOK, LOG)
        ) as stage:
            plan = Plan(
                trace=stage.outputs / "trace",
                mode=mode,
                number=number,
                ended=stage.outputs / "ended",
                disk=folder,
            )
            run = course(zygote, stage, plan)
            fresh = _mint_and_poll(stage, run)
            if (found := stage.sound()) != "ok":
                run.problems.append(f"the store is damaged: {found}")
            verdict = stage.evidence().verdict(kills=run.kills, faults=run.fired, fresh=fresh, seed=seed)
            return Outcome(mode, number, verdict, run.names, run.fired > 0, run.problems)
    finally:
        make_room(folder)
        shutil.rmtree(folder)


def _mint_and_poll(stage: Stage, course: Course) -> float | None:
    """The course of events itself; returns how long the last one took to arrive everywhere."""
    simulator = stage.simulator
    simulator.submit_async(script=[("InProgress", 0), ("Completed", 0)])
    running = simulator.submit_batch(script=[("InProgress", 0)])
    invoked = simulator.submit_async(script=[("InProgress", 0)])
    stage.baseline()
    course.poll()

    simulator.force(invoked, "Completed")
    queued = simulator.submit_batch(script=[("Submitted", 0)])
    late = simulator.submit_async(script=[("InProgress", 0)])
    course.poll()

    began = time.monotonic()
    simulator.force(running, "Failed", message="No such bucket.")
    simulator.force(late, "Failed")
    for status in ("Validating", "Scheduled", "Completed"):
        simulator.force(queued, status)
    course.drain()
    return time.monotonic() - began if stage.arrived(queued, "Completed") else None


class _RefuseFirst:
    """The mood of a receiver that fails the first request of all."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._asked = 0

    def __call__(self, _one: str) -> Mood:
        with self._lock:
            self._asked += 1
            return Mood(Act.FAIL if self._asked == 1 else Act.TAKE)
