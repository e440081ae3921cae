"""`check-config`, `schema` and `iam-policy`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import typer

from poller.app.configuration import load_settings, load_with_warnings, settings_model
from poller.app.permissions import daemon_policy, member_policy
from poller.envelope import schema as event_schema
from poller.settings.reference import json_schema

if TYPE_CHECKING:
    from poller.cli.context import Context


def check(context: Context) -> None:
    """Say that the configuration is right; loading it raises if it is not."""
    settings, exposed = load_with_warnings(context.config)
    for each in exposed:
        what = f"holds a secret, and every user of this machine can read it (mode {each.mode})"
        typer.echo(f"warning: {each.file} {what}; {each.remedy}", err=True)
    where = context.config or "no file, the defaults and the environment"
    counts = f"{len(settings.targets)} targets, {len(settings.sinks)} sinks, {len(settings.routes)} routes"
    typer.echo(f"{where}: no problems ({counts})")


def print_schema(which: str) -> None:
    """Print the schema of the configuration or of the events."""
    found = event_schema() if which == "event" else json_schema(settings_model())
    typer.echo(json.dumps(found, indent=2))


def print_policy(context: Context, *, member: bool) -> None:
    """Print an IAM policy document."""
    settings = load_settings(context.config)
    policy = member_policy(settings) if member else daemon_policy(settings)
    typer.echo(json.dumps(policy, indent=2))
