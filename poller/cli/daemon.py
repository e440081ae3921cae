"""`run`, `once` and `migrate`."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from contextlib import closing
from typing import TYPE_CHECKING

import typer

from poller.app.daemon import Daemon
from poller.app.once import dry_run_database, run_once
from poller.app.runtime import Components
from poller.cli.context import store_of
from poller.redaction import register_secret, secret_parts
from poller.settings.secrets import read_secret_file
from poller.settings.store_url import has_password
from poller.store import Database
from poller.store.copy import copy
from poller.times import iso

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from poller.cli.context import Context
    from poller.store import Observation


def run_daemon(context: Context) -> None:
    """Run until stopped; SIGHUP reads the configuration again."""
    settings = context.settings(starting=True)

    async def main() -> bool:
        daemon = Daemon(Components(settings), read=lambda: context.settings(starting=True))
        return await daemon.run()

    if not asyncio.run(main()):
        # The interpreter would wait for the thread that is stuck in a call.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)


def run_one_poll(context: Context, *, dry_run: bool, drain: bool) -> int:
    """Poll once; the exit code says whether every target was seen whole."""
    settings = context.settings(starting=True)
    database = dry_run_database(settings.store) if dry_run else None
    components = Components(settings, database=database)
    try:
        outcome = asyncio.run(run_once(components, drain=drain, show=_show if dry_run else None))
    finally:
        components.close()
    verb = "would record" if dry_run else "recorded"
    found = f"{outcome.events} events and {outcome.jobs} rows of jobs"
    typer.echo(f"once: {verb} {found} from {len(components.targets)} targets", err=True)
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
    # The reader of our output may have seen enough; the poll has not failed.
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


def copy_store(source: str, target: str, passwords: Mapping[str, Path]) -> None:
    """Copy a store into another, and say what there is in both.

    Args:
        source: The URL of the one.
        target: The URL of the other.
        passwords: The files that hold their passwords, by URL.

    Raises:
        StoreError: It cannot be done; the other is empty then.
    """

    def told(table: str, rows: int) -> None:
        if sys.stderr.isatty():
            sys.stderr.write(f"\r{table}: {rows}\033[K")

    def opened(url: str) -> closing[Database]:
        file = passwords.get(url)
        register_secret(*secret_parts(url))
        if has_password(url):
            typer.echo(
                "warning: a password in an address can be read by every user of this machine while the"
                " command runs; use --from-password-file, --to-password-file or PGPASSWORD",
                err=True,
            )
        return closing(Database(url, password=None if file is None else lambda: read_secret_file(file)))

    with opened(source) as read, opened(target) as written:
        copied = copy(read, written, told=told)
    if sys.stderr.isatty():
        sys.stderr.write("\r\033[K")
    for each in copied:
        typer.echo(f"{each.table:<12}{each.rows:>10} rows  {each.checksum}")
    typer.echo(
        "The copy has the same rows, by number and checksum. Set store.url to it, and start the daemon."
    )
