"""`watch`: follows one job to its end."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from poller.app.targets import access_of
from poller.aws import AccountAccess, JobsApi, Sessions
from poller.cli.inspect import browser_of
from poller.errors import ConfigError, ItemError, Problem
from poller.kinds import kind_of, kinds
from poller.metrics import Metrics
from poller.model import Outcome
from poller.redaction import printable

if TYPE_CHECKING:
    from poller.cli.context import Context
    from poller.model import Job
    from poller.settings.schema import Settings


def follow(context: Context, job_key: str, *, every: float) -> int:
    """Print every change of status until the job ends; the exit code says whether it succeeded.

    A job that is named by less than its ARN is looked up in the store.

    Raises:
        ConfigError: The ARN is of no use.
        PollerError: The store has no such job, or several.
        AwsError: The job cannot be got.
    """
    settings = context.settings()
    arn = job_key
    if not arn.startswith("arn:"):
        with browser_of(context) as browser:
            arn = browser.job_arn(job_key)
    try:
        found, region, account = kind_of(arn)
    except ItemError as error:
        raise ConfigError([Problem("ARN", str(error))]) from error
    kind = kinds(outcome_by_records=settings.outcomes.by_records)[found.name]
    sessions = Sessions(
        Metrics(),
        requests_per_second=settings.aws.requests_per_second,
        max_attempts=settings.aws.max_attempts,
        pool_size=1,
        stop=threading.Event(),
    )
    api = JobsApi(sessions.client(_access(settings, region, account), region, kind.service), kind)
    console = Console()
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.fields[counts]}", markup=False),
        TimeElapsedColumn(),
    )
    try:
        with Progress(*columns, console=console, transient=True) as progress:
            bar = progress.add_task("", total=None, counts="")
            status = None
            while True:
                answer = api.get(arn)
                job = kind.observe(answer.item, answer.served_at)
                if job.status != status:
                    status = job.status
                    line = f"{time.strftime('%H:%M:%S')}  {printable(job.status)}"
                    console.print(line, markup=False, highlight=False)
                if job.terminal:
                    break
                total, done, counts = _progress(job)
                progress.update(
                    bar, description=printable(job.status), total=total, completed=done, counts=counts
                )
                time.sleep(every)
    finally:
        sessions.close()
    for line in _ending(job):
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    return 0 if job.outcome is Outcome.SUCCEEDED else 1


def _access(settings: Settings, region: str, account: str) -> AccountAccess:
    """The access of the target that watches the job's place; the default chain if there is none."""
    for target in settings.targets:
        if target.role_account == account and region in (target.regions or (region,)):
            return access_of(target)
    own = next((target for target in settings.targets if target.role_arn is None), None)
    return access_of(own) if own else AccountAccess()


def _progress(job: Job) -> tuple[int | None, int, str]:
    """Total, processed, and both as text; no total where the service does not count."""
    records = job.records
    if records is None or not records.total:
        return None, 0, ""
    done = records.processed or 0
    return records.total, done, f"{done}/{records.total} records"


def _ending(job: Job) -> list[str]:
    """What there is to say about an ended job."""
    records = job.records
    counts = f"{records.succeeded} succeeded, {records.failed} failed of {records.total}" if records else None
    found = {"outcome": job.outcome, "message": job.message, "records": counts, "output": job.output_uri}
    return [f"{name}: {printable(str(value))}" for name, value in found.items() if value]
