"""Open jobs that a listing does not show: each is got, or counted as absent until a Get confirms it is gone.

A Get that fails costs only its own job, which then waits longer and longer. A service whose Gets fail for
several jobs in a row leaves the remaining jobs to the next poll.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from poller import logs
from poller.diff import disappearance
from poller.errors import AwsError, AwsReason, ItemError
from poller.plan import MARGIN, MISSES_BEFORE_GONE

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from datetime import datetime

    from poller.model import Job
    from poller.plan import OpenJob, ScanPlan
    from poller.polling.page import JobRecorder

_log = logs.get(__name__)

_OF_THE_ACCOUNT = (AwsReason.CREDENTIALS, AwsReason.THROTTLED)
"""Why a Get fails for every job, so that the next one would fail as well."""
_MOST_IN_A_ROW = 3
"""Gets of different jobs that may fail in a row before the other jobs are left to the next poll."""


class Stragglers:
    """The open jobs of one poll that its listing does not show.

    Args:
        recorder: Records what the Gets show.
        plan: What the listing covers.
        open_jobs: The snapshot's open jobs at the beginning.
        first: Jobs to get before others, because the last poll had to leave them.
    """

    def __init__(
        self, recorder: JobRecorder, plan: ScanPlan, open_jobs: Sequence[OpenJob], first: Sequence[str]
    ) -> None:
        self._recorder = recorder
        self._snapshot = recorder.poller.snapshot
        self._metrics = recorder.poller.metrics
        self._claim = recorder.claim
        self._plan = plan
        self._first = first
        self._open = {job.arn: job for job in open_jobs}
        self._failures: dict[str, int] = {}
        self._recovered: set[str] = set()
        self._denied = 0
        self._failed_in_a_row = 0
        self.deferred: list[str] = []
        """Open jobs that were not got for want of calls, in the order of their turn."""

    def get_unlisted(self) -> None:
        """Get the jobs whose status the listing does not show, one by one, as far as the budget goes.

        Raises:
            AwsError: A Get failed for a reason that is not the job's own.
        """
        troubled = {arn for arn, job in self._open.items() if job.get_failures}
        try:
            for arn in self._in_turn():
                if arn in self._recorder.unseen or arn in self._recorder.statusless:
                    self._get_or_defer(arn)
                if self._denied >= _MOST_IN_A_ROW and not self._recovered:
                    break
            if self._denied and not self._recovered:
                self._list_instead()
        finally:
            self._snapshot.note_gets(self._claim, self._failures, self._recovered & troubled)

    def count_absences(self) -> None:
        """Count the open jobs that a complete listing should have shown and did not."""
        got = set(self._plan.gets)
        unseen = self._recorder.unseen.items()
        self._count_absent([arn for arn, job in unseen if arn not in got and not job.waiting])
        if self._recorder.returned:
            self._recorder.record([])

    def _in_turn(self) -> list[str]:
        """The jobs to get. Those that the last poll left go first, so that each has its turn."""
        statusless = self._recorder.statusless
        # Only the present window shows a job without a row.
        unknown = [arn for arn in statusless if arn not in self._open]
        wanted = dict.fromkeys([*self._plan.gets, *statusless])
        return [*dict.fromkeys([*unknown, *(arn for arn in self._first if arn in wanted), *wanted])]

    def _get_or_defer(self, arn: str) -> None:
        if arn in self._open and self._open[arn].waiting:
            return
        if self._recorder.gets_left >= 1 and self._failed_in_a_row < _MOST_IN_A_ROW:
            self._recorder.gets_left -= 1
            self._get(arn)
        elif arn in self._open:
            self.deferred.append(arn)
        else:
            # Without a row, it is found again only if the window stays where it is.
            self._recorder.deferred += 1

    def _get(self, arn: str) -> None:
        recorder = self._recorder
        try:
            job, served_at = self._ask(arn)
        except ItemError as error:
            recorder.quarantine(error)
            self._note_failure(arn, error)
        except AwsError as error:
            if arn in recorder.statusless:
                recorder.quarantine(recorder.statusless[arn])
            if error.reason is not AwsReason.NOT_FOUND:
                self._note_failure(arn, error)
            elif arn in recorder.unseen:
                self._count_absent([arn])
        else:
            self._failed_in_a_row = 0
            self._recovered.add(arn)
            recorder.unseen.pop(arn, None)
            if job.arn == arn:
                recorder.record_job(job, served_at)

    def _ask(self, arn: str) -> tuple[Job, datetime | None]:
        self._recorder.report.calls += 1
        return self._recorder.get(arn)

    def _note_failure(self, arn: str, error: AwsError | ItemError) -> None:
        """Let a job whose Get fails wait longer and longer, and go on with the others.

        Raises:
            AwsError: The reason is not the job's own.
        """
        self._recorder.count_failed_get(error)
        _raise_if_of_the_account(error)
        self._failures[arn] = self._failures_before(arn) + 1
        self._recorder.warn_once(
            "job.get_failed", arn, job_arn=arn, reason=str(error.reason), error=str(error)
        )
        if not isinstance(error, AwsError):
            return
        if error.reason is AwsReason.ACCESS_DENIED:
            self._recorder.warn_once("job.get_denied", "", error=str(error))
            self._denied += 1
            return
        self._failed_in_a_row += 1

    def _failures_before(self, arn: str) -> int:
        return self._open[arn].get_failures if arn in self._open else 0

    def _list_instead(self) -> None:
        """Look at the same jobs by a wider listing, for want of the permission to get them."""
        recorder = self._recorder
        # What several complete listings have not shown another one will not show.
        older = [
            recorder.unseen[arn]
            for arn in self._plan.gets
            if arn in recorder.unseen and recorder.unseen[arn].missed < MISSES_BEFORE_GONE
        ]
        if not older:
            return
        times = [job.submitted_at for job in older if job.submitted_at is not None]
        for page in recorder.api.pages(min(times) - MARGIN if len(times) == len(older) else None):
            recorder.record_page(page)
        self._count_absent([job.arn for job in older if job.arn in recorder.unseen])
        # The list tells of them as well as a Get would.
        for job in older:
            self._failures.pop(job.arn, None)

    def _count_absent(self, arns: Collection[str]) -> None:
        for arn, count in self._snapshot.mark_missed(self._claim, arns).items():
            _log.warning("job.missing", job_arn=arn, target=self._claim.target.id, scans=count)
            if count >= MISSES_BEFORE_GONE:
                self._confirm_gone(arn)

    def _confirm_gone(self, arn: str) -> None:
        recorder = self._recorder
        try:
            job, served_at = self._ask(arn)
        except ItemError as error:
            recorder.quarantine(error)
            self._note_unconfirmed(arn, error)
        except AwsError as error:
            if error.reason is AwsReason.NOT_FOUND:
                self._record_disappearance(arn)
            else:
                self._note_unconfirmed(arn, error)
        else:
            if job.arn == arn:
                recorder.returned.add(arn)
                recorder.record_job(job, served_at)

    def _record_disappearance(self, arn: str) -> None:
        known = self._snapshot.known([arn])[arn]
        _log.warning("job.disappeared", job_arn=arn, target=self._claim.target.id, last_status=known.status)
        self._recorder.record([disappearance(known, self._snapshot.load_job(arn))])

    def _note_unconfirmed(self, arn: str, error: AwsError | ItemError) -> None:
        """Leave open whether a job is gone, as its Get does not say; ask again ever less often.

        Raises:
            AwsError: The reason is not the job's own.
        """
        self._metrics.unconfirmed.inc()
        self._snapshot.note_gets(self._claim, {arn: self._failures_before(arn) + 1}, ())
        self._recorder.count_failed_get(error)
        if isinstance(error, AwsError) and error.reason is AwsReason.ACCESS_DENIED:
            self._recorder.warn_once("job.get_denied", "", error=str(error))
        self._recorder.warn_once("job.unconfirmed", arn, job_arn=arn, error=str(error))
        _raise_if_of_the_account(error)


def _raise_if_of_the_account(error: AwsError | ItemError) -> None:
    if isinstance(error, AwsError) and error.reason in _OF_THE_ACCOUNT:
        raise error
