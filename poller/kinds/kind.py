"""What the declaration of a job kind holds, and how one item of a response becomes a `Job`.

Items are the service's own JSON, not botocore's rendering of it, so that unknown fields, union members and
statuses survive verbatim.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import timedelta
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeAlias

from poller.errors import ItemError
from poller.model import Details, Job, Outcome, Records, storable
from poller.times import parse_time

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime

Path: TypeAlias = tuple[str, ...]
"""Where a value stands in an item: `("outputDataConfig", "s3OutputDataConfig", "s3Uri")`."""

_ARN = (
    r"arn:(?P<partition>aws[a-z-]*):bedrock:(?P<region>[a-z0-9-]{1,20}):(?P<account>[0-9]{12})"
    r":(?P<resource>%s)/%s"
)
_JOB_ID = re.compile(r"[a-z0-9]{12}")
_IN_ARN = {"id": rf"(?P<id>{_JOB_ID.pattern})", "model": r"(?P<model>[a-z0-9.:-]{1,255})"}
"""The parts that the end of an ARN is made of."""

_TERMINAL_RANK = 1000

_LARGEST_COUNT = 2**63 - 1
"""The model says `long`, and so do the databases."""
_NO_COUNTS = [None, None, None, None]
_TOLERANCE = timedelta(minutes=1)
"""How much later than the service's clock a time may be: its machines need not agree to the second."""
_LONG_PAST = timedelta(days=1)
"""How long after its longest run a job in an unknown status must be unchanged to count as ended."""
DEEPEST = 100
"""Levels of nesting that are kept; the service's own answers have four."""
CUT = "(nested too deeply)"
_NESTED = (dict, list)


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of Bedrock job.

    Args:
        name: How configuration, events and metrics call it.
        noun: How the service's messages call one such job.
        service: The SDK's service name.
        list_operation: The operation that lists jobs.
        list_key: The member of the list response that holds the items.
        list_parameters: Sent with every list call, beside the window and the token.
        since_parameter: The list's filter for jobs submitted after a time.
        before_parameter: The list's filter for jobs submitted before a time.
        get_operation: The operation that returns one job.
        get_parameter: Its parameter; a full ARN is accepted.
        details_only: Top-level members that Get shows and the list does not.
        submit_operation: The operation that submits a job; its response has the ARN.
        submit_model: Its parameter that names the model.
        resource: The ARN's resource type.
        open_statuses: In life-cycle order.
        outcomes: The statuses that end a job, and what each means; `None` for an end without an outcome.
        gone: Error codes by which Get says that there is no such job, and what the message must then contain.
        arn: Where the ARN stands, in list items and Get responses alike; the other paths likewise.
        identifier: What follows the resource type in the ARN: the job's id, or model and id.
        stop_operation: The operation that stops a job, if there is one; its parameter is that of Get.
        expires_at: Where the time stands at which the service gives a job up.
        records: Total, processed, succeeded and failed, for kinds that count.
        longest_run: How long a job can run at most.
        end_members: Top-level members that an ended job should have, by outcome; `None` stands for every
            outcome that is not named. A Get can add one that a list item lacks.
        polled_by_default: Whether a target that names no kinds polls this one. A kind added later is not
            polled by default, because the roles that users have granted do not allow its operations.
        native_events: Whether EventBridge tells of changes of status, at best effort.
        outcome_by_records: Whether failed records make the outcome of an ended job worse.
    """

    name: str
    noun: str
    service: str
    list_operation: str
    list_key: str
    list_parameters: Mapping[str, str | int]
    since_parameter: str
    before_parameter: str
    get_operation: str
    get_parameter: str
    details_only: frozenset[str]
    submit_operation: str
    submit_model: str
    resource: str
    open_statuses: tuple[str, ...]
    outcomes: Mapping[str, Outcome | None]
    gone: Mapping[str, str]
    arn: Path
    model_id: Path
    message: Path
    output_uri: Path
    identifier: str = "{id}"
    stop_operation: str | None = None
    name_path: Path | None = None
    input_uri: Path | None = None
    status: Path = ("status",)
    client_request_token: Path = ("clientRequestToken",)
    submitted_at: Path = ("submitTime",)
    modified_at: Path | None = ("lastModifiedTime",)
    ended_at: Path | None = ("endTime",)
    expires_at: Path | None = None
    records: tuple[Path, Path, Path, Path] | None = None
    longest_run: timedelta = timedelta(hours=168)
    end_members: Mapping[Outcome | None, frozenset[str]] = field(default_factory=lambda: MappingProxyType({}))
    polled_by_default: bool = False
    native_events: bool = False
    outcome_by_records: bool = False
    ranks: Mapping[str, int] = field(init=False, repr=False, compare=False)
    arn_pattern: re.Pattern[str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        ranks = {status: rank for rank, status in enumerate(self.open_statuses)}
        ranks |= {status: _TERMINAL_RANK + rank for rank, status in enumerate(self.outcomes)}
        object.__setattr__(self, "ranks", MappingProxyType(ranks))
        pattern = re.compile(_ARN % (re.escape(self.resource), self.identifier.format(**_IN_ARN)))
        object.__setattr__(self, "arn_pattern", pattern)

    @property
    def statuses(self) -> frozenset[str]:
        """Every declared status."""
        return frozenset(self.ranks)

    @property
    def operations(self) -> tuple[str, ...]:
        """Every declared operation."""
        declared = (self.submit_operation, self.get_operation, self.list_operation, self.stop_operation)
        return tuple(operation for operation in declared if operation is not None)

    @property
    def list_action(self) -> str:
        """The action in IAM that allows the list operation; it is granted on `*`."""
        return f"bedrock:{self.list_operation}"

    @property
    def get_action(self) -> str:
        """The action in IAM that allows the Get operation; it is granted on the ARNs of jobs."""
        return f"bedrock:{self.get_operation}"

    def make_arn(
        self,
        job_id: str,
        *,
        account: str,
        region: str,
        partition: str = "aws",
        model: str = "example.model-v1:0",
    ) -> str:
        """Write the ARN of a job; `model` counts only where ARNs of this kind name it."""
        end = self.identifier.format(id=job_id, model=model)
        return f"arn:{partition}:bedrock:{region}:{account}:{self.resource}/{end}"

    def peek_identity(self, item: Any) -> tuple[str | None, str | None]:
        """Return the unchecked ARN and status of a list item: enough to tell whether it ended earlier."""
        if not isinstance(item, dict):
            return None, None
        return _text(item, self.arn), _text(item, self.status)

    def account_in(self, items: Iterable[Any]) -> str | None:
        """Return the account of the first item whose ARN can be read."""
        arns = (self.peek_identity(item)[0] for item in items)
        matches = (self.arn_pattern.fullmatch(arn) for arn in arns if arn is not None)
        return next((match["account"] for match in matches if match), None)

    def is_gone(self, code: str, message: str) -> bool:
        """Whether an error of Get says that there is no such job."""
        return code in self.gone and self.gone[code] in message.lower()

    def submission(self, item: Any) -> datetime | None:
        """Return when a list item's job was submitted."""
        return parse_time(_at(item, self.submitted_at)) if isinstance(item, dict) else None

    def observe(self, item: Any, not_after: datetime | None = None) -> Job:
        """Read one list item or Get response.

        Everything but the ARN and the status is optional: a value of an unexpected type or an absurd time
        becomes `None` in the attribute and stays verbatim in `raw`. JSON that is nested too deeply to be
        written again is cut off at that depth.

        Args:
            item: The service's JSON.
            not_after: The service's own clock when it answered; a later time is ignored.

        Raises:
            ItemError: The item is not an object, or its ARN or status cannot be used.
        """
        if not isinstance(item, dict):
            raise ItemError(f"an item of {self.list_key} is not an object", reason="type")
        arn = _text(item, self.arn)
        match = self.arn_pattern.fullmatch(arn) if arn else None
        if arn is None or match is None:
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
            times = (submitted_at, modified_at, ended_at, expires_at)
            terminal = _has_ended(*times, now=not_after, longest_run=self.longest_run)
        lacking = self._lacks_end_members(item, outcome) if terminal else bool(self.details_only)
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
            details=Details.NOT_REQUESTED if lacking else Details.COMPLETE,
            raw=item,
        )

    def _lacks_end_members(self, item: Mapping[str, Any], outcome: Outcome | None) -> bool:
        """Whether an ended job's item lacks what a Get could add."""
        expected = self.end_members.get(outcome, self.end_members.get(None, frozenset()))
        return any(item.get(name) is None for name in expected)


