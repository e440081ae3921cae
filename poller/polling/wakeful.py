"""APScheduler, as it is needed where thousands of jobs are planned anew all the time.

The original looks for what is due after each change of a job. Where a replica hears of a hundred polls of
others in one go, it would look a hundred times; this one looks once, when all of them are in.
"""

from __future__ import annotations

import asyncio

from apscheduler.schedulers.asyncio import AsyncIOScheduler


class WakefulScheduler(AsyncIOScheduler):  # type: ignore[misc] # it has no types
    """Runs jobs on asyncio's loop; to be used in the loop's thread only."""

    _woken = False

    def wakeup(self) -> None:
        """Look soon for what is due."""
        if not self._woken:
            self._woken = True
            asyncio.get_running_loop().call_soon(self._look)

    def _look(self) -> None:
        self._woken = False
        if self.running:
            super().wakeup()
