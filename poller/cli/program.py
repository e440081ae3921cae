"""The command tree: names, options and help texts. The work is in the modules beside this one."""

from __future__ import annotations

from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from poller.cli import VERSION
from poller.cli.context import Context
from poller.cli.options import JOB_HELP, context_of
from poller.cli.options import duration as duration_
from poller.cli.store_commands import deliveries, events, jobs, targets


class Level(StrEnum):
    """How much is logged."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class Form(StrEnum):
    """How it is logged."""

    JSON = "json"
    CONSOLE = "console"


class Which(StrEnum):
    """Which schema to print."""

    CONFIG = "config"
    EVENT = "event"


_app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    help="Tells you when Amazon Bedrock's asynchronous invocations and batch inference jobs change state.\n\n"
    "Try it without AWS: `bedrock-poller demo`. Exit codes: 0 done, 1 failed, 2 wrong use or configuration. "
    "`--config`, `--log-level` and `--log-format` may stand before or after the command.",
)
_sinks = typer.Typer(no_args_is_help=True, help="List and test sinks; resume a parked one.")
_app.add_typer(targets, name="targets")
_app.add_typer(jobs, name="jobs")
_app.add_typer(events, name="events")
_app.add_typer(deliveries, name="deliveries")
_app.add_typer(_sinks, name="sinks")


@_app.callback()
def _options(
    context: typer.Context,
    config: Annotated[
        Path | None,
        typer.Option(
            envvar="BEDROCK_POLLER_CONFIG",
            help="The YAML file. Without one: current AWS credentials and region, both job kinds, SQLite, "
            "events on standard output.",
        ),
    ] = None,
    log_level: Annotated[
        Level | None, typer.Option(help="Least severe level that is logged, on standard error.")
    ] = None,
    log_format: Annotated[
        Form | None, typer.Option(help="Default: console on a terminal, JSON otherwise.")
    ] = None,
) -> None:
    context.obj = Context(config=config, level=log_level, form=log_format)


@_app.command()
def run(context: typer.Context) -> None:
    """Run the daemon until SIGTERM or Ctrl-C.

    Polls every target in its rhythm, records every change of status, and delivers each to the sinks that the
    routes name, at least once and in order. The first scan of a target is recorded in silence, unless
    `poll.first_scan` is `emit`. Restart it at any time: what was owed is delivered then.
    """
    from poller.cli.daemon import run_daemon

    run_daemon(context_of(context))


@_app.command()
def once(
    context: typer.Context,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print what would be recorded, without writing or sending.")
    ] = False,
    drain: Annotated[bool, typer.Option("--drain/--no-drain", help="Whether to deliver what is due.")] = True,
) -> None:
    """Poll every target once, deliver what is due, and exit.

    For cron, and for trying out a configuration. Exits with 1 if a target could not be seen whole; what was
    seen is recorded all the same.
    """
    from poller.cli.daemon import run_one_poll

    raise typer.Exit(run_one_poll(context_of(context), dry_run=dry_run, drain=drain))


@_app.command()
def demo(
    context: typer.Context,
    duration: Annotated[
        timedelta,
        typer.Option("--for", parser=duration_, metavar="DURATION", help="Duration; `0s` runs until Ctrl-C."),
    ] = timedelta(seconds=60),
    jobs: Annotated[int, typer.Option(min=1, max=100_000, help="Jobs to submit, of both kinds.")] = 50,
    speed: Annotated[float, typer.Option(min=0.1, max=10_000, help="Speed relative to real jobs.")] = 60.0,
    seed: Annotated[int, typer.Option(help="Seed of the jobs' behavior.")] = 1,
) -> None:
    """See it work, without AWS.

    Starts a simulated Bedrock, the daemon, and a webhook receiver that verifies every signature; shows each
    transition as it arrives; then says what was lost. Exits with 0 only if nothing was.
    """
    from poller.cli.demo import run_demo

    raise typer.Exit(run_demo(context_of(context), duration=duration, jobs=jobs, speed=speed, seed=seed))


@_app.command()
def simulate(
    context: typer.Context,
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port to listen on; 0 takes a free one.")
    ] = 9478,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    jobs: Annotated[int, typer.Option(min=0, help="Jobs submitted in the first seconds.")] = 10,
    history: Annotated[int, typer.Option(min=0, help="Jobs that ended before the start.")] = 40,
    rate: Annotated[float, typer.Option(min=0, help="New jobs per minute after that.")] = 20.0,
    speed: Annotated[float, typer.Option(min=0.1, max=10_000, help="Speed relative to real jobs.")] = 10.0,
    seed: Annotated[int, typer.Option(help="Seed of the jobs' behavior.")] = 1,
) -> None:
    """Run a simulated Bedrock for any AWS SDK to talk to.

    Point the SDK at it with `AWS_ENDPOINT_URL_BEDROCK`, `AWS_ENDPOINT_URL_BEDROCK_RUNTIME` and
    `AWS_ENDPOINT_URL_STS`, and give any credentials. It lists, gets, starts, creates and stops jobs the way
    the service does, and submits some of its own in whatever region is asked for.
    """
    from poller.cli.demo import run_simulator

    run_simulator(
        context_of(context),
        host=host,
        port=port,
        jobs=jobs,
        history=history,
        rate=rate,
        speed=speed,
        seed=seed,
    )


@_app.command("check-config")
def check_config(context: typer.Context) -> None:
    """Check the configuration, and name every problem at once.

    Each problem is printed with its file, line and key, and what would be right. Nothing is started and AWS
    is not called. Exits with 2 if there is a problem.
    """
    from poller.cli.config import check

    check(context_of(context))


@_app.command()
def schema(
    which: Annotated[
        Which, typer.Argument(help="The configuration's schema, or the events'.")
    ] = Which.CONFIG,
) -> None:
    """Print a JSON Schema, for editors and for receivers."""
    from poller.cli.config import print_schema

    print_schema(which)


@_app.command("iam-policy")
def iam_policy(
    context: typer.Context,
    member: Annotated[
        bool,
        typer.Option("--member", help="The policy of the assumed roles instead of the daemon's."),
    ] = False,
    trust: Annotated[
        bool,
        typer.Option("--trust", help="The trust policy of the assumed roles; needs `--principal`."),
    ] = False,
    organization: Annotated[
        bool,
        typer.Option("--organization", help="The policy of the roles that list accounts of an organization."),
    ] = False,
    principal: Annotated[
        str | None,
        typer.Option(metavar="ARN", help="With `--trust`: the role or user that the daemon runs as."),
    ] = None,
    external_id: Annotated[
        str | None,
        typer.Option(
            metavar="TEXT",
            help="With `--trust`: the external ID to print. The configured one never is; a placeholder "
            "stands in its place.",
        ),
    ] = None,
    account: Annotated[
        str | None,
        typer.Option(
            metavar="ID",
            help="The account of the daemon's own credentials; with `--member` or `--trust`, only the roles "
            "in this account.",
        ),
    ] = None,
    profile: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="The policy for the credentials of this profile's targets."),
    ] = None,
    kms_key: Annotated[
        list[str] | None,
        typer.Option(metavar="ARN", help="A key that encrypts a topic of a sink; may be repeated."),
    ] = None,
) -> None:
    """Print the least IAM policy that the configuration needs.

    Read-only for Bedrock. Targets with a role need three documents: the daemon's own policy, which lets it
    assume the roles; with `--member` the policy of the roles; and with `--trust` their trust policy. Notes
    go to standard error.
    """
    from poller.cli.config import PolicyOptions, print_policy

    asked = PolicyOptions(
        member=member,
        trust=trust,
        organization=organization,
        account=account,
        profile=profile,
        kms_keys=tuple(kms_key or ()),
        principal=principal,
        external_id=external_id,
    )
    print_policy(context_of(context), asked)


@_app.command()
def migrate(context: typer.Context) -> None:
    """Bring the store's schema to this version; `run` and `once` do so by themselves."""
    from poller.cli.daemon import run_migration

    run_migration(context_of(context))