def is_job_id(text: str) -> bool:
    """Whether a text has the form of a job's id, which is the end of its ARN."""
    return _JOB_ID.fullmatch(text) is not None


def by_records(outcome: Outcome | None, records: Records | None) -> Outcome | None:
    """Return the outcome of a job, made worse if all or some of its records failed.

    Only `succeeded` and `partial` change. Without counts the outcome stays as it is.
    """
    if outcome not in {Outcome.SUCCEEDED, Outcome.PARTIAL} or records is None or not records.failed:
        return outcome
    # Without a total, the processed records are all there are. Contradictory counts prove nothing.
    whole = records.total if records.total is not None else records.processed
    lost = whole is not None and records.failed >= whole and not records.succeeded
    return Outcome.FAILED if lost else Outcome.PARTIAL


def _not_after(moment: datetime | None, limit: datetime | None) -> datetime | None:
    """Return a time; `None` if it is later than the service's own clock allows."""
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
    longest_run: timedelta,
) -> bool:
    """Whether a job in an undeclared status has ended: it has an end time, or is long past its expiry."""
    if ended_at is not None:
        return True
    # Differences only: any of these may be the last moment of the year 9999, to which nothing can be added.
    if now is None or (modified_at is not None and now - modified_at <= _LONG_PAST):
        return False
    if expires_at is not None and expires_at - now <= longest_run:
        return now - expires_at > _LONG_PAST
    return submitted_at is not None and now - submitted_at > longest_run + _LONG_PAST


def _is_deeper(value: Any, levels: int) -> bool:
    """Whether JSON is nested deeper than this many levels; does not recurse, so that no depth is too much."""
    layer = [value]
    for _ in range(levels):
        below: list[Any] = []
        for each in layer:
            inside = each.values() if isinstance(each, dict) else each
            below += [inner for inner in inside if isinstance(inner, _NESTED)]
        if not below:
            return False
        layer = below
    return True


def _cut(value: Any, levels: int) -> Any:
    """Return the same JSON with the text `CUT` in place of everything below a level."""
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
    # Most paths have one part, and a first run reads a dozen and a half of them for each job.
    if len(path) > 1:
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
