"""The endings of one poll whose events wait for details that only a Get has.

The list of batch jobs leaves out what an ended job's event should say, so a Get is made for each. An event is
recorded as soon as its own details are there, in the order of the answers. Failures are asked for first, and
then whatever ended first. If a Get brings nothing, the event goes out with what the list has, and says so.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal

from poller.aws.limits import Patience
from poller.diff import diff, supersedes
from poller.errors import AwsError, ItemError
from poller.events import happened_at
from poller.model import Details, Outcome

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from poller.model import Change, Job, JobState
    from poller.polling.gets import Get, Order
    from poller.polling.page import JobRecorder

LAST: Order = (2,)
"""The order of Gets that go after those of endings."""
MOST_WAITING = 1000
"""Endings that are held at once; bounds memory."""
_NO_TIME = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class DetailsPolicy:
    """Which endings get details, and how long their events wait for them.

    Args:
        wanted: For all endings, for those that did not succeed, or for none.
        wait: How many seconds a Get may take, with its retries.
    """

    wanted: Literal["always", "failed", "never"]
    wait: float

    def covers(self, job: Job) -> bool:
        """Whether a Get is to be made for an ended job that lacks something."""
        succeeded = job.outcome is Outcome.SUCCEEDED
        return self.wanted == "always" or (self.wanted == "failed" and not succeeded)


@dataclass(slots=True)
class _Ending:
    """An ended job that waits for details.

    Args:
        job: As last listed.
        known: Its row when it was first listed as ended, if it had one.
    """

    job: Job
    known: JobState | None


class Endings:
    """The endings that wait.

    Args:
        recorder: Records what the Gets show.
        policy: Which endings get details.
    """

    def __init__(self, recorder: JobRecorder, policy: DetailsPolicy) -> None:
        self._recorder = recorder
        self._policy = policy
        self._waiting: dict[str, _Ending] = {}

    @property
    def left(self) -> int:
        """How many have not been recorded."""
        return len(self._waiting)

    def lacks_details(self, change: Change) -> bool:
        """Whether a change is an ending for which a Get is to be made."""
        # A first scan finds history; a Get for each job of it would cost more than all that follows.
        announced = self._recorder.claim.baselined and change.event_type is not None
        lacking = change.job.terminal and change.job.details is Details.NOT_REQUESTED
        return announced and lacking and self._policy.covers(change.job)

    def without_waiting(self, jobs: Iterable[Job]) -> list[Job]:
        """The jobs but those that wait, whose event says the latest that was listed of their end."""
        others = []
        for job in jobs:
            ending = self._waiting.get(job.arn)
            if ending is None:
                others.append(job)
            elif job.terminal and supersedes(job, ending.job):
                ending.job = job
        return others

    def ask(self, job: Job, known: JobState | None, *, spare: bool = False) -> None:
        """Ask for the details of an ended job.

        Args:
            job: The job.
            known: Its row, if it has one.
            spare: It is beyond the budget: it is left to the next poll, unless this one has to wait anyway.
        """
        if spare and len(self._waiting) >= MOST_WAITING:
            self._recorder.deferred += 1
            return
        self._waiting[job.arn] = _Ending(job, known)
        self._recorder.gets.ask(job.arn, _order(job), Patience(self._policy.wait), spare=spare)

    def settle(self, done: Sequence[Get]) -> None:
        """Record the endings among Gets that are done, with what these brought."""
        changes: list[Change] = []
        for get in done:
            ending = self._waiting.pop(get.arn, None)
            if ending is not None:
                known = {} if ending.known is None else {get.arn: ending.known}
                job = self._with_details(ending.job, get)
                changes += diff(known, [job], is_news=self._recorder.is_news)
        self._recorder.record(changes)

    def _with_details(self, job: Job, get: Get) -> Job:
        """The ended job with what a Get shows; as listed if it failed or shows an older state."""
        recorder = self._recorder
        try:
            answer = get.result()
            detailed = recorder.observe({**job.raw, **answer.item}, answer.served_at)
        except (AwsError, ItemError) as error:
            recorder.count_failed_get(error)
            recorder.warn_once(
                "job.details_unavailable", str(error.reason), job_arn=job.arn, error=str(error)
            )
        else:
            # The answer of a replica that lags tells nothing.
            if detailed.arn == job.arn and supersedes(detailed, job):
                return replace(detailed, details=Details.COMPLETE)
        recorder.poller.metrics.details_unavailable.inc()
        return replace(job, details=Details.UNAVAILABLE)


def first_to_ask(jobs: Iterable[Job]) -> list[Job]:
    """Ended jobs in the order in which their details are asked for."""
    return sorted(jobs, key=_order)


def _order(job: Job) -> Order:
    """Failures first, then by when they ended by the service's word; those without a time are last."""
    return job.outcome is Outcome.SUCCEEDED, happened_at(job) or _NO_TIME, job.arn