@_app.command("migrate-store")
def migrate_store(
    source: Annotated[
        str,
        typer.Option("--from", metavar="URL", help="The store to copy: `sqlite:////var/lib/…/poller.db`."),
    ],
    target: Annotated[
        str, typer.Option("--to", metavar="URL", help="The empty store: `postgresql://user@host/database`.")
    ],
    source_password: Annotated[
        Path | None,
        typer.Option("--from-password-file", help="A file with the password of the store to copy."),
    ] = None,
    target_password: Annotated[
        Path | None, typer.Option("--to-password-file", help="A file with the password of the empty store.")
    ] = None,
) -> None:
    """Copy a store into another one: from SQLite to PostgreSQL, or back.

    Stop the daemon first: what it records during the copy is not in it. Everything is copied in one
    transaction, and counted and checked against the source; the source stays as it was. Deliveries go on from
    the copy with the same ids. Both need this version's schema; `migrate` brings the source up to it.
    """
    from poller.cli.daemon import copy_store

    files = {source: source_password, target: target_password}
    copy_store(source, target, {url: file for url, file in files.items() if file is not None})


@_app.command()
def version() -> None:
    """Print the version."""
    typer.echo(VERSION)


@_app.command()
def watch(
    context: typer.Context,
    job: Annotated[str, typer.Argument(help=JOB_HELP)],
    every: Annotated[
        timedelta,
        typer.Option(
            "--every", parser=duration_, metavar="DURATION", show_default="5s", help="Time between two Gets."
        ),
    ] = timedelta(seconds=5),
) -> None:
    """Follow one job to its end.

    Asks AWS itself, with the credentials of the target that watches the job's account and region, or else the
    current ones. Exits with 0 only if the job succeeded.
    """
    from poller.cli.watch import follow

    raise typer.Exit(follow(context_of(context), job, every=every.total_seconds()))


@_sinks.command("list")
def sinks_list(context: typer.Context) -> None:
    """List the configured sinks: type, what is owed to each, and whether it is parked."""
    from poller.cli.sinks import list_sinks

    list_sinks(context_of(context))


@_sinks.command("test")
def sinks_test(context: typer.Context, name: Annotated[str, typer.Argument(help="The sink's name.")]) -> None:
    """Send a sample event to one sink and say what came back.

    Nothing is recorded. The event's type is `bedrock-poller.sink.test`, so a receiver can tell it apart.
    """
    from poller.cli.sinks import test_sink

    raise typer.Exit(test_sink(context_of(context), name))


@_sinks.command("unpark")
def sinks_unpark(
    context: typer.Context, name: Annotated[str, typer.Argument(help="The sink's name.")]
) -> None:
    """Resume a sink that was parked because its receiver said that it is gone; its events were kept."""
    from poller.cli.sinks import unpark_sink

    raise typer.Exit(unpark_sink(context_of(context), name))


program = typer.main.get_command(_app)
"""The tree as a click command."""
