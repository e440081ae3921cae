"""Everything that can be set: one class per section, and the model that holds them.

The attribute docstrings are the reference documentation, and the JSON Schema is generated from here. The
layer above this one decides which sinks exist, so `configuration` takes them as an argument and builds the
concrete model. What concerns several sections at once is in `crosschecks`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import timedelta
from functools import reduce
from operator import or_
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

from pydantic import (
    BeforeValidator,
    Discriminator,
    Field,
    Tag,
    ValidationInfo,
    create_model,
    field_validator,
)

from poller.kinds import DEFAULT_KINDS
from poller.pacing import SHORTEST_SECONDS
from poller.rules import FIELDS, Threshold
from poller.settings.secrets import SecretFile, read_secret_file
from poller.settings.sinks import SinkSettings
from poller.settings.store_url import StoreUrl, default_url, displayed, refuse_password
from poller.settings.types import (
    AUTO,
    AccountId,
    Comparison,
    Duration,
    ExternalId,
    ExternalIdFile,
    Interval,
    KindName,
    Level,
    Name,
    Patterns,
    Regions,
    RoleArn,
    RoleName,
    Section,
    Share,
    Unit,
    account_of_role,
    read_external_id,
)
from poller.settings.wake_ups import SqsWakeUps
from poller.settings.web import WebSettings
from poller.times import format_duration

if TYPE_CHECKING:
    from pathlib import Path

_IDLE = timedelta(minutes=2)
_FULL = timedelta(hours=24)
_SHORTEST_AUTO = timedelta(seconds=SHORTEST_SECONDS)
_LONGEST_ORGANIZATION = 50
"""Leaves room for a hyphen and an account's number in a name of 63 characters."""


class FirstScanSettings(Section):
    """Which jobs of a target's first listing are announced."""

    since: Duration = Field(gt=timedelta(0))
    """Those that ended within this time."""


_WORDS = ("baseline", "emit")


def _check_first_scan(value: Any) -> Any:
    if value in _WORDS or isinstance(value, dict | FirstScanSettings):
        return value
    raise ValueError(f"must be {' or '.join(_WORDS)}, or a mapping such as {{since: 24h}}")


FirstScan = Annotated[
    Annotated[Literal["baseline", "emit"], Tag("word")] | Annotated[FirstScanSettings, Tag("mapping")],
    Discriminator(lambda value: "word" if isinstance(value, str) else "mapping"),
    BeforeValidator(_check_first_scan),
]


class PollSettings(Section):
    """How often Bedrock is asked, and how much of it."""

    interval: Interval = Field(default=None, json_schema_extra={"default": AUTO})
    """Time between two polls of a target with open jobs. `auto`: as often as `aws.poll_share` allows, from
    every 2 seconds to every `idle_interval`. Each poll costs at least one API call."""
    idle_interval: Duration = Field(
        default_factory=lambda data: max(_IDLE, data.get("interval") or _IDLE),
        json_schema_extra={"default": format_duration(_IDLE)},
    )
    """The same without open jobs. At least `interval`, also by default."""
    full_scan_interval: Duration = Field(
        default_factory=lambda data: max(_FULL, data.get("interval") or _FULL),
        json_schema_extra={"default": format_duration(_FULL)},
    )
    """Time between two complete listings, which detect vanished jobs and cost one API call per 1000 jobs
    of the history."""
    overlap: Duration = Field(default=timedelta(minutes=10), le=timedelta(days=7))
    """How far a listing reaches back before the newest known submission, for jobs that appear late. At
    most 7 days."""
    first_scan: FirstScan = "baseline"
    """`baseline` records the jobs of a target's first listing without events; `emit` sends an event for
    each; `{since: 24h}` sends one for each that ended since then, for a store that was lost."""
    concurrency: int = Field(default=8, ge=1, le=256)
    """Targets polled at the same time, in threads."""
    details: Literal["always", "failed", "never"] = "always"
    """Endings for which a Get fetches what the list omits: `always`, `failed` (all but succeeded) or
    `never`."""
    details_wait: Duration = Field(
        default=timedelta(seconds=10), ge=timedelta(milliseconds=100), le=timedelta(minutes=2)
    )
    """Longest delay of an event by a throttled or unanswered Get, 100ms to 2m. Then it lacks the details."""
    details_concurrency: int = Field(default=8, ge=1, le=64)
    """Gets of one poll at the same time."""
    backlog_limit: int = Field(default=100_000, ge=1)
    """Above this number of pending deliveries, targets are polled up to eight times less often. Nothing
    is dropped."""
    page_cost: float = Field(default=1.0, gt=0, le=1000, allow_inf_nan=False)
    """Planning weight of listing one page, relative to `get_cost`. The plan with the least weight is
    used."""
    get_cost: float = Field(default=1.0, gt=0, le=1000, allow_inf_nan=False)
    """Planning weight of one Get. Raise it if the quota for Gets is scarcer."""

    @field_validator("idle_interval", "full_scan_interval")
    @classmethod
    def _not_below_interval(cls, value: timedelta, info: ValidationInfo) -> timedelta:
        if "interval" not in info.data:
            return value
        interval = info.data["interval"]
        least = _SHORTEST_AUTO if interval is None else interval
        if value < least:
            what = f"{AUTO}, at least " if interval is None else ""
            raise ValueError(
                f"is shorter than poll.interval ({what}{format_duration(least)}); make it as long or longer"
            )
        return value


