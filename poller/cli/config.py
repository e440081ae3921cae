"""`check-config`, `schema` and `iam-policy`."""

from __future__ import annotations

import contextlib
import json
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

import botocore.session
import typer
from botocore.exceptions import BotoCoreError

from poller.app.configuration import load_settings, load_with_warnings, settings_model
from poller.errors import ConfigError, Problem
from poller.events import schema as event_schema
from poller.iam.policies import daemon_policy, listing_policy, member_policy, trust_policy
from poller.settings.json_schema import json_schema

if TYPE_CHECKING:
    from poller.cli.context import Context


def check(context: Context) -> None:
    """Say that the configuration is right; loading it raises if it is not."""
    settings, risks = load_with_warnings(context.config)
    for each in risks:
        typer.echo(f"warning: {each}", err=True)
    where = context.config or "no file, the defaults and the environment"
    counts = f"{len(settings.targets)} targets, {len(settings.sinks)} sinks, {len(settings.routes)} routes"
    typer.echo(f"{where}: no problems ({counts})")


def print_schema(which: str) -> None:
    """Print the schema of the configuration or of the events."""
    found = event_schema() if which == "event" else json_schema(settings_model())
    typer.echo(json.dumps(found, indent=2))


def print_policy(context: Context, asked: PolicyOptions) -> None:
    """Print an IAM policy document, and on standard error what one should know about it."""
    settings = load_settings(context.config)
    asked.check()
    region = _current_region(asked.profile)
    if asked.trust:
        policy = trust_policy(
            settings,
            asked.principal or "",
            account=asked.account,
            external_id=asked.external_id,
            organization=asked.organization,
        )
    elif asked.organization:
        policy = listing_policy(settings)
    elif asked.member:
        policy = member_policy(settings, account=asked.account, current_region=region)
    else:
        policy = daemon_policy(
            settings,
            profile=asked.profile,
            account=asked.account,
            kms_keys=asked.kms_keys,
            current_region=region,
        )
    typer.echo(json.dumps(policy.document, indent=2))
    for note in policy.notes:
        typer.echo(f"note: {note}", err=True)


@dataclass(frozen=True, slots=True)
class PolicyOptions:
    """The options of `iam-policy`; `permissions` explains them."""

    member: bool = False
    trust: bool = False
    organization: bool = False
    account: str | None = None
    profile: str | None = None
    kms_keys: tuple[str, ...] = ()
    principal: str | None = None
    external_id: str | None = None

    def check(self) -> None:
        """Find options that do not belong together.

        Raises:
            ConfigError: With all of them.
        """
        kinds = {"--member": self.member, "--trust": self.trust, "--organization": self.organization}
        chosen = [name for name, value in kinds.items() if value]
        of_the_daemon = {"--profile": self.profile, "--kms-key": self.kms_keys}
        of_trust = {"--principal": self.principal, "--external-id": self.external_id}
        found = []
        if self.member and len(chosen) > 1:
            found.append(Problem("--member", f"is another document than {chosen[-1]}; ask for one of them"))
        if chosen:
            found += [
                Problem(name, f"does not go with {chosen[0]}")
                for name, value in of_the_daemon.items()
                if value
            ]
        if self.organization and self.account is not None:
            found.append(Problem("--account", "does not go with --organization"))
        if self.trust and self.principal is None:
            found.append(
                Problem(
                    "--principal", "is missing: --trust needs the ARN of the role that the daemon runs as"
                )
            )
        if not self.trust:
            found += [
                Problem(name, "goes with --trust only")
                for name, value in of_trust.items()
                if value is not None
            ]
        if found:
            raise ConfigError(found)


def _current_region(profile: str | None) -> str | None:
    """The region that the SDK would take; `None` if it has none, or does not know the profile."""
    with contextlib.suppress(BotoCoreError):
        found = botocore.session.Session(profile=profile).get_config_variable("region")
        return found or os.environ.get("AWS_REGION")
    return None
