"""Delivers what is owed to one sink: claim, send, settle.

Each sink has its own worker, queue, concurrency, deadline, retry schedule and metrics, so a dead sink costs
only itself. A settle is committed before the next event of the same job can be claimed; sends that end
together are settled together. Nothing is marked before it was sent: a crash between the receiver's answer and
the settle sends the same id once more.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from poller import logs
from poller.delivery.attempt import attempt, close_sink
from poller.errors import DeliveryError, StoreError
from poller.redaction import redact
from poller.retry import RetryPolicy, retry_delay
from poller.store import Settlement

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from concurrent.futures import Executor
    from typing import Any

    from poller.heartbeats import Heartbeats
    from poller.metrics import Metrics
    from poller.model import Delivery
    from poller.sinks.sink import Sink
    from poller.store import Outbox

_log = logs.get(__name__)

_IDLE_SECONDS = 5.0
"""How often an idle worker looks whether another process has left it something."""
_STORE_RETRY_SECONDS = 1.0
_AHEAD = 16
"""Batches claimed for each that can be sent at once, so that sends never wait for the database."""
_LINGER_SECONDS = 0.01
_MOST_BYTES = 16 * 1024 * 1024
"""Of events that are held at once; a single one may be larger."""


@dataclass(frozen=True, slots=True)
class _Batch:
    deliveries: Sequence[Delivery]
    good_until: float


class SinkWorker:
    """Delivers to one sink.

    Args:
        sink: The sink.
        outbox: Where deliveries are claimed and settled.
        lease: Seconds by which a claim outlasts the deadline of a send: how long it may wait for its turn
            here, and how long after a crash others wait before they take it over.
        threads: Runs the database's calls.
        metrics: Where attempts are counted.
        heartbeats: Told when the worker will be heard of next.
        draw: Uniform random numbers in [0, 1), for the jitter.
    """

    def __init__(
        self,
        *,
        sink: Sink[Any],
        outbox: Outbox,
        lease: float,
        threads: Executor,
        metrics: Metrics,
        heartbeats: Heartbeats,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self.sink = sink
        self._outbox = outbox
        self._threads = threads
        self._metrics = metrics
        self._heartbeats = heartbeats
        self._draw = draw
        self._duration = metrics.delivery_duration.labels(sink.name)
        retry = sink.settings.retry
        self._policy = RetryPolicy(
            initial=retry.initial.total_seconds(),
            maximum=retry.max.total_seconds(),
            give_up_after=retry.give_up_after.total_seconds(),
        )
        self._patience = lease
        self._deadline: float = sink.settings.timeout.total_seconds()
        self._sending: dict[asyncio.Task[None], Sequence[Delivery]] = {}
        self._waiting: deque[_Batch] = deque()
        self._held = 0
        self._held_bytes = 0
        self._window = sink.settings.concurrency * sink.batch_size * _AHEAD
        self._settled: list[Settlement] = []
        self._give_back: list[Delivery] = []
        self._resume_at = 0.0
        self._wake = asyncio.Event()
        self._stopping = False

    @property
    def name(self) -> str:
        """The sink's name in the configuration."""
        return self.sink.name

    def wake(self) -> None:
        """Look for due deliveries now; call it from the loop's thread."""
        self._wake.set()

    def stop(self) -> None:
        """Claim nothing more; `run` then drains and returns."""
        self._stopping = True
        self._wake.set()

    async def run(self, *, grace: float, until_idle: bool = False) -> None:
        """Deliver until stopped, then wait for the sends under way.

        Args:
            grace: Seconds that they get; a send still under way then is released, not counted.
            until_idle: Also return when nothing is due any more.
        """
        try:
            while not self._stopping:
                self._heartbeats.beat(f"sink {self.name}", within=_IDLE_SECONDS + self._deadline)
                self._wake.clear()
                try:
                    moved = await self._exchange()
                    if until_idle and not (self._sending or self._settled):
                        if self._give_back:
                            # What waited here for too long is free again, and gets its turn now.
                            await self._release()
                        elif not moved:
                            break
                        continue
                    await self._rest(moved=moved)
                except StoreError as error:
                    _log.error("delivery.store_failed", sink=self.name, error=str(error))
                    await asyncio.sleep(_STORE_RETRY_SECONDS)
        finally:
            await self._drain(grace)
            self._heartbeats.forget(f"sink {self.name}")
            await self._close()

    async def _close(self) -> None:
        try:
            await close_sink(self.sink)
        except DeliveryError as error:
            self._metrics.delivery_failures.labels(self.name, error.reason).inc()
            _log.error("sink.close_failed", sink=self.name, reason=error.reason, error=redact(str(error)))

    async def _exchange(self) -> bool:
        """Settle what has ended, claim what fits, and begin to send it; whether there was anything."""
        settled, self._settled = self._settled, []
        limit = 0
        if not self._stopping and time.monotonic() >= self._resume_at and self._has_room:
            limit = self._window - self._held
        room = _MOST_BYTES - self._held_bytes
        lease = self._deadline + self._patience
        began = time.monotonic()
        try:
            recorded, claimed = await self._in_thread(
                lambda: self._outbox.exchange(
                    settled,
                    self.name,
                    limit=limit,
                    lease=lease,
                    most_bytes=room,
                    longest_wait=self._policy.maximum,
                )
            )
        except StoreError:
            self._settled = settled + self._settled
            raise
        self._count_settled(settled, recorded)
        size = self.sink.batch_size
        for start in range(0, len(claimed), size):
            self._waiting.append(_Batch(claimed[start : start + size], began + self._patience))
        self._hold(claimed)
        self._begin_sends()
        return bool(settled or claimed)

    @property
    def _has_room(self) -> bool:
        return self._held < self._window and self._held_bytes < _MOST_BYTES

    def _hold(self, deliveries: Sequence[Delivery]) -> None:
        self._held += len(deliveries)
        self._held_bytes += sum(len(delivery.event.body) for delivery in deliveries)

    def _let_go(self, deliveries: Sequence[Delivery]) -> None:
        self._held -= len(deliveries)
        self._held_bytes -= sum(len(delivery.event.body) for delivery in deliveries)

    def _begin_sends(self) -> None:
        while self._waiting and len(self._sending) < self.sink.settings.concurrency:
            if self._stopping or time.monotonic() < self._resume_at:
                break
            batch = self._waiting.popleft()
            if time.monotonic() > batch.good_until:
                # Its lease would end before the deadline of a send that begins now.
                self._give_back.extend(batch.deliveries)
                self._let_go(batch.deliveries)
                continue
            task = asyncio.create_task(self._send(batch.deliveries))
            self._sending[task] = batch.deliveries
            task.add_done_callback(self._sent)

    def _sent(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled():
            self._let_go(self._sending.pop(task))
            self._begin_sends()
        self._wake.set()

    async def _send(self, batch: Sequence[Delivery]) -> None:
        began = time.monotonic()
        failures = await attempt(self.sink, [delivery.event for delivery in batch])
        self._duration.observe(time.monotonic() - began)
        parking = [failure for failure in failures.values() if failure.park]
        if parking:
            # What was claimed ahead is not sent either, and nothing is claimed before the store knows.
            self._resume_at = max(self._resume_at, time.monotonic() + _IDLE_SECONDS)
        for delivery in batch:
            failure = failures.get(delivery.event.id) if failures else None
            self._settled.append(
                self._failed(delivery, failure) if failure else Settlement(delivery, delivered=True)
            )
        if parking:
            await self._park(str(parking[0]))

    def _failed(self, delivery: Delivery, failure: DeliveryError) -> Settlement:
        delay = retry_delay(
            self._policy,
            failures=delivery.attempts + 1,
            since_first=delivery.failing_for or 0.0,
            draw=self._draw(),
            permanent=failure.permanent,
            retry_after=failure.retry_after,
        )
        if failure.park:
            delay = 0.0
        if failure.retry_after is not None:
            # The receiver speaks for all that is queued for it, not only for this event.
            pause = min(failure.retry_after, self._policy.maximum)
            self._resume_at = max(self._resume_at, time.monotonic() + pause)
        self._metrics.delivery_failures.labels(self.name, failure.reason).inc()
        message = redact(str(failure))
        fields: dict[str, Any] = {
            "sink": self.name,
            "event_id": delivery.event.id,
            "job_arn": delivery.event.job_arn,
            "attempt": delivery.attempts + 1,
            "reason": failure.reason,
            "error": message,
        }
        if delay is None:
            self._metrics.deliveries_dead.labels(self.name).inc()
            _log.error("delivery.dead", **fields)
        else:
            _log.warning("delivery.failed", retry_in=round(delay, 1), **fields)
        return Settlement(delivery, delivered=False, retry_in=delay, reason=failure.reason, error=message)

    async def _park(self, why: str) -> None:
        message = redact(why)
        _log.error(
            "sink.parked", sink=self.name, error=message, remedy=f"bedrock-poller sinks unpark {self.name}"
        )
        self._metrics.sink_parked.labels(self.name).set(1)
        try:
            await self._in_thread(lambda: self._outbox.park(self.name, message))
        except StoreError as error:
            # The next attempt, after the pause, meets the same answer and parks it then.
            _log.error("delivery.store_failed", sink=self.name, error=str(error))

    def _count_settled(self, settled: Sequence[Settlement], recorded: int) -> None:
        self._metrics.deliveries.labels(self.name).inc(sum(item.delivered for item in settled))
        if recorded < len(settled):
            self._metrics.leases_lost.inc(len(settled) - recorded)
            _log.warning("delivery.lease_lost", sink=self.name, deliveries=len(settled) - recorded)

    async def _rest(self, *, moved: bool) -> None:
        """Sleep until something may be due, or the worker is woken."""
        if self._give_back or (self._waiting and time.monotonic() < self._resume_at):
            await self._release()
        if moved:
            # Under load, a moment's patience lets sends end together and be settled together.
            await asyncio.sleep(_LINGER_SECONDS)
            if self._settled:
                return
        seconds = _IDLE_SECONDS
        if self._has_room:
            due = await self._in_thread(lambda: self._outbox.next_due(self.name))
            paused = self._resume_at - time.monotonic()
            if due is not None:
                seconds = min(seconds, max(due, paused, 0.01))
        try:
            async with asyncio.timeout(seconds):
                await self._wake.wait()
        except TimeoutError:
            pass

    async def _release(self) -> None:
        """Give back what was claimed and cannot be sent now."""
        held, self._give_back = self._give_back, []
        for batch in self._waiting:
            held += batch.deliveries
            self._let_go(batch.deliveries)
        self._waiting.clear()
        if held:
            await self._in_thread(lambda: self._outbox.release(held))

    async def _drain(self, grace: float) -> None:
        if self._sending:
            await asyncio.wait(self._sending, timeout=grace)
        late = [delivery for batch in self._sending.values() for delivery in batch]
        for task in self._sending:
            task.cancel()
        if self._sending:
            await asyncio.wait(self._sending)
            _log.warning("delivery.released", sink=self.name, deliveries=len(late))
        self._give_back.extend(late)
        try:
            recorded = await self._in_thread(lambda: self._outbox.settle(self._settled))
            self._count_settled(self._settled, recorded)
            await self._release()
        except StoreError as error:
            # Their leases run out by themselves; what was delivered is then delivered once more.
            _log.error("delivery.store_failed", sink=self.name, error=str(error))

    async def _in_thread(self, call: Callable[[], Any]) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._threads, call)
