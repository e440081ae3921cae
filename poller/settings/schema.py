"""Everything that can be set: one class per section, and the model that holds them.

The attribute docstrings are the reference documentation, and the JSON Schema is generated from here. Which
sinks and job kinds exist is decided by the layers around this one, so `configuration` takes them as
arguments and builds the concrete model. What concerns several sections at once is in `crosschecks`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import timedelta
from functools import reduce
from operator import or_
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

from pydantic import Field, ValidationInfo, create_model, field_validator

from poller.durations import format_duration
from poller.rules import FIELDS, Threshold
from poller.settings.durations import Duration
from poller.settings.secrets import SecretFile, read_secret_file
from poller.settings.sinks import Section, SinkSettings
from poller.settings.store_url import StoreUrl, default_url, displayed, refuse_password
from poller.settings.types import (
    AccountId,
    Comparison,
    ExternalId,
    ExternalIdFile,
    Level,
    Name,
    Patterns,
    Regions,
    RoleArn,
    RoleName,
    Unit,
    account_of_role,
    check_external_id,
)
from poller.settings.web import WebSettings

if TYPE_CHECKING:
    from pathlib import Path

_IDLE = timedelta(minutes=2)
_FULL = timedelta(hours=24)
_LONGEST_ORGANIZATION = 50
"""Leaves room for a hyphen and an account's number in a name of 63 characters."""


class PollSettings(Section):
    """How often Bedrock is asked, and how much of it."""

    interval: Duration = Field(default=timedelta(seconds=30), ge=timedelta(milliseconds=100))
    """Time between two polls of a target that has open jobs. An ending is noticed half of it late, on
    average; each poll costs at least one API call per target."""
    idle_interval: Duration = Field(
        default_factory=lambda data: max(_IDLE, data.get("interval", _IDLE)),
        json_schema_extra={"default": format_duration(_IDLE)},
    )
    """Time between two polls of a target without open jobs, where only the discovery of new ones waits.
    Not shorter than `interval`; if `interval` is longer than the default, then the default is `interval`."""
    full_scan_interval: Duration = Field(
        default_factory=lambda data: max(_FULL, data.get("interval", _FULL)),
        json_schema_extra={"default": format_duration(_FULL)},
    )
    """Time between two complete listings of a target, which notice what a windowed one cannot: jobs that
    vanished. They cost one API call per 1000 jobs in the account's history, so they are rare."""
    overlap: Duration = Field(default=timedelta(minutes=10), le=timedelta(days=7))
    """How far a listing reaches back beyond the newest job known, because a job can become visible
    in lists later than its submission time says. At most 7 days."""
    first_scan: Literal["baseline", "emit"] = "baseline"
    """What the first listing of a target does with the jobs it finds: `baseline` records them in silence,
    `emit` sends an event for each, however old."""
    concurrency: int = Field(default=8, ge=1, le=256)
    """How many targets may be polled at once, in threads. More helps only with many targets."""
    backlog_limit: int = Field(default=100_000, ge=1)
    """With more deliveries than this waiting, targets are polled less and less often, up to eight times: what
    happens meanwhile is found later, instead of filling the disk now. Nothing is dropped."""
    page_cost: float = Field(default=1.0, gt=0, le=1000, allow_inf_nan=False)
    """What listing a page of up to 1000 jobs weighs when a poll is planned, against `get_cost`. The plan with
    the least weight is taken; with equal weights that is the one with the fewest API calls."""
    get_cost: float = Field(default=1.0, gt=0, le=1000, allow_inf_nan=False)
    """What a Get of one job weighs when a poll is planned. Raise it where the quota for Gets is the scarcer
    one: listings then reach further back."""

    @field_validator("idle_interval", "full_scan_interval")
    @classmethod
    def _not_below_interval(cls, value: timedelta, info: ValidationInfo) -> timedelta:
        interval = info.data.get("interval", value)
        if value < interval:
            raise ValueError(
                f"is shorter than poll.interval ({format_duration(interval)}); make it as long or longer"
            )
        return value