class AwsSettings(Section):
    """How the AWS APIs are called. Endpoints and credentials follow the SDK's own variables and files."""

    max_attempts: int = Field(default=5, ge=1, le=20)
    """Attempts per API call, in the SDK's retry mode `standard`."""
    requests_per_second: float = Field(default=5.0, gt=0, le=1000, allow_inf_nan=False)
    """Maximum API calls per second to one region of one account. A low value leaves quota to
    submitters."""
    poll_share: Share = Field(default=0.1, json_schema_extra={"default": "10%"})
    """Part of `requests_per_second` that `poll.interval: auto` uses, for all targets of an account and region
    together."""


class OrganizationSettings(Section):
    """Which accounts of an AWS organization to watch, found by asking it again and again."""

    role_name: RoleName
    """Role to assume in each account, with its path."""
    units: tuple[Unit, ...] = ()
    """Organizational units or roots to watch, with nested units. Default: the whole organization."""
    tags: Mapping[str, str] = Field(default={}, json_schema_extra={"default": {}})
    """Tags that an account must have; `*` matches any value. Costs one call per account."""
    exclude: tuple[AccountId, ...] = ()
    """Accounts to leave out, such as the management account."""
    refresh: Duration = Field(default=timedelta(hours=1), ge=timedelta(minutes=1), le=timedelta(days=7))
    """Time between two listings of the organization."""
    list_role_arn: RoleArn | None = None
    """Role to assume to list the accounts. Default: the SDK's credentials."""


class TargetSettings(Section):
    """What to watch: job kinds in regions of one account, or of those of an organization."""

    name: Name
    """Unique name in events, metrics and logs: 1 to 63 letters, digits, `-` or `_`."""
    regions: Regions = ()
    """AWS regions to watch. Default: the SDK's current region. `auto` means all regions of the partition
    that the SDK lists for Bedrock."""
    kinds: tuple[KindName, ...] = Field(default=DEFAULT_KINDS, min_length=1)
    """Job kinds to watch. Default: `async_invoke` and `model_invocation_job`. Other kinds need more
    permissions."""
    role_arn: RoleArn | None = None
    """Role to assume. Default: the SDK's credentials."""
    organization: OrganizationSettings | None = None
    """Accounts of an AWS organization. Default: one account."""
    external_id: ExternalId | None = None
    """External ID that the role's trust policy requires."""
    external_id_file: ExternalIdFile | None = None
    """File with the external ID, read each time the role is assumed."""
    profile: str | None = Field(default=None, min_length=1)
    """Profile of the SDK's shared files. Default: the SDK's credential search."""

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
        return read_external_id(self.external_id, self.external_id_file)


