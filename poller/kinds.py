"""The job kinds, declared as data, and how one item of a response becomes a `Job`.

Adding a kind is one `Kind(...)` in `KINDS`: which operations list and get it, where in an item the attributes
stand, and which statuses end a job with which outcome. A test holds every declaration against botocore's own
service model. Items are the service's JSON, not botocore's rendering of it, so that unknown fields, union
members and statuses survive verbatim.

What is declared here follows the service models of botocore 1.44 and the API reference of Amazon Bedrock.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
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

_ID = re.compile(r"[a-z0-9]{12}")

_TERMINAL_RANK = 1000

_LARGEST_COUNT = 2**63 - 1
"""The model says `long`, and so do the databases."""
_NO_COUNTS = [None, None, None, None]
_FIRST_YEAR = 1970
_TOLERANCE = timedelta(minutes=1)
"""How much later than the service's clock a time may be: its machines need not agree to the second."""
_LONGEST_RUN = timedelta(hours=168)
"""The longest `timeoutDurationInHours` of a batch job; asynchronous invocations take minutes."""
_LONG_PAST = timedelta(days=1)
"""How long nothing may have changed after that, until a job in an unknown status counts as ended."""
DEEPEST = 100
"""Levels of nesting that are kept; the service's own answers have four."""
CUT = "(nested too deeply)"


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
        gone_words: What such an error's message has to hold, where the code alone may mean something else.
        arn: Where the ARN stands, in list items and Get responses alike; the other paths likewise.
        records: Total, processed, succeeded and failed, for kinds that count.
        outcome_by_records: Whether failed records make the outcome of an ended job worse.
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
    gone_words: str = ""
    name_path: Path | None = None
    input_uri: Path | None = None
    status: Path = ("status",)
    client_request_token: Path = ("clientRequestToken",)
    submitted_at: Path = ("submitTime",)
    modified_at: Path = ("lastModifiedTime",)
    ended_at: Path = ("endTime",)
    expires_at: Path = ("jobExpirationTime",)
    records: tuple[Path, Path, Path, Path] | None = None
    outcome_by_records: bool = False
    ranks: Mapping[str, int] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        ranks = {status: rank for rank, status in enumerate(self.open_statuses)}
        ranks |= {status: _TERMINAL_RANK + rank for rank, status in enumerate(self.outcomes)}
        object.__setattr__(self, "ranks", MappingProxyType(ranks))

    @property
    def statuses(self) -> frozenset[str]:
        """Every declared status."""
        return frozenset(self.ranks)

    def peek_identity(self, item: Any) -> tuple[str | None, str | None]:
        """The ARN and status of a list item, unchecked: enough to see that it is known and has ended."""
        if not isinstance(item, dict):
            return None, None
        return _text(item, self.arn), _text(item, self.status)

    def account_in(self, items: Iterable[Any]) -> str | None:
        """The account of the first item whose ARN can be read."""
        arns = (self.peek_identity(item)[0] for item in items)
        matches = (_ARN.fullmatch(arn) for arn in arns if arn is not None)
        return next((match["account"] for match in matches if match), None)

    def is_gone(self, code: str, message: str) -> bool:
        """Whether an error of Get says that there is no such job."""
        return code in self.gone_codes and self.gone_words in message.lower()

    def submission(self, item: Any) -> datetime | None:
        """When a list item's job was submitted."""
        return parse_time(_at(item, self.submitted_at)) if isinstance(item, dict) else None

    def observe(self, item: Any, not_after: datetime | None = None) -> Job:
        """Read one list item or Get response.

        Everything but the ARN and the status is optional: a value of an unexpected type or an absurd time
        becomes `None` in the attribute and stays verbatim in `raw`. What is nested too deeply to be written
        again is cut there.

        Args:
            item: The service's JSON.
            not_after: The service's own clock when it answered; a later time is not believed.

        Raises:
            ItemError: The item is not an object, or its ARN or status cannot be used.
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
        if _is_deeper(item, DEEPEST):
            item = _cut(item, DEEPEST)
        submitted_at, modified_at, ended_at = (
            _not_after(parse_time(_at(item, path)), not_after)
            for path in (self.submitted_at, self.modified_at, self.ended_at)
        )
        records = _records(item, self.records)
        outcome = self.outcomes.get(status)
        if self.outcome_by_records:
            outcome = by_records(outcome, records)
        rank = self.ranks.get(status)
        terminal = status in self.outcomes
        if rank is None and not terminal:
            expires_at = parse_time(_at(item, self.expires_at))
            terminal = _has_ended(submitted_at, modified_at, ended_at, expires_at, now=not_after)
        return Job(
            arn=arn,
            kind=self.name,
            account_id=match["account"],
            region=match["region"],
            status=status,
            rank=rank,
            terminal=terminal,
            outcome=outcome,
            name=_text(item, self.name_path),
            model_id=_text(item, self.model_id),
            client_request_token=_text(item, self.client_request_token),
            message=_text(item, self.message),
            submitted_at=submitted_at,
            modified_at=modified_at,
            ended_at=ended_at,
            input_uri=_text(item, self.input_uri),
            output_uri=_text(item, self.output_uri),
            records=records,
            raw=item,
        )


def by_records(outcome: Outcome | None, records: Records | None) -> Outcome | None:
    """The outcome of a job, made worse by the records that failed: all of them, or some.

    Only a job that was to be a success, or a part of one, is judged; without counts it stays what it is.
    """
    if outcome not in {Outcome.SUCCEEDED, Outcome.PARTIAL} or records is None or not records.failed:
        return outcome
    # Without a total, what was processed is all there is. Counts that contradict each other prove nothing.
    whole = records.total if records.total is not None else records.processed
    lost = whole is not None and records.failed >= whole and not records.succeeded
    return Outcome.FAILED if lost else Outcome.PARTIAL


def _not_after(moment: datetime | None, limit: datetime | None) -> datetime | None:
    """A time, unless it is later than the service's own clock allows."""
    if moment is None or limit is None:
        return moment
    return moment if moment - limit <= _TOLERANCE else None


