"""The Gets of one poll: made side by side in threads, collected by the poll's own thread, which records.

One Get may be throttled or never answered, and no other is to wait for it. So each has a patience, from its
first request on. When it ends, the Get is given up, its thread is left to the SDK's timeouts, and another
thread takes its place; what the late one brings is dropped. If the service answers none at all, the Gets that
have waited as long for a thread are given up with it: a storm of endings would else wait once for every few.
"""

from __future__ import annotations

import heapq
import math
import threading
import time
from dataclasses import dataclass, field
from itertools import count
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any

from poller.errors import AwsError, AwsReason, StoppedError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from poller.aws import Answer
    from poller.aws.limits import Patience

Order = tuple[Any, ...]
"""Says which of the waiting Gets is made first: the least."""

_FIRST_PAUSE_SECONDS = 0.2
"""Before a throttled Get is made again; twice as long each time. The SDK has tried for a while by then."""
_LOOK_SECONDS = 0.1
"""How often patience and a stop are looked at."""
_SLOW_SECONDS = 1.0
"""After so long a Get is no longer likely to be answered soon."""
_MOST_UNANSWERED = 4
"""A target may leave this many times its threads behind in calls that hang."""
_UNHEARD = (AwsReason.THROTTLED, AwsReason.NETWORK)
"""How a Get fails that the service has not dealt with."""


@dataclass(slots=True, eq=False)
class Get:
    """One Get.

    Args:
        arn: The job.
        patience: How long it may take; also made again while AWS throttles it, if that is limited.
        spare: Whether it is made only while another one is answered slowly.
        asked_at: When it was asked for, in monotonic seconds.
        answer: What the service said; `None` before, and if it failed.
        error: Why it failed.
    """

    arn: str
    patience: Patience
    spare: bool = False
    asked_at: float = field(default_factory=time.monotonic)
    answer: Answer | None = None
    error: Exception | None = None

    @property
    def done(self) -> bool:
        """Whether it has been collected, with an answer or an error."""
        return self.answer is not None or self.error is not None

    def result(self) -> Answer:
        """The answer of a Get that is done.

        Raises:
            AwsError: It failed.
        """
        if self.answer is None:
            raise self.error or RuntimeError(f"the Get of {self.arn} is not done")
        return self.answer


