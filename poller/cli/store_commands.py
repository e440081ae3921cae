"""The commands that look into the store: names, options and help texts."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import typer

from poller.cli.options import (
    JOB_HELP,
    LARGEST_ID,
    LimitOption,
    Output,
    OutputOption,
    State,
    context_of,
    moment,
)

targets = typer.Typer(no_args_is_help=True, help="Look at what is polled, and when it was last seen whole.")
jobs = typer.Typer(no_args_is_help=True, help="Look at the jobs of the snapshot.")
events = typer.Typer(no_args_is_help=True, help="Look at what happened.")


@targets.command("list")
def targets_list(
    context: typer.Context, output: OutputOption = Output.TABLE, limit: LimitOption = 1000
) -> None:
    """List the targets that were ever polled from this store."""
    from poller.cli.inspect import list_rows

    list_rows(context_of(context), "targets", output=output, limit=limit, equal={})


@targets.command("show")
def targets_show(
    context: typer.Context, key: Annotated[str, typer.Argument(help="`name/region/kind`.")]
) -> None:
    """Show one target as JSON."""
    from poller.cli.inspect import show_row

    show_row(context_of(context), "targets", key)


@jobs.command("list")
def jobs_list(
    context: typer.Context,
    kind: Annotated[str | None, typer.Option(help="Only this kind.")] = None,
    status: Annotated[str | None, typer.Option(help="Only this status.")] = None,
    region: Annotated[str | None, typer.Option(help="Only this region.")] = None,
    account: Annotated[str | None, typer.Option(help="Only this account.")] = None,
    output: OutputOption = Output.TABLE,
    limit: LimitOption = 100,
) -> None:
    """List jobs, the newest submission first."""
    from poller.cli.inspect import list_rows

    equal = {"kind": kind, "status": status, "region": region, "account_id": account}
    list_rows(context_of(context), "jobs", output=output, limit=limit, equal=equal)


@jobs.command("show")
def jobs_show(context: typer.Context, key: Annotated[str, typer.Argument(help=JOB_HELP)]) -> None:
    """Show one job as JSON."""
    from poller.cli.inspect import show_row

    show_row(context_of(context), "jobs", key)


@events.command("list")
def events_list(
    context: typer.Context,
    job: Annotated[str | None, typer.Option(help=f"Only this job. {JOB_HELP}")] = None,
    output: OutputOption = Output.TABLE,
    limit: LimitOption = 100,
) -> None:
    """List events, the newest first."""
    from poller.cli.inspect import list_rows

    list_rows(context_of(context), "events", output=output, limit=limit, equal={"job_arn": job})


@events.command("show")
def events_show(context: typer.Context, key: Annotated[str, typer.Argument(help="The event's id.")]) -> None:
    """Show one event as JSON, with its envelope."""
    from poller.cli.inspect import show_row

    show_row(context_of(context), "events", key)


deliveries = typer.Typer(
    no_args_is_help=True,
    help="Look at what is owed, was delivered, or was given up; send it again, or give it up.",
)

_Ids = Annotated[
    list[int] | None,
    typer.Argument(metavar="ID", min=1, max=LARGEST_ID, help="Only these deliveries."),
]
_Dead = Annotated[bool, typer.Option("--dead", help="Only dead letters; short for `--state dead`.")]
_Yes = Annotated[bool, typer.Option("--yes", help="Do not ask, however many they are.")]
_Sink = Annotated[str | None, typer.Option(help="Only this sink.")]
_StateOption = Annotated[State | None, typer.Option(help="Only this state.")]
_Job = Annotated[str | None, typer.Option(help=f"Only this job. {JOB_HELP}")]
_Event = Annotated[str | None, typer.Option(help="Only this event, by its id.")]
_Since = Annotated[
    datetime | None,
    typer.Option(
        parser=moment,
        metavar="TIME",
        help="Only what was delivered or given up then or later; of what is pending, what was recorded then "
        "or later. `2026-11-20T10:00:00Z`, or `2h` for two hours ago.",
    ),
]
_Until = Annotated[datetime | None, typer.Option(parser=moment, metavar="TIME", help="Only before then.")]


@deliveries.command("list")
def deliveries_list(
    context: typer.Context,
    sink: _Sink = None,
    state: _StateOption = None,
    job: _Job = None,
    event: _Event = None,
    since: _Since = None,
    until: _Until = None,
    output: OutputOption = Output.TABLE,
    limit: LimitOption = 100,
) -> None:
    """List deliveries, the newest first."""
    from poller.cli.inspect import list_rows

    equal = {"sink": sink, "state": state, "job_arn": job, "event_id": event}
    list_rows(
        context_of(context), "deliveries", output=output, limit=limit, equal=equal, since=since, until=until
    )


@deliveries.command("show")
def deliveries_show(
    context: typer.Context, key: Annotated[str, typer.Argument(help="The delivery's id.")]
) -> None:
    """Show one delivery as JSON: its attempts, its last error, and the event that it delivers."""
    from poller.cli.inspect import show_row

    show_row(context_of(context), "deliveries", key)


@deliveries.command("replay")
def deliveries_replay(
    context: typer.Context,
    ids: _Ids = None,
    sink: _Sink = None,
    state: _StateOption = None,
    dead: _Dead = False,
    job: _Job = None,
    event: _Event = None,
    since: _Since = None,
    until: _Until = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print what would be replayed; change nothing.")
    ] = False,
    yes: _Yes = False,
) -> None:
    """Send deliveries again: the same events, with the same ids and the same bytes.

    What is selected by all of the options together becomes pending and due now, with its attempts forgotten,
    and a running daemon sends it within seconds, the oldest of each job first. What is pending already is
    made due. Name at least one id or option. More than 100 are asked about on a terminal, and need `--yes`
    elsewhere.
    """
    from poller.cli.deliveries import ReplaySelection, replay_deliveries

    choice = ReplaySelection(
        ids=tuple(dict.fromkeys(ids or ())),
        sink=sink,
        states=(*((state,) if state else ()), *((State.DEAD,) if dead else ())),
        job=job,
        event=event,
        since=since,
        until=until,
    )
    raise typer.Exit(replay_deliveries(context_of(context), choice, dry_run=dry_run, yes=yes))


@deliveries.command("drop")
def deliveries_drop(
    context: typer.Context,
    ids: _Ids = None,
    sink: _Sink = None,
    state: _StateOption = None,
    dead: _Dead = False,
    job: _Job = None,
    event: _Event = None,
    since: _Since = None,
    until: _Until = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print what would be dropped; change nothing.")
    ] = False,
    yes: _Yes = False,
) -> None:
    """Give up deliveries for good: what is pending or dead becomes `dropped`, and is not sent.

    For what a removed sink is still owed, or what no receiver wants. The options are those of `replay`, and
    what was delivered stays as it is. Later events of the same jobs are then sent. Until `store.retention`
    removes them, `deliveries replay --state dropped` brings them back. A send under way may still reach its
    receiver. More than 100 are asked about on a terminal, and need `--yes` elsewhere.
    """
    from poller.cli.deliveries import ReplaySelection, drop_deliveries

    choice = ReplaySelection(
        ids=tuple(dict.fromkeys(ids or ())),
        sink=sink,
        states=(*((state,) if state else ()), *((State.DEAD,) if dead else ())),
        job=job,
        event=event,
        since=since,
        until=until,
    )
    raise typer.Exit(drop_deliveries(context_of(context), choice, dry_run=dry_run, yes=yes))
