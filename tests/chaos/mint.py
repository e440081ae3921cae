"""Makes jobs and moves them through their lives, all from a seed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from poller.kinds import KINDS
from poller.simulator import DEFAULT_ACCOUNT, DEFAULT_REGION
from poller.simulator.seeding import Dice

if TYPE_CHECKING:
    from collections.abc import Sequence

    from poller.simulator import Simulator

ENDINGS = frozenset().union(*(kind.outcomes for kind in KINDS.values()))
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
        places: The accounts and regions where jobs are submitted.
        most_open: How many jobs there are at once that have not ended.
    """

    def __init__(
        self,
        simulator: Simulator,
        seed: int,
        *,
        places: Sequence[tuple[str, str]] = ((DEFAULT_ACCOUNT, DEFAULT_REGION),),
        most_open: int = _MOST_OPEN,
    ) -> None:
        self._simulator = simulator
        self._places = places
        self._most_open = most_open
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
        if len(self._ahead) < 2 or (len(self._ahead) < self._most_open and self._dice.chance(0.3)):
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
        account, region = self._places[0]
        ended = [("Submitted", 0.0), ("Completed", 0.0)]
        return self._simulator.submit_batch(script=ended, account=account, region=region)

    def _submit(self, late: float = 0.0) -> str:
        self.minted += 1
        life: tuple[str, ...]
        account, region = self._dice.pick(self._places) if len(self._places) > 1 else self._places[0]
        where: dict[str, Any] = {"account": account, "region": region, "visible_in": late}
        if self._dice.chance(0.5):
            life = self._dice.pick(_ASYNC)
            arn = self._simulator.submit_async(script=[(life[0], 0)], **where)
        else:
            life = self._dice.pick(_BATCH)
            arn = self._simulator.submit_batch(script=[(life[0], 0)], **where)
        self._ahead[arn] = list(life[1:])
        return arn

    def _move(self, arn: str) -> None:
        self.minted += 1
        ahead = self._ahead[arn]
        self._simulator.force(arn, ahead.pop(0))
        if not ahead:
            del self._ahead[arn]
