"""`targets`, `jobs`, `events` and `deliveries`: what is in the store, as tables or JSON."""

from __future__ import annotations

import json
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from poller.cli.context import store_of
from poller.cli.options import LARGEST_ID
from poller.errors import PollerError
from poller.redaction import printable
from poller.store.queries import Browser, Selection

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import datetime

    from poller.cli.context import Context
    from poller.store.queries import Row

_TABLES: dict[str, tuple[str, ...]] = {
    "targets": ("id", "baselined", "polled_at", "full_scan_at", "newest_submission"),
    "jobs": ("arn", "name", "status", "outcome", "submitted_at", "ended_at"),
    "events": ("id", "status", "previous_status", "job_arn", "recorded_at"),
    "deliveries": ("id", "sink", "state", "attempts", "event_id", "due_at", "reason", "error"),
}
_KEYS = {"targets": "id", "jobs": "arn", "events": "id"}


def list_rows(
    context: Context,
    what: str,
    *,
    output: str,
    limit: int,
    equal: dict[str, str | None],
    since: datetime | None = None,
    until: datetime | None = None,
) -> None:
    """Print rows, newest first; a job may be selected by less than its ARN.

    Raises:
        PollerError: No job, or more than one, is named.
    """
    with browser_of(context) as browser:
        if job := equal.get("job_arn"):
            equal = {**equal, "job_arn": browser.job_arn(job)}
        selection = Selection(
            limit=limit,
            equal=equal,
            since=None if since is None else since.timestamp(),
            until=None if until is None else until.timestamp(),
        )
        rows = _reads(browser)[what](selection)
    if output == "json":
        typer.echo(json.dumps(rows, indent=2))
        return
    columns = _TABLES[what]
    table = Table(*columns, box=None)
    for row in rows:
        shown = dict(row)
        if what == "events":
            data = row["event"]["data"]
            shown |= {"status": data["status"], "previous_status": data["previous_status"]}
        table.add_row(*(cell(shown[column]) for column in columns))
    # A table is read by eyes or by cut(1); neither likes lines broken to the width of a terminal.
    Console(width=None if Console().is_terminal else 240).print(table)


def show_row(context: Context, what: str, key: str) -> None:
    """Print one row as JSON.

    Raises:
        PollerError: There is no such row.
    """
    with browser_of(context) as browser:
        if what == "deliveries":
            number = key.isascii() and key.isdigit() and len(key) < len(str(LARGEST_ID))
            found = browser.delivery(int(key)) if number else None
        else:
            if what == "jobs":
                key = browser.job_arn(key)
            selection = Selection(limit=1, equal={_KEYS[what]: key})
            found = next(iter(_reads(browser)[what](selection)), None)
    if found is None:
        raise PollerError(f"there is no {key} among the {what}")
    typer.echo(json.dumps(found, indent=2))


@contextmanager
def browser_of(context: Context) -> Iterator[Browser]:
    """What the store of a configuration holds."""
    with store_of(context.settings()) as database:
        database.require()
        yield Browser(database)


def _reads(browser: Browser) -> dict[str, Callable[[Selection], list[Row]]]:
    return {
        "targets": browser.targets,
        "jobs": browser.jobs,
        "events": browser.events,
        "deliveries": browser.deliveries,
    }


def cell(value: Any) -> Text:
    """A value as a cell of a table: without control characters, and without markup."""
    return Text("" if value is None else printable(str(value)))