class StoreSettings(Section):
    """Where the snapshot of all jobs and the events still to be delivered are kept."""

    url: StoreUrl = Field(default_factory=lambda: default_url(os.environ))
    """Database: `sqlite:////absolute/path.db`, or `postgresql://` with the extra `postgres` and libpq
    parameters. Default: `poller.db` in systemd's `$STATE_DIRECTORY`, else
    `$XDG_STATE_HOME/bedrock-poller`, else `~/.local/state/bedrock-poller`."""
    password_file: SecretFile | None = None
    """File with the PostgreSQL password, read for each new connection. Not together with a password in
    `url`."""
    pool_size: int = Field(default=5, ge=1, le=100)
    """Maximum connections of this process to PostgreSQL. SQLite ignores it."""
    retention: Duration = Field(default=timedelta(days=90), ge=timedelta(minutes=1))
    """How long delivered events and dead letters are kept. Pending deliveries and jobs are never
    removed."""
    lease: Duration = Field(default=timedelta(seconds=15), ge=timedelta(seconds=1), le=timedelta(minutes=10))
    """Time until another replica takes over the polls of a silent one, and, after the sink's `timeout`,
    its sends. Shorter recovers faster and writes more."""

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
    """Statuses entered, in the service's spelling."""
    outcome: Patterns | None = None
    """How jobs ended: `succeeded`, `failed`, `partial`, `stopped` or `expired`; empty while open."""
    target: Patterns | None = None
    """Names of targets."""
    account: Patterns | None = None
    """AWS account IDs."""
    region: Patterns | None = None
    """AWS regions."""
    model: Patterns | None = None
    """Model IDs or ARNs as the service reports them, such as `*nova*`."""
    name: Patterns | None = None
    """Job names, such as `nightly-*`. Asynchronous invocations have none."""
    failed_records: Comparison | None = None
    """Failed records of a batch job: `>`, `>=`, `<`, `<=` or `=` and a number or percentage, such as
    `>5%`. Jobs without counts do not match."""

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
    """Whether failed records change the outcome of a completed batch job: `failed` if all failed,
    `partial` if some did."""


class RouteSettings(Section):
    """Sends what matches to sinks. Every route is tried; a sink gets an event once at most."""

    match: MatchSettings = Field(default_factory=MatchSettings)
    """Events that the route applies to. Default: all."""
    sinks: tuple[str, ...] = Field(min_length=1)
    """Names of the sinks that get matching events."""


class LoggingSettings(Section):
    """The program's own log, on standard error."""

    level: Level = "info"
    """Least severe level that is logged."""
    format: Literal["json", "console"] | None = None
    """`json`, one object per line, or `console`, readable text. Default: `console` if standard error is a
    terminal, else `json`."""


class HealthSettings(Section):
    """When the program calls itself unhealthy: `/-/healthy` fails, and systemd's watchdog gets no sign."""

    patience: Duration = Field(default=timedelta(minutes=1), ge=timedelta(seconds=1), le=timedelta(hours=1))
    """Time that a loop may be silent beyond its allowance, such as a sink's `timeout` or the longest AWS
    call."""


class ShutdownSettings(Section):
    """How the program ends after SIGTERM."""

    grace: Duration = Field(default=timedelta(seconds=20), le=timedelta(hours=1))
    """Time for running polls and sends to finish; the next start resumes the rest. Keep it below the
    limit of Kubernetes (30 s) or systemd."""


class Settings(Section):
    """The whole configuration."""

    poll: PollSettings = Field(default_factory=PollSettings)
    """How often Bedrock is asked."""
    aws: AwsSettings = Field(default_factory=AwsSettings)
    """How the AWS APIs are called."""
    targets: tuple[TargetSettings, ...] = Field(
        default=({"name": "default"},), validate_default=True, min_length=1
    )
    """What to watch. Default: one target with default settings, in the SDK's current account and region."""
    wake_ups: tuple[SqsWakeUps, ...] = ()
    """Queues whose messages cause polls. Default: none."""
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


def configuration(sink_types: Mapping[str, type[SinkSettings]]) -> type[Settings]:
    """Build the concrete model for the sinks that exist.

    Args:
        sink_types: Settings class by the sink's `type`.

    Raises:
        TypeError: A settings class does not declare `type: Literal[…]` with its own name.
    """
    for name, settings_type in sink_types.items():
        if get_args(settings_type.model_fields["type"].annotation) != (name,):
            raise TypeError(f'{settings_type.__qualname__} must declare: type: Literal["{name}"]')
    sink: Any = reduce(or_, sink_types.values())
    if len(sink_types) > 1:
        sink = Annotated[sink, Field(discriminator="type")]
    return create_model(
        "Settings",
        __base__=Settings,
        __doc__=Settings.__doc__,
        sinks=(
            dict[Name, sink],
            Field(
                default={"log": {"type": "log"}},
                validate_default=True,
                min_length=1,
                description=Settings.model_fields["sinks"].description,
            ),
        ),
    )
