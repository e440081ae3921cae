"""`run`, `once` and `migrate`."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from typing import TYPE_CHECKING

import typer

from poller.app.daemon import Daemon
from poller.app.once import rehearsal_database, run_once
from poller.app.parts import Parts
from poller.cli.context import store_of
from poller.envelope import iso

if TYPE_CHECKING:
    from poller.cli.context import Context
    from poller.store import Observation


def run_daemon(context: Context) -> None:
    """Run until stopped; SIGHUP reads the configuration anew."""
    settings = context.settings(starting=True)

    async def main() -> bool:
        daemon = Daemon(Parts(settings), read=lambda: context.settings(starting=True))
        return await daemon.run()

    if not asyncio.run(main()):
        # The interpreter would wait for the thread that is stuck in a call.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)


def run_one_poll(context: Context, *, dry_run: bool, drain: bool) -> int:
    """Poll once; the exit code says whether every target was seen whole."""
    settings = context.settings(starting=True)
    database = rehearsal_database(settings.store.url.get_secret_value()) if dry_run else None
    parts = Parts(settings, database=database)
    try:
        outcome = asyncio.run(run_once(parts, drain=drain, rehearse=_show if dry_run else None))
    finally:
        parts.close()
    verb = "would record" if dry_run else "recorded"
    found = f"{outcome.events} events and {outcome.jobs} rows of jobs"
    typer.echo(f"once: {verb} {found} from {len(parts.targets)} targets", err=True)
    for target in outcome.failed:
        typer.echo(f"once: {target} could not be seen whole", err=True)
    for sink, pending in outcome.pending.items():
        typer.echo(f"once: {pending} deliveries are still owed to {sink}", err=True)
    return 1 if outcome.failed else 0


def _show(observation: Observation) -> None:
    """Print one line of JSON about an event that would be recorded; what is silent is only counted."""
    if observation.event is None:
        return
    job = observation.change.job
    row = {
        "event_id": observation.event.id,
        "job_arn": job.arn,
        "job_name": job.name,
        "previous_status": observation.change.previous_status,
        "status": job.status,
        "outcome": job.outcome,
        "submitted_at": iso(job.submitted_at),
        "sinks": list(observation.sinks),
    }
    # Whoever reads our output may have seen enough; that is no failure of the poll.
    with contextlib.suppress(BrokenPipeError):
        sys.stdout.write(json.dumps(row) + "\n")
        sys.stdout.flush()


def run_migration(context: Context) -> None:
    """Migrate the store, and say from where to where."""
    settings = context.settings()
    with store_of(settings) as database:
        database.prepare()
        before, after = database.migrate()
    done = "is current" if before == after else f"migrated from {before or 'nothing'}"
    typer.echo(f"{settings.store.display_url}: schema {after} {done}")