class AwsSettings(Section):
    """How the AWS APIs are called. Endpoints and credentials follow the SDK's own variables and files."""

    max_attempts: int = Field(default=5, ge=1, le=20)
    """Attempts per API call, the first included, in the SDK's retry mode `standard`. A call that
    still fails is tried again by the next poll."""
    requests_per_second: float = Field(default=5.0, gt=0, le=1000, allow_inf_nan=False)
    """Most API calls per second to one region of one account, so that most of Bedrock's quota is left to
    those who submit jobs."""


class OrganizationSettings(Section):
    """Which accounts of an AWS organization to watch, found by asking it again and again."""

    role_name: RoleName
    """The role to assume in each account, with its path if it has one: `bedrock-poller-read`."""
    units: tuple[Unit, ...] = ()
    """Organizational units, or roots, whose accounts to watch, those of units inside them too. Empty, the
    default, means the whole organization."""
    tags: Mapping[str, str] = Field(default={}, json_schema_extra={"default": {}})
    """Tags that an account must have, all of them; the value `*` stands for any. One call per account."""
    exclude: tuple[AccountId, ...] = ()
    """Accounts to leave out, such as the management account, in which such a role is rarely found."""
    refresh: Duration = Field(default=timedelta(hours=1), ge=timedelta(minutes=1), le=timedelta(days=7))
    """Time between two looks at the organization. If one fails, the accounts stay as they were."""
    list_role_arn: RoleArn | None = None
    """A role to assume to list the accounts. Default: none, the credentials found by the SDK are used."""


class TargetSettings(Section):
    """What to watch: job kinds in regions of one account, or of those of an organization."""

    name: Name
    """What events, metrics and logs call this target; unique, 1 to 63 letters, digits, `-` or `_`. The
    accounts of an organization are called by it and their number: `org-111111111111`."""
    regions: Regions = ()
    """AWS regions to watch. Empty, the default, means the SDK's current region (`AWS_REGION` or the
    profile's). `auto` means all that the SDK knows to have Bedrock in the account's partition; where an
    account cannot use one, its target counts as unavailable and is asked rarely."""
    kinds: tuple[str, ...] = Field(default=(), min_length=1)
    """Job kinds to watch. The default is all of them."""
    role_arn: RoleArn | None = None
    """A role to assume first, for another account or for least privilege. Default: none, the
    credentials found by the SDK are used as they are."""
    organization: OrganizationSettings | None = None
    """The accounts of an AWS organization instead of a single one. Default: none."""
    external_id: ExternalId | None = None
    """The external ID that the role's trust policy asks for; `external_id_file` keeps it out of this file."""
    external_id_file: ExternalIdFile | None = None
    """A file that holds the external ID; read again whenever the role is assumed."""
    profile: str | None = Field(default=None, min_length=1)
    """A profile of the SDK's shared configuration files. Default: the SDK's own search for credentials."""

    @property
    def role_account(self) -> str | None:
        """The account that its role is in; `None` without a role, or with one in each of several accounts."""
        return None if self.role_arn is None else account_of_role(self.role_arn)

    @field_validator("organization")
    @classmethod
    def _names_the_role(
        cls, value: OrganizationSettings | None, info: ValidationInfo
    ) -> OrganizationSettings | None:
        if value is not None and info.data.get("role_arn") is not None:
            raise ValueError("names the role to assume by role_name; remove role_arn")
        if value is not None and len(info.data.get("name", "")) > _LONGEST_ORGANIZATION:
            raise ValueError(f"needs a name of at most {_LONGEST_ORGANIZATION} characters; shorten name")
        return value

    @field_validator("external_id", "external_id_file")
    @classmethod
    def _goes_with_a_role(cls, value: object, info: ValidationInfo) -> object:
        roles = (info.data.get(key, value) for key in ("role_arn", "organization"))
        if value is not None and all(role is None for role in roles):
            raise ValueError("is used only to assume a role; set role_arn too, or remove it")
        if info.field_name == "external_id_file" and info.data.get("external_id") is not None:
            raise ValueError("is set, and so is external_id; keep one of them")
        return value

    def read_external_id(self) -> str | None:
        """Return the external ID to assume the role with, from its file as it is now.

        Raises:
            ValueError: The file cannot be read any more; the message does not hold its content.
        """
        if self.external_id_file is not None:
            return check_external_id(read_secret_file(self.external_id_file))
        return self.external_id.get_secret_value() if self.external_id else None


