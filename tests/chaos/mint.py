"""Makes jobs and moves them through their lives, all from a seed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from poller.simulator.lifecycles import TERMINAL
from poller.simulator.seeding import Dice

if TYPE_CHECKING:
    from poller.simulator import Simulator

ENDINGS = frozenset().union(*TERMINAL.values())
_ASYNC = (("InProgress", "Completed"), ("InProgress", "Failed"))
_BATCH = (
    ("Submitted", "Validating", "Failed"),
    ("Submitted", "Validating", "Scheduled", "Expired"),
    ("Submitted", "Validating", "Scheduled", "InProgress", "Completed"),
    ("Submitted", "Validating", "Scheduled", "InProgress", "Failed"),
    ("Submitted", "Validating", "Scheduled", "InProgress", "PartiallyCompleted"),
    ("Submitted", "Validating", "Scheduled", "InProgress", "Stopping", "Stopped"),
)
_MOST_OPEN = 40
_LATE_SECONDS = 3.0


class Mint:
    """Mints transitions.

    Args:
        simulator: Where.
        seed: Decides which.
    """

    def __init__(self, simulator: Simulator, seed: int) -> None:
        self._simulator = simulator
        self._dice = Dice(seed, "mint")
        self._ahead: dict[str, list[str]] = {}
        self.minted = 0

    def history(self, jobs: int) -> None:
        """Jobs of a past that is to stay silent: half of them ended, the others somewhere on their way."""
        for number in range(jobs):
            arn = self._submit()
            for _ in range(99 if number % 2 else int(self._dice.between(0, 3))):
                if arn in self._ahead:
                    self._move(arn)

    def step(self) -> None:
        """Something happens: a job is submitted, or one gets one or two steps further."""
        if len(self._ahead) < 2 or (len(self._ahead) < _MOST_OPEN and self._dice.chance(0.3)):
            # Some become visible in lists only later, and a few have ended before anybody can see them.
            late = self._dice.between(0.2, _LATE_SECONDS) if self._dice.chance(0.1) else 0.0
            arn = self._submit(late)
            steps = 9 if self._dice.chance(0.1) else 0
        else:
            arn = self._dice.pick(sorted(self._ahead))
            steps = 2 if self._dice.chance(0.2) else 1
        for _ in range(steps):
            if arn in self._ahead:
                self._move(arn)

    def fresh(self) -> str:
        """A new job that ends at once."""
        return self._simulator.submit_batch(script=[("Submitted", 0), ("Completed", 0)])

    def _submit(self, late: float = 0.0) -> str:
        self.minted += 1
        life: tuple[str, ...]
        if self._dice.chance(0.5):
            life = self._dice.pick(_ASYNC)
            arn = self._simulator.submit_async(script=[(life[0], 0)], visible_in=late)
        else:
            life = self._dice.pick(_BATCH)
            arn = self._simulator.submit_batch(script=[(life[0], 0)], visible_in=late)
        self._ahead[arn] = list(life[1:])
        return arn

    def _move(self, arn: str) -> None:
        self.minted += 1
        ahead = self._ahead[arn]
        self._simulator.force(arn, ahead.pop(0))
        if not ahead:
            del self._ahead[arn]