class Gets:
    """Makes the Gets of one poll, and is closed at its end.

    Args:
        call: Makes one Get.
        most: How many at once.
        stop: Ends every wait.
        unanswered: The target's Gets that were given up while their calls still hang, of earlier polls as
            well; kept up to date.
    """

    def __init__(
        self,
        call: Callable[[str, Patience], Answer],
        *,
        most: int,
        stop: threading.Event,
        unanswered: set[Get],
    ) -> None:
        self._call = call
        self._most = most
        self._stop = stop
        self._unanswered = unanswered
        self._lock = threading.Lock()
        self._numbers = count()
        self._waiting: list[tuple[Order, int, Get]] = []
        self._spare: list[tuple[Order, int, Get]] = []
        self._owed: set[Get] = set()
        self._under_way: set[Get] = set()
        self._threads = 0
        self._inbox: SimpleQueue[tuple[Get, Answer | None, Exception | None] | None] = SimpleQueue()
        self._heard_at = -math.inf

    @property
    def owed(self) -> int:
        """How many will be done by themselves: all that were asked for, but those to spare not yet made."""
        return len(self._owed)

    def ask(self, arn: str, order: Order, patience: Patience, *, spare: bool = False) -> Get:
        """Ask for a job; the answer comes by `collect`.

        Args:
            arn: The job.
            order: Which of those that wait goes first.
            patience: How long it may take.
            spare: Make it only if the poll has to wait for a slow answer anyway, else never.
        """
        get = Get(arn, patience, spare)
        with self._lock:
            heapq.heappush(self._spare if spare else self._waiting, (order, next(self._numbers), get))
            if not spare:
                self._owed.add(get)
            self._start_threads()
        return get

    def nudge(self) -> None:
        """Let `collect` return, as there is something else to do."""
        self._inbox.put(None)

    def collect(self) -> list[Get]:
        """Wait for a moment, and return the Gets that are done since the last time.

        Returns:
            As many as are done at the same time; none if nothing happened, or after a nudge.

        Raises:
            StoppedError: The process is shutting down.
        """
        done: list[Get] = []
        try:
            news = self._inbox.get(timeout=_LOOK_SECONDS)
            while True:
                if news is not None:
                    get, get.answer, get.error = news[0], news[1], news[2]
                    self._owed.discard(get)
                    done.append(get)
                news = self._inbox.get_nowait()
        except Empty:
            pass
        if self._stop.is_set():
            raise StoppedError("given up: the process is shutting down")
        if any(_is_heard(get) for get in done):
            self._heard_at = time.monotonic()
        return done + self._give_up()

    def close(self) -> None:
        """Make no more Gets; those under way end by themselves, unheard."""
        with self._lock:
            self._waiting.clear()
            self._spare.clear()
            self._abandon(self._under_way)

    def _give_up(self) -> list[Get]:
        """The Gets whose patience has ended, and those behind them if the service answers none."""
        with self._lock:
            late = {get for get in self._under_way if get.patience.left <= 0}
            self._abandon(late)
            stuck = len(self._unanswered) >= _MOST_UNANSWERED * self._most
            if late or stuck:
                now = time.monotonic()
                late |= {
                    get
                    for *_, get in (*self._waiting, *self._spare)
                    if stuck or now - max(get.asked_at, self._heard_at) >= get.patience.seconds
                }
                for line in (self._waiting, self._spare):
                    line[:] = [each for each in line if each[-1] not in late]
                    heapq.heapify(line)
            self._owed -= late
            self._use_spare()
            self._start_threads()
        for get in late:
            get.error = get.patience.error()
        return sorted(late, key=lambda get: get.asked_at)

    def _use_spare(self) -> None:
        """Let some of those to spare have their turn, as long as another one is answered slowly."""
        slow = any(not get.spare and get.patience.spent > _SLOW_SECONDS for get in self._under_way)
        free = self._most - len(self._under_way) - len(self._waiting)
        for _ in range(min(free, len(self._spare)) if slow else 0):
            each = heapq.heappop(self._spare)
            heapq.heappush(self._waiting, each)
            self._owed.add(each[-1])

    def _abandon(self, gets: Iterable[Get]) -> None:
        for get in tuple(gets):
            self._under_way.discard(get)
            self._unanswered.add(get)
            self._threads -= 1

    def _start_threads(self) -> None:
        idle = self._threads - len(self._under_way)
        for _ in range(min(len(self._waiting) - idle, self._most - self._threads)):
            self._threads += 1
            # A thread that hangs in a call must not keep the process.
            threading.Thread(target=self._work, name="get", daemon=True).start()

    def _work(self) -> None:
        while (get := self._next()) is not None:
            answer, error = None, None
            try:
                answer = self._persist(get)
            except Exception as failure:  # noqa: BLE001 - the poll's thread raises it
                error = failure
            with self._lock:
                if get not in self._under_way:
                    self._unanswered.discard(get)
                    return
                self._under_way.discard(get)
            self._inbox.put((get, answer, error))

    def _next(self) -> Get | None:
        """The Get whose turn it is; `None` ends the thread."""
        with self._lock:
            if not self._waiting:
                self._threads -= 1
                return None
            *_, get = heapq.heappop(self._waiting)
            self._under_way.add(get)
            return get

    def _persist(self, get: Get) -> Answer:
        """Make a Get; again while AWS throttles it and its patience lasts, if that has an end."""
        pause = _FIRST_PAUSE_SECONDS
        while True:
            try:
                return self._call(get.arn, get.patience)
            except AwsError as error:
                if error.reason is not AwsReason.THROTTLED or not 0 < get.patience.left < math.inf:
                    raise
            self._stop.wait(min(pause, get.patience.left))
            pause *= 2


def _is_heard(get: Get) -> bool:
    """Whether the service has dealt with a Get, be it by an error."""
    return not isinstance(get.error, AwsError) or get.error.reason not in _UNHEARD