def _has_ended(
    submitted_at: datetime | None,
    modified_at: datetime | None,
    ended_at: datetime | None,
    expires_at: datetime | None,
    *,
    now: datetime | None,
) -> bool:
    """Whether a job in an undeclared status has ended: it has an end, or is long past its expiry."""
    if ended_at is not None:
        return True
    # Differences only: any of these may be the last moment of the year 9999, to which nothing can be added.
    if now is None or (modified_at is not None and now - modified_at <= _LONG_PAST):
        return False
    if expires_at is not None and expires_at - now <= _LONGEST_RUN:
        return now - expires_at > _LONG_PAST
    return submitted_at is not None and now - submitted_at > _LONGEST_RUN + _LONG_PAST


def _is_deeper(value: Any, levels: int) -> bool:
    """Whether JSON is nested more than so many levels deep; needs no stack of its own."""
    layer = [value]
    for _ in range(levels):
        layer = [
            inner
            for each in layer
            if isinstance(each, dict | list)
            for inner in (each.values() if isinstance(each, dict) else each)
            if isinstance(inner, dict | list)
        ]
        if not layer:
            return False
    return True


def _cut(value: Any, levels: int) -> Any:
    """The same JSON, with a text in place of everything below a level."""
    if not isinstance(value, dict | list):
        return value
    if levels == 0:
        return CUT
    if isinstance(value, dict):
        return {key: _cut(inner, levels - 1) for key, inner in value.items()}
    return [_cut(inner, levels - 1) for inner in value]


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
    # GetAsyncInvoke declares no ResourceNotFoundException. An unknown ARN is a validation error there, and so
    # is anything else that is wrong with a request.
    gone_codes=frozenset({"ResourceNotFoundException", "ValidationException"}),
    gone_words="not found",
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


def kinds(*, outcome_by_records: bool) -> Mapping[str, Kind]:
    """Every kind, with the outcome of its jobs decided as configured."""
    return {name: replace(kind, outcome_by_records=outcome_by_records) for name, kind in KINDS.items()}


def is_job_id(text: str) -> bool:
    """Whether a text has the form of a job's id, which is the end of its ARN."""
    return _ID.fullmatch(text) is not None


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
