"""Who waits for a poll of a target that begins from now on, beside the scheduler that plans the polls.

A wake-up that comes while a poll runs does not get that one's result: the list may have been read already.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, TypeAlias

from poller.errors import StoppedError, WakeError

if TYPE_CHECKING:
    from poller.polling.page import PollReport

PollFuture: TypeAlias = "asyncio.Future[PollReport]"


class Woken:
    """The wake-ups that wait, by target; to be used in the loop's thread."""

    def __init__(self) -> None:
        self._waiting: dict[str, list[tuple[float, PollFuture]]] = {}
        self._stopped = False

    def __contains__(self, target_id: str) -> bool:
        """Whether any wake-up waits for a poll of a target."""
        return target_id in self._waiting

    def add(self, target_id: str) -> PollFuture:
        """Wait for a poll that begins from now on."""
        waiting: PollFuture = asyncio.get_running_loop().create_future()
        if self._stopped:
            waiting.set_exception(StoppedError("no more polls begin"))
        else:
            self._waiting.setdefault(target_id, []).append((time.monotonic(), waiting))
        return waiting

    def ended(self, target_id: str, began: float, report: PollReport | None) -> None:
        """Tell those who asked before a poll began how it went.

        Args:
            target_id: The target.
            began: When the poll began, in monotonic seconds.
            report: What it found; `None` if it failed in a way that leaves no report.
        """
        waiting = self._waiting.pop(target_id, [])
        if later := [each for each in waiting if each[0] > began]:
            self._waiting[target_id] = later
        for asked, each in waiting:
            if asked > began or each.done():
                continue
            if report is None or report.failure is not None:
                why = "it has not ended" if report is None else report.failure
                each.set_exception(WakeError(f"the poll failed: {why}"))
            else:
                each.set_result(report)

    def stop(self) -> None:
        """Tell everyone that there will be no poll."""
        self._stopped = True
        for waiting in self._waiting.values():
            for _, each in waiting:
                if not each.done():
                    each.set_exception(StoppedError("no more polls begin"))
        self._waiting.clear()
