"""The job kinds, declared as data, and how one item of a response becomes a `Job`.

Adding a kind is one `Kind(...)` in `KINDS`: which operations list and get it, where in an item the attributes
stand, and which statuses end a job with which outcome. A test holds every declaration against botocore's own
service model. Items are the service's JSON, not botocore's rendering of it, so that unknown fields, union
members and statuses survive verbatim.

What is declared here follows the service models of botocore 1.44 and the API reference of Amazon Bedrock.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeAlias

from poller.errors import ItemError
from poller.model import Job, Outcome, Records, storable

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

Path: TypeAlias = tuple[str, ...]
"""Where a value stands in an item: `("outputDataConfig", "s3OutputDataConfig", "s3Uri")`."""

_ARN = re.compile(
    r"arn:(?P<partition>aws[a-z-]*):bedrock:(?P<region>[a-z0-9-]{1,20}):(?P<account>[0-9]{12})"
    r":(?P<resource>[a-z-]+)/(?P<id>[a-z0-9]{12})"
)

_TERMINAL_RANK = 1000

_LARGEST_COUNT = 2**63 - 1
"""The model says `long`, and so do the databases."""
_NO_COUNTS = [None, None, None, None]
_FIRST_YEAR = 1970


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of Bedrock job.

    Args:
        name: How configuration, events and metrics call it.
        service: The SDK's service name.
        list_operation: The operation that lists jobs; its action in IAM is `bedrock:` and this name.
        list_key: The member of the list response that holds the items.
        list_parameters: Sent with every list call, beside the window and the token.
        since_parameter: The list's filter on submission time.
        get_operation: The operation that returns one job.
        get_parameter: Its parameter; a full ARN is accepted.
        resource: The ARN's resource type.
        open_statuses: In life-cycle order.
        outcomes: The statuses that end a job, and what each means.
        gone_codes: Error codes by which Get says that there is no such job.
        arn: Where the ARN stands, in list items and Get responses alike; the other paths likewise.
        records: Total, processed, succeeded and failed, for kinds that count.
    """

    name: str
    service: str
    list_operation: str
    list_key: str
    list_parameters: Mapping[str, str | int]
    since_parameter: str
    get_operation: str
    get_parameter: str
    resource: str
    open_statuses: tuple[str, ...]
    outcomes: Mapping[str, Outcome]
    gone_codes: frozenset[str]
    arn: Path
    model_id: Path
    message: Path
    output_uri: Path
    name_path: Path | None = None
    input_uri: Path | None = None
    status: Path = ("status",)
    client_request_token: Path = ("clientRequestToken",)
    submitted_at: Path = ("submitTime",)
    modified_at: Path = ("lastModifiedTime",)
    ended_at: Path = ("endTime",)
    records: tuple[Path, Path, Path, Path] | None = None
    ranks: Mapping[str, int] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        ranks = {status: rank for rank, status in enumerate(self.open_statuses)}
        ranks |= dict.fromkeys(self.outcomes, _TERMINAL_RANK)
        object.__setattr__(self, "ranks", MappingProxyType(ranks))

    @property
    def statuses(self) -> frozenset[str]:
        """Every declared status."""
        return frozenset(self.ranks)

    def glance(self, item: Any) -> tuple[str | None, str | None]:
        """The ARN and status of a list item, unchecked: enough to see that it is known and has ended."""
        if not isinstance(item, dict):
            return None, None
        return _text(item, self.arn), _text(item, self.status)

    def account_in(self, items: Iterable[Any]) -> str | None:
        """The account of the first item whose ARN can be read."""
        arns = (self.glance(item)[0] for item in items)
        matches = (_ARN.fullmatch(arn) for arn in arns if arn is not None)
        return next((match["account"] for match in matches if match), None)

    def submission(self, item: Any) -> datetime | None:
        """When a list item's job was submitted."""
        return parse_time(_at(item, self.submitted_at)) if isinstance(item, dict) else None

    def observe(self, item: Any) -> Job:
        """Read one list item or Get response.

        Everything but the ARN and the status is optional: a value of an unexpected type or an absurd time
        becomes `None` in the attribute and stays verbatim in `raw`.

        Raises:
            ItemError: The item is no object, or its ARN or status cannot be used.
        """
        if not isinstance(item, dict):
            raise ItemError(f"an item of {self.list_key} is not an object", reason="type")
        arn = _text(item, self.arn)
        match = _ARN.fullmatch(arn) if arn else None
        if arn is None or match is None or match["resource"] != self.resource:
            raise ItemError(f"an item of {self.list_key} has no usable {self.arn[-1]}", reason="arn")
        status = _text(item, self.status)
        if not status:
            raise ItemError(f"{arn} has no status", reason="status", arn=arn)
        return Job(
            arn=arn,
            kind=self.name,
            account_id=match["account"],
            region=match["region"],
            status=status,
            rank=self.ranks.get(status),
            terminal=status in self.outcomes,
            outcome=self.outcomes.get(status),
            name=_text(item, self.name_path),
            model_id=_text(item, self.model_id),
            client_request_token=_text(item, self.client_request_token),
            message=_text(item, self.message),
            submitted_at=parse_time(_at(item, self.submitted_at)),
            modified_at=parse_time(_at(item, self.modified_at)),
            ended_at=parse_time(_at(item, self.ended_at)),
            input_uri=_text(item, self.input_uri),
            output_uri=_text(item, self.output_uri),
            records=_records(item, self.records),
            raw=item,
        )