class StoreSettings(Section):
    """Where the snapshot of all jobs and the events still to be delivered are kept."""

    url: StoreUrl = Field(default_factory=lambda: default_url(os.environ))
    """The database: `sqlite:////absolute/path.db`. Default: a SQLite file `poller.db` in systemd's
    `$STATE_DIRECTORY`, else in `$XDG_STATE_HOME/bedrock-poller`, else in
    `~/.local/state/bedrock-poller`. A `postgresql://` address needs the extra `postgres`; what libpq can be
    told stands behind it, as in `?sslmode=verify-full&sslrootcert=/etc/ssl/ca.pem`."""
    password_file: SecretFile | None = None
    """The path of a file with the password for PostgreSQL, instead of one in `url`. Read again for each new
    connection."""
    pool_size: int = Field(default=5, ge=1, le=100)
    """How many connections to PostgreSQL this process has at most; SQLite needs none."""
    retention: Duration = Field(default=timedelta(days=90), ge=timedelta(minutes=1))
    """How long delivered events and dead letters are kept. What is still to be delivered is never removed,
    and neither are the rows of jobs: they are how a job that was announced is known not to be new."""
    lease: Duration = Field(default=timedelta(seconds=15), ge=timedelta(seconds=1), le=timedelta(minutes=10))
    """Within this time, what a replica that has fallen silent was polling is polled by another one; what it
    was sending waits for the sink's `timeout` besides. Shorter recovers faster and writes more."""

    @field_validator("password_file")
    @classmethod
    def _is_for_a_server(cls, value: Path | None, info: ValidationInfo) -> Path | None:
        if value is not None and "url" in info.data:
            refuse_password(info.data["url"])
        return value

    def read_password(self) -> str | None:
        """Return the password from its file as it is now; `None` if there is no such file.

        Raises:
            ValueError: The file cannot be read any more; the message does not hold its content.
        """
        return None if self.password_file is None else read_secret_file(self.password_file)

    @property
    def display_url(self) -> str:
        """The address without password and options, for logs and pages."""
        return displayed(self.url)


class MatchSettings(Section):
    """What a route applies to: all keys must match, each by any of its values.

    Every value may be a glob: `*`, `?` and `[abc]`. Capitals count. What an event lacks is the empty text.
    """

    kind: Patterns | None = None
    """Job kinds, such as `model_invocation_job`."""
    status: Patterns | None = None
    """Statuses entered, in the service's own spelling, such as `Failed` or `PartiallyCompleted`."""
    outcome: Patterns | None = None
    """How jobs ended: `succeeded`, `failed`, `partial`, `stopped` or `expired`; empty while they are open."""
    target: Patterns | None = None
    """Names of targets."""
    account: Patterns | None = None
    """AWS account IDs."""
    region: Patterns | None = None
    """AWS regions."""
    model: Patterns | None = None
    """Model IDs or ARNs as the service reports them, such as `*nova*`."""
    name: Patterns | None = None
    """Job names, such as `nightly-*`; asynchronous invocations have none."""
    failed_records: Comparison | None = None
    """How many records of a batch job failed: `>`, `>=`, `<`, `<=` or `=` and a number, or a share of all
    records in percent, such as `>0` or `>5%`. Jobs whose records the service did not count do not match."""

    @property
    def conditions(self) -> dict[str, tuple[str, ...]]:
        """The keys with patterns that are set."""
        return {key: patterns for key in FIELDS if (patterns := getattr(self, key)) is not None}

    @property
    def threshold(self) -> Threshold | None:
        """What must hold for the number of failed records."""
        return None if self.failed_records is None else Threshold.parse(self.failed_records)


class OutcomesSettings(Section):
    """How it is decided whether an ended job succeeded."""

    by_records: bool = False
    """Whether failed records count: the outcome of a completed batch job is then `failed` if every record
    failed, and `partial` if some did. Without it, a completed job has `succeeded` whatever its records say.
    The status and the id of an event stay the same."""


class RouteSettings(Section):
    """Sends what matches to sinks. Every route is tried; a sink gets an event once at most."""

    match: MatchSettings = Field(default_factory=MatchSettings)
    """What it applies to. Default: everything."""
    sinks: tuple[str, ...] = Field(min_length=1)
    """Names of the sinks that get what matches."""


