"""Whose turn it is to be polled: services that do not answer get few of the threads.

A poll of a region that does not answer takes minutes until the SDK has given up, and there may be hundreds of
accounts to be polled in it. Once one poll has found a service silent, the others of the same service wait for
a few threads of their own, and the rest stay free for those that answer. The first answer ends that.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from poller.errors import AwsReason

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from poller.model import Target
    from poller.polling.page import PollReport

_SHARE = 4
"""The silent ones get this part of the turns, and at least one."""


class FairShare:
    """Gives out turns.

    Args:
        most: How many at once.
    """

    def __init__(self, most: int) -> None:
        self._all = asyncio.Semaphore(most)
        self._few = asyncio.Semaphore(max(1, most // _SHARE))
        self._silent: set[tuple[str, str]] = set()

    @asynccontextmanager
    async def turn(self, target: Target) -> AsyncIterator[None]:
        """Wait for a target's turn, and hold it."""
        while True:
            if self._place(target) in self._silent:
                async with self._few, self._all:
                    yield
                return
            async with self._all:
                # While it waited, its service may have fallen silent.
                if self._place(target) not in self._silent:
                    yield
                    return

    def told(self, report: PollReport) -> None:
        """Learn from a poll whether its service answers."""
        place = self._place(report.target)
        if report.failure is not None and report.failure.reason is AwsReason.NETWORK:
            self._silent.add(place)
        elif report.claimed:
            self._silent.discard(place)

    @staticmethod
    def _place(target: Target) -> tuple[str, str]:
        return target.region, target.kind
