"""`sinks list`, `sinks test` and `sinks unpark`."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import typer
from rich.console import Console
from rich.table import Table

from poller.cli.context import store_of
from poller.cli.inspect import cell
from poller.delivery import attempt, close_sink
from poller.errors import ConfigError, DeliveryError, Problem
from poller.events import sample_event
from poller.redaction import printable, redact
from poller.sinks import registry
from poller.store import Outbox

if TYPE_CHECKING:
    from poller.cli.context import Context
    from poller.settings.schema import Settings
    from poller.store.outbox import Backlog


def list_sinks(context: Context) -> None:
    """Print a table of the sinks."""
    settings = context.settings()
    backlog: dict[str, Backlog] = {}
    parked: dict[str, str] = {}
    with store_of(settings) as database:
        if database.exists():
            database.require()
            outbox = Outbox(database)
            backlog, parked = outbox.backlog(), outbox.parked()
    table = Table("sink", "type", "pending", "dead", "parked", box=None)
    for name in sorted({*settings.sinks, *backlog}):
        owed = backlog[name].states if name in backlog else {}
        kind = settings.sinks[name].type if name in settings.sinks else "(not configured)"
        table.add_row(
            cell(name),
            cell(kind),
            str(owed.get("pending", 0)),
            str(owed.get("dead", 0)),
            cell(parked.get(name)),
        )
    Console().print(table)


def test_sink(context: Context, name: str) -> int:
    """Send a sample event; the exit code says whether it was taken."""
    settings = context.settings()
    require_sink(settings, name)
    sink = registry.build(name, settings.sinks[name])
    event = sample_event(name, datetime.now(UTC))

    async def send() -> dict[str, DeliveryError]:
        try:
            return await attempt(sink, [event])
        finally:
            with suppress(DeliveryError):
                await close_sink(sink)

    failure = asyncio.run(send()).get(event.id)
    if failure is not None:
        typer.echo(f"{name}: failed ({failure.reason}): {printable(redact(str(failure)))}", err=True)
        return 1
    typer.echo(f"{name}: took event {event.id}", err=True)
    return 0


def unpark_sink(context: Context, name: str) -> int:
    """Resume a parked sink; the exit code says whether it was parked."""
    settings = context.settings()
    require_sink(settings, name)
    with store_of(settings) as database:
        database.require()
        freed = Outbox(database).unpark(name)
    typer.echo(f"{name}: {'resumed' if freed else 'was not parked'}")
    return 0 if freed else 1


def require_sink(settings: Settings, name: str) -> None:
    """See that a sink is configured.

    Raises:
        ConfigError: It is not; the message names those that are.
    """
    if name not in settings.sinks:
        known = ", ".join(sorted(settings.sinks))
        raise ConfigError([Problem(f"sinks.{name}", f"there is no such sink; there are: {known}")])
