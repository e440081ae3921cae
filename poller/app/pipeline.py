"""What works by one configuration: a scheduler of polls, a worker for each sink, a listener for each queue.

A reload replaces one pipeline by the next over the same store. The old one's polls end at their next page;
each sink's old worker drains before its new one begins, so that a hanging receiver holds up only itself, and
nothing is lost, because what is owed is in the store.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from poller.polling import PollScheduler, ReplicaWatcher
from poller.wake_ups import Audit

if TYPE_CHECKING:
    from collections.abc import Callable

    from poller.app.runtime import Components
    from poller.delivery import SinkWorker
    from poller.model import Target
    from poller.polling import PollReport


class Pipeline:
    """The polls and the deliveries of one configuration; make it in the loop's thread.

    Args:
        components: What the configuration has become.
        reported: Called with every poll's report.
        is_backlogged: Whether so much waits to be delivered that polls should bring less.

    Raises:
        ConfigError: A sink cannot be made.
    """

    def __init__(
        self,
        components: Components,
        *,
        reported: Callable[[PollReport], None],
        is_backlogged: Callable[[], bool],
    ) -> None:
        self.components = components
        self._grace = components.settings.shutdown.grace.total_seconds()
        self._workers: dict[str, SinkWorker] = {worker.name: worker for worker in components.workers()}
        self._delivering: dict[str, asyncio.Task[None]] = {}
        self._watching: list[asyncio.Task[None]] = []
        poll = components.settings.poll

        def on_progress(target: Target) -> None:
            self.scheduler.expect(target)

        self.scheduler = PollScheduler(
            poller=components.poller(bounded=True, on_progress=on_progress, listening=True),
            targets=list(components.targets),
            cadence=components.cadence(),
            concurrency=poll.concurrency,
            stop=components.stop,
            metrics=components.metrics,
            heartbeats=components.heartbeats.part(),
            reported=reported,
            is_backlogged=is_backlogged,
            optional=components.optional,
            shared=components.database.side_by_side,
        )
        self._replicas = ReplicaWatcher(
            components.snapshot, self.scheduler, shared=components.database.side_by_side
        )
        self._dispatcher = components.dispatcher(self.scheduler.wake)
        self._listeners = components.listeners(self._dispatcher)

    def start(self, group: asyncio.TaskGroup, *, after: Pipeline | None = None) -> None:
        """Begin to poll and to deliver.

        Args:
            group: Whose tasks the loops become.
            after: The pipeline before, which has been told to stop; its sinks are waited for one by one.
        """
        before = after._delivering if after is not None else {}  # noqa: SLF001 - the same class
        for name, worker in self._workers.items():
            turn = self._deliver(worker, before.get(name))
            self._delivering[name] = group.create_task(turn, name=f"sink {name}")
        self._watching = [
            group.create_task(self.scheduler.watch_clock(), name="clock"),
            group.create_task(self._replicas.run(), name="replicas"),
        ]
        if self._listeners:
            audit = Audit(self.components.snapshot.native_events, self.components.metrics)
            self._watching.append(group.create_task(audit.run(), name="audit"))
        for listener in self._listeners:
            group.create_task(listener.run(), name="wake-ups")

    async def _deliver(self, worker: SinkWorker, before: asyncio.Task[None] | None) -> None:
        if before is not None:
            await asyncio.wait([before])
        await worker.run(grace=self._grace)

    def wake(self) -> None:
        """Let every worker look for due deliveries; call it from the loop's thread."""
        for worker in self._workers.values():
            worker.wake()

    async def stop(self) -> bool:
        """End polls and deliveries; what is under way gets the grace period, once.

        Returns:
            Whether everything ended in time. If not, a call to AWS is still under way in a thread.
        """
        # Side by side, so that the whole takes the grace period once.
        for worker in self._workers.values():
            worker.stop()
        for listener in self._listeners:
            listener.stop()
        self._dispatcher.close()
        ended, _ = await asyncio.gather(self.scheduler.stop(self._grace), self._delivered())
        for task in self._watching:
            task.cancel()
        return ended

    async def _delivered(self) -> None:
        if self._delivering:
            await asyncio.wait(self._delivering.values())