class LoggingSettings(Section):
    """The program's own log, on standard error."""

    level: Level = "info"
    """The least severe level that is written."""
    format: Literal["json", "console"] | None = None
    """`json`, one object a line, or `console`, for people. Default: `console` if standard error is a
    terminal, else `json`."""


class HealthSettings(Section):
    """When the program calls itself unhealthy: `/-/healthy` fails, and systemd's watchdog gets no sign."""

    patience: Duration = Field(default=timedelta(minutes=1), ge=timedelta(seconds=1), le=timedelta(hours=1))
    """How much longer than they should take polling, delivery and housekeeping may be silent. It comes on top
    of what each is allowed anyway: a sink's `timeout`, the longest call to AWS."""


class ShutdownSettings(Section):
    """How the program ends after SIGTERM."""

    grace: Duration = Field(default=timedelta(seconds=20), le=timedelta(hours=1))
    """How long polls and sends under way may take to finish; then they are abandoned and resumed after the
    next start, with nothing lost. Keep it below what systemd or Kubernetes (30 s) grants before it kills."""


class Settings(Section):
    """The whole configuration."""

    poll: PollSettings = Field(default_factory=PollSettings)
    """How often Bedrock is asked."""
    aws: AwsSettings = Field(default_factory=AwsSettings)
    """How the AWS APIs are called."""
    targets: tuple[TargetSettings, ...] = Field(default=(), min_length=1)
    """What to watch. Default: all job kinds in the SDK's current account and region."""
    store: StoreSettings = Field(default_factory=StoreSettings)
    """Where state is kept."""
    sinks: Mapping[str, SinkSettings] = Field(default={}, min_length=1)
    """Where events are delivered, by a name of your choice. Default: one sink `log` of type `log`."""
    outcomes: OutcomesSettings = Field(default_factory=OutcomesSettings)
    """What counts as a success."""
    routes: tuple[RouteSettings, ...] = ()
    """Which sinks get which events. Default: every sink gets everything."""
    web: WebSettings = Field(default_factory=WebSettings)
    """The web server."""
    log: LoggingSettings = Field(default_factory=LoggingSettings)
    """The program's own log."""
    health: HealthSettings = Field(default_factory=HealthSettings)
    """When the program calls itself unhealthy."""
    shutdown: ShutdownSettings = Field(default_factory=ShutdownSettings)
    """How the program ends."""


def configuration(
    sink_types: Mapping[str, type[SinkSettings]], kinds: Mapping[str, frozenset[str]]
) -> type[Settings]:
    """Build the concrete model for the sinks and job kinds that exist.

    Args:
        sink_types: Settings class by the sink's `type`.
        kinds: The statuses of each job kind, by its name.

    Raises:
        TypeError: A settings class does not declare `type: Literal[…]` with its own name.
    """
    for name, settings_type in sink_types.items():
        if get_args(settings_type.model_fields["type"].annotation) != (name,):
            raise TypeError(f'{settings_type.__qualname__} must declare: type: Literal["{name}"]')
    sink: Any = reduce(or_, sink_types.values())
    if len(sink_types) > 1:
        sink = Annotated[sink, Field(discriminator="type")]
    kind: Any = Literal[*sorted(kinds)]
    target: Any = create_model(
        "TargetSettings",
        __base__=TargetSettings,
        __doc__=TargetSettings.__doc__,
        kinds=_narrowed(TargetSettings, "kinds", tuple[kind, ...], tuple(sorted(kinds))),
    )
    return create_model(
        "Settings",
        __base__=Settings,
        __doc__=Settings.__doc__,
        targets=_narrowed(Settings, "targets", tuple[target, ...], ({"name": "default"},)),
        sinks=_narrowed(Settings, "sinks", dict[Name, sink], {"log": {"type": "log"}}),
    )


def _narrowed(owner: type[Section], name: str, annotation: Any, default: Any) -> Any:
    """One field of `owner`, not to be empty, with a narrower type and a default."""
    description = owner.model_fields[name].description
    field = Field(default=default, validate_default=True, min_length=1, description=description)
    return (annotation, field)
