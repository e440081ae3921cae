"""Has the targets polled that messages are about, and says when a message is done with.

A message is done with when a poll that began after it came has committed. Messages for one target share its
polls, and the scheduler keeps these a second apart. The list stays the truth: no event is made from a
message. If a poll does not show what the message says, the target is polled a few more times: lists may lag.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from poller import logs
from poller.errors import ItemError, MessageError, PollerError, StoreError
from poller.errors import WakeUpResult as Result
from poller.kinds import KINDS, kind_of
from poller.redaction import excerpt
from poller.store import Ending
from poller.wake_ups.messages import AboutJob, AboutObject, AboutPlace, Subject, subjects
from poller.wake_ups.outputs import unlisted, writers

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence

    from poller.metrics import Metrics
    from poller.model import JobState, Target
    from poller.store import OpenOutput, Snapshot
    from poller.wake_ups.sqs import Message

_log = logs.get(__name__)

DELAYS_SECONDS = (1.0, 3.0, 9.0)
"""Before each further poll for what the one before has not shown."""
_PATIENCE_SECONDS = 30.0
"""How long a message waits for a poll; after that it is left in the queue, to come again."""
_QUIET_SECONDS = 10.0
_WEIGHT = list(Result)


class Settle(Protocol):
    """Takes a message back; it is deleted, or comes again after its visibility timeout."""

    def __call__(self, message: Message, *, delete: bool) -> None:
        """Take it."""


@dataclass(slots=True)
class _Notice:
    """One message on its way.

    Args:
        message: The message.
        settle: Takes it back.
        about: What it is about.
        type: The label of its kind in metrics.
        open: Polls that it waits for.
        results: What came of those that it does not wait for any more.
    """

    message: Message
    settle: Settle
    about: tuple[Subject, ...]
    type: str
    open: int = 0
    results: list[Result] = field(default_factory=list)


@dataclass(slots=True)
class _Want:
    """What a message wants of one target: a poll, and perhaps that it shows something of a job.

    Args:
        notice: The message.
        target_id: The target.
        arn: The job; `None` for a place.
        status: The status that the job is said to have entered; `None` if the message has none.
        ending: Whether the job is only about to end, as it has written an output.
        tries: Polls that have not shown it.
    """

    notice: _Notice
    target_id: str
    arn: str | None = None
    status: str | None = None
    ending: bool = False
    tries: int = 0

    def is_shown_by(self, state: JobState | None) -> bool:
        """Whether the snapshot has what the message says."""
        if self.arn is None:
            return True
        if state is None:
            return False
        if self.ending:
            return state.terminal or state.gone
        if self.status is None or self.status in state.entries:
            return True
        kind = kind_of(self.arn)[0]
        rank = kind.ranks.get(self.status)
        passed = rank is not None and state.rank is not None and state.rank > rank
        return self.status not in kind.outcomes and (state.terminal or passed)


class Dispatcher:
    """Takes the messages of all queues; to be used in the loop's thread.

    Args:
        targets: What is polled.
        wake: Has a target polled; what it returns completes when that poll has committed, and raises
            `PollerError` if it failed.
        snapshot: The store.
        metrics: Where messages are counted.
    """

    def __init__(
        self,
        *,
        targets: Iterable[Target],
        wake: Callable[[str], Awaitable[object]],
        snapshot: Snapshot,
        metrics: Metrics,
    ) -> None:
        self._wake = wake
        self._snapshot = snapshot
        self._metrics = metrics
        self._targets = tuple(targets)
        self._wants: dict[str, list[_Want]] = defaultdict(list)
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._timers: set[asyncio.TimerHandle] = set()
        self._quiet_until = time.monotonic()
        self._unsaid = 0

    async def take(self, messages: Sequence[Message], settle: Settle) -> None:
        """Find out what messages are about, and have it polled; each is settled once, sooner or later."""
        notices = [each for message in messages if (each := self._read(message, settle)) is not None]
        try:
            outputs, ended = await asyncio.to_thread(self._ask, notices)
        except StoreError as error:
            _log.error("wake_ups.store_failed", error=str(error), messages=len(notices))
            for notice in notices:
                self._settle(notice, Result.FAILED)
            return
        for notice in notices:
            wants = [
                want
                for subject in notice.about
                for want in self._wanted(notice, subject, outputs)
                if not (want.ending and want.arn in ended)
            ]
            notice.open = len(wants)
            for want in wants:
                self._want(want)
            if not wants:
                self._settle(notice, Result.UNMATCHED if notice.about else Result.TEST)

    def close(self) -> None:
        """Give up everything that waits; its messages come again."""
        for timer in self._timers:
            timer.cancel()
        for task in self._tasks.values():
            task.cancel()

    def _read(self, message: Message, settle: Settle) -> _Notice | None:
        try:
            about = subjects(message.body)
        except MessageError as error:
            self._note_garbage(message, error)
            self._settle(_Notice(message, settle, (), "unknown"), Result.GARBAGE)
            return None
        types = {AboutJob: "job", AboutObject: "object", AboutPlace: "region"}
        return _Notice(message, settle, about, types[type(about[0])] if about else "unknown")

    def _note_garbage(self, message: Message, error: MessageError) -> None:
        """Log it, unless another one was logged just now: a flood must not fill a disk."""
        now = time.monotonic()
        if now < self._quiet_until:
            self._unsaid += 1
            return
        self._quiet_until = now + _QUIET_SECONDS
        unsaid, self._unsaid = self._unsaid, 0
        _log.warning("wake_up.garbage", why=str(error), message=excerpt(message.body), unsaid=unsaid)

    def _ask(self, notices: Sequence[_Notice]) -> tuple[list[OpenOutput], set[str]]:
        """Note the endings that were told of, for all replicas. Blocking.

        Returns:
            Where open jobs write, and which of the other jobs that may have written an object have ended.
        """
        every = [subject for notice in notices for subject in notice.about]
        self._snapshot.native_events.tell(
            ending
            for subject in every
            if isinstance(subject, AboutJob) and (ending := self._ending(subject)) is not None
        )
        written = [subject for subject in every if isinstance(subject, AboutObject)]
        if not written:
            return [], set()
        arns = {arn for each in written for target in self._targets if (arn := unlisted(each, target))}
        known = self._snapshot.known(arns)
        ended = {arn for arn, state in known.items() if state.terminal or state.gone}
        return self._snapshot.open_outputs(), ended

    def _ending(self, subject: AboutJob) -> Ending | None:
        """The ending that a native event tells of, of a job that is polled here."""
        if not self._of_job(subject.arn):
            return None
        kind = kind_of(subject.arn)[0]
        told = kind.native_events and subject.status in kind.outcomes
        return Ending(subject.arn, str(subject.status), kind.name) if told else None

    def _of_job(self, arn: str) -> list[str]:
        try:
            kind, region, account = kind_of(arn)
        except ItemError:
            return []
        return self._at(account, region, kind.name)

    def _at(self, account: str, region: str, *kinds: str) -> list[str]:
        """The targets of a place; one whose account is not known yet may be there."""
        return [
            target.id
            for target in self._targets
            if target.region == region and target.kind in kinds and target.account_id in {None, account}
        ]

    def _wanted(self, notice: _Notice, subject: Subject, outputs: Iterable[OpenOutput]) -> Iterator[_Want]:
        """What a subject asks for: nothing, or a poll of one target or several."""
        if isinstance(subject, AboutJob):
            for target_id in self._of_job(subject.arn):
                yield _Want(notice, target_id, subject.arn, subject.status)
        elif isinstance(subject, AboutObject):
            found = writers(subject, outputs)
            for output in found:
                yield _Want(notice, output.target_id, output.arn, ending=True)
            for target in () if found else self._targets:
                if (arn := unlisted(subject, target)) is not None:
                    yield _Want(notice, target.id, arn, ending=True)
        else:
            for target_id in self._at(subject.account_id, subject.region, *KINDS):
                yield _Want(notice, target_id)

    def _want(self, want: _Want) -> None:
        self._wants[want.target_id].append(want)
        if want.target_id not in self._tasks:
            self._tasks[want.target_id] = asyncio.create_task(self._attend(want.target_id))

    async def _attend(self, target_id: str) -> None:
        """Have a target polled for as long as messages want it."""
        try:
            while wants := self._wants.pop(target_id, None):
                await self._poll_for(target_id, wants)
        finally:
            del self._tasks[target_id]

    async def _poll_for(self, target_id: str, wants: Sequence[_Want]) -> None:
        arns = {want.arn for want in wants if want.arn is not None}
        try:
            async with asyncio.timeout(_PATIENCE_SECONDS):
                await self._wake(target_id)
            states = await asyncio.to_thread(self._snapshot.known, arns)
        except (PollerError, TimeoutError) as error:
            why = str(error) or "no poll began in time"
            _log.warning("wake_up.failed", target=target_id, error=why, messages=len(wants))
            for want in wants:
                self._end(want, Result.FAILED)
            return
        result = Result.POLLED
        unconfirmed: list[_Want] = []
        for want in wants:
            state = states.get(want.arn or "")
            shown = want.is_shown_by(state)
            if not shown and want.tries < len(DELAYS_SECONDS):
                self._again(want)
            elif not shown and not want.ending:
                unconfirmed.append(want)
                self._end(want, Result.UNCONFIRMED)
            elif want.arn is not None and state is None:
                self._end(want, Result.UNMATCHED)
            else:
                self._end(want, result)
                result = Result.COALESCED
        if unconfirmed:
            first = unconfirmed[0]
            about = {"job_arn": first.arn, "status": first.status}
            _log.info("wake_up.unconfirmed", target=target_id, messages=len(unconfirmed), **about)

    def _again(self, want: _Want) -> None:
        def due() -> None:
            self._timers.discard(timer)
            self._want(want)

        timer = asyncio.get_running_loop().call_later(DELAYS_SECONDS[want.tries], due)
        self._timers.add(timer)
        want.tries += 1

    def _end(self, want: _Want, result: Result) -> None:
        notice = want.notice
        notice.results.append(result)
        if len(notice.results) == notice.open:
            self._settle(notice, max(notice.results, key=_WEIGHT.index))

    def _settle(self, notice: _Notice, result: Result) -> None:
        self._metrics.wake_ups.labels(notice.type, result).inc()
        notice.settle(notice.message, delete=result is not Result.FAILED)
