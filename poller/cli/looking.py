"""`targets`, `jobs` and `events`: names, options and help texts of the commands that look into the store."""

from __future__ import annotations

from typing import Annotated

import typer

from poller.cli.options import JOB_HELP, LimitOption, Output, OutputOption, context_of

targets = typer.Typer(no_args_is_help=True, help="Look at what is polled, and when it was last seen whole.")
jobs = typer.Typer(no_args_is_help=True, help="Look at the jobs of the snapshot.")
events = typer.Typer(no_args_is_help=True, help="Look at what happened.")


@targets.command("list")
def targets_list(
    context: typer.Context, output: OutputOption = Output.TABLE, limit: LimitOption = 1000
) -> None:
    """List the targets that were ever polled from this store."""
    from poller.cli.browsing import list_rows

    list_rows(context_of(context), "targets", output=output, limit=limit, equal={})


@targets.command("show")
def targets_show(
    context: typer.Context, key: Annotated[str, typer.Argument(help="`name/region/kind`.")]
) -> None:
    """Show one target as JSON."""
    from poller.cli.browsing import show_row

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
    from poller.cli.browsing import list_rows

    equal = {"kind": kind, "status": status, "region": region, "account_id": account}
    list_rows(context_of(context), "jobs", output=output, limit=limit, equal=equal)


@jobs.command("show")
def jobs_show(context: typer.Context, key: Annotated[str, typer.Argument(help=JOB_HELP)]) -> None:
    """Show one job as JSON."""
    from poller.cli.browsing import show_row

    show_row(context_of(context), "jobs", key)


@events.command("list")
def events_list(
    context: typer.Context,
    job: Annotated[str | None, typer.Option(help=f"Only this job. {JOB_HELP}")] = None,
    output: OutputOption = Output.TABLE,
    limit: LimitOption = 100,
) -> None:
    """List events, the newest first."""
    from poller.cli.browsing import list_rows

    list_rows(context_of(context), "events", output=output, limit=limit, equal={"job_arn": job})


@events.command("show")
def events_show(context: typer.Context, key: Annotated[str, typer.Argument(help="The event's id.")]) -> None:
    """Show one event as JSON, with its envelope."""
    from poller.cli.browsing import show_row

    show_row(context_of(context), "events", key)