def _at(item: Mapping[str, Any], path: Path | None) -> Any:
    if path is None:
        return None
    value: Any = item.get(path[0])
    for key in path[1:]:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def _text(item: Mapping[str, Any], path: Path | None) -> str | None:
    value = _at(item, path)
    # What is compared with the snapshot has to be what the snapshot can hold.
    return storable(value) if isinstance(value, str) else None


def _records(item: Mapping[str, Any], paths: tuple[Path, Path, Path, Path] | None) -> Records | None:
    if paths is None:
        return None
    found = [_at(item, path) for path in paths]
    if found == _NO_COUNTS:
        return None
    numbers = [_count(value) for value in found]
    return Records(*numbers) if numbers != _NO_COUNTS else None


def _count(value: Any) -> int | None:
    usable = isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _LARGEST_COUNT
    return value if usable else None


def parse_time(value: Any) -> datetime | None:
    """Read a time in any form that botocore accepts: ISO 8601, seconds since the epoch, RFC 822.

    A time without a zone is taken as UTC. What is no time, or lies outside the years 1970 to 9999, is
    `None`: one absurd time must not cost the job that carries it.
    """
    if value is None:
        return None
    try:
        # The form that the service sends, and the only one whose cost counts.
        usual = type(value) is str and value[-1:] == "Z" and value[4:5] == "-"
        moment = datetime.fromisoformat(value) if usual else _moment(value)
        if moment.tzinfo is not UTC:
            moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError, OSError):
        return None
    return moment if moment.year >= _FIRST_YEAR else None


def _moment(value: Any) -> datetime:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return datetime.fromtimestamp(value, UTC)
    if not isinstance(value, str):
        raise ValueError("not a time")  # noqa: TRY004 - the caller treats every unusable value alike
    # Digits without hyphens are seconds first, as for botocore, and only then a date in ISO's basic format.
    for parse in (_from_iso, _from_epoch) if value[4:5] == "-" else (_from_epoch, _from_iso):
        try:
            return parse(value)
        except ValueError:
            continue
    if value.upper().endswith((" AM", " PM")):
        raise ValueError("a twelve-hour clock, whose half RFC 822's parser would take for a zone")
    return parsedate_to_datetime(value)


def _from_iso(text: str) -> datetime:
    return datetime.fromisoformat(text if text.endswith("Z") else text.upper())


def _from_epoch(text: str) -> datetime:
    return datetime.fromtimestamp(float(text), UTC)


ASYNC_INVOKE = Kind(
    name="async_invoke",
    service="bedrock-runtime",
    list_operation="ListAsyncInvokes",
    list_key="asyncInvokeSummaries",
    list_parameters=MappingProxyType(
        {"maxResults": 1000, "sortBy": "SubmissionTime", "sortOrder": "Ascending"}
    ),
    since_parameter="submitTimeAfter",
    get_operation="GetAsyncInvoke",
    get_parameter="invocationArn",
    resource="async-invoke",
    open_statuses=("InProgress",),
    outcomes=MappingProxyType({"Completed": Outcome.SUCCEEDED, "Failed": Outcome.FAILED}),
    # GetAsyncInvoke declares no ResourceNotFoundException; an unknown ARN is a validation error there.
    gone_codes=frozenset({"ResourceNotFoundException", "ValidationException"}),
    arn=("invocationArn",),
    model_id=("modelArn",),
    message=("failureMessage",),
    output_uri=("outputDataConfig", "s3OutputDataConfig", "s3Uri"),
)

MODEL_INVOCATION_JOB = Kind(
    name="model_invocation_job",
    service="bedrock",
    list_operation="ListModelInvocationJobs",
    list_key="invocationJobSummaries",
    list_parameters=MappingProxyType(
        {"maxResults": 1000, "sortBy": "CreationTime", "sortOrder": "Ascending"}
    ),
    since_parameter="submitTimeAfter",
    get_operation="GetModelInvocationJob",
    get_parameter="jobIdentifier",
    resource="model-invocation-job",
    open_statuses=("Submitted", "Validating", "Scheduled", "InProgress", "Stopping"),
    outcomes=MappingProxyType(
        {
            "Completed": Outcome.SUCCEEDED,
            "PartiallyCompleted": Outcome.PARTIAL,
            "Failed": Outcome.FAILED,
            "Stopped": Outcome.STOPPED,
            "Expired": Outcome.EXPIRED,
        }
    ),
    gone_codes=frozenset({"ResourceNotFoundException"}),
    arn=("jobArn",),
    name_path=("jobName",),
    model_id=("modelId",),
    message=("message",),
    input_uri=("inputDataConfig", "s3InputDataConfig", "s3Uri"),
    output_uri=("outputDataConfig", "s3OutputDataConfig", "s3Uri"),
    records=(
        ("totalRecordCount",),
        ("processedRecordCount",),
        ("successRecordCount",),
        ("errorRecordCount",),
    ),
)

KINDS: Mapping[str, Kind] = MappingProxyType(
    {kind.name: kind for kind in (ASYNC_INVOKE, MODEL_INVOCATION_JOB)}
)
"""Every kind this program knows, by name."""


def kind_of(arn: str) -> tuple[Kind, str, str]:
    """The kind, region and account that a job's ARN names.

    Raises:
        ItemError: It is no ARN of a known kind of job.
    """
    match = _ARN.fullmatch(arn)
    kind = next((kind for kind in KINDS.values() if match and kind.resource == match["resource"]), None)
    if match is None or kind is None:
        known = ", ".join(f"…:{kind.resource}/…" for kind in KINDS.values())
        raise ItemError(f"{arn} is not the ARN of a job; known are {known}", reason="arn")
    return kind, match["region"], match["account"]
