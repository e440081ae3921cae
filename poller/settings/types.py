"""The base of every section, and the types of single settings, each with a message that names the remedy.

A message begins with a verb, because it is printed after the setting's key: `web.listen: must be …`.
"""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path  # noqa: TC003 - pydantic reads the annotations
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    SecretStr,
    WithJsonSchema,
    model_validator,
)

from poller.kinds import KINDS
from poller.rules import Threshold
from poller.settings.secrets import SecretFile, read_secret_file
from poller.times import PATTERN, format_duration, parse_duration

_NAME = re.compile(r"[A-Za-z0-9_-]{1,63}")
_REGION = re.compile(r"[a-z]{2,8}(-[a-z]{2,12}){1,3}-[0-9]{1,2}")
_ROLE = re.compile(r"arn:aws[a-z-]*:iam::[0-9]{12}:role/[A-Za-z0-9+=,.@_/-]{1,512}")
_LISTEN = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):([0-9]{1,5})")
_ROLE_NAME = re.compile(r"[A-Za-z0-9+=,.@_/-]{1,512}")
_UNIT = re.compile(r"r-[0-9a-z]{4,32}|ou-[0-9a-z]{4,32}-[0-9a-z]{8,32}")
_ACCOUNT = re.compile(r"[0-9]{12}")
AUTO = "auto"
_SHORTEST_INTERVAL = timedelta(milliseconds=100)
"""Stands for all regions."""
_LARGEST_PORT = 65535
_EXTERNAL_ID = re.compile(r"[A-Za-z0-9_+=,.@:/-]{2,1224}")
_ALPHABET = "2 to 1224 letters, digits and any of _+=,.@:/-"
"""What sts:AssumeRole takes."""
_ONE = {"type": "string"}


def looks_like_region(text: str) -> bool:
    """Whether a text has the shape of an AWS region's name; which ones exist changes too often to check."""
    return _REGION.fullmatch(text) is not None


def account_of_role(arn: str) -> str:
    """The account that a role's ARN names."""
    return arn.split(":")[4]


def is_account(text: str) -> bool:
    """Whether a text is an AWS account ID."""
    return _ACCOUNT.fullmatch(text) is not None


def is_glob(pattern: str) -> bool:
    """Whether a pattern can match more than its own text."""
    return any(character in pattern for character in "*?[")


def check_external_id(text: str) -> str:
    """Return a usable external ID unchanged.

    Raises:
        ValueError: AWS would refuse it. The message does not hold it.
    """
    if not _EXTERNAL_ID.fullmatch(text):
        raise ValueError(f"is not an external ID; AWS takes {_ALPHABET}")
    return text


def read_external_id(given: SecretStr | None, file: Path | None) -> str | None:
    """Return an external ID, from its file as it is now, if it is in one; `None` without either.

    Raises:
        ValueError: The file cannot be read any more; the message does not hold its content.
    """
    if file is not None:
        return check_external_id(read_secret_file(file))
    return given.get_secret_value() if given else None


def _external_id(value: SecretStr) -> SecretStr:
    check_external_id(value.get_secret_value())
    return value


def _external_id_file(path: Path) -> Path:
    if not _EXTERNAL_ID.fullmatch(read_secret_file(path)):
        raise ValueError(f"{path} holds no external ID; AWS takes {_ALPHABET}")
    return path


def _name(value: str) -> str:
    if not _NAME.fullmatch(value):
        raise ValueError("is not a usable name; write 1 to 63 letters, digits, - or _")
    return value


def _region(value: str) -> str:
    if not looks_like_region(value):
        raise ValueError(f"{value!r} is not the name of an AWS region; write one such as eu-west-1")
    return value


def _region_or_auto(value: str) -> str:
    return value if value == AUTO else _region(value)


def _alone(value: tuple[str, ...]) -> tuple[str, ...]:
    if AUTO in value and len(value) > 1:
        raise ValueError(f"has {AUTO} beside others; write {AUTO} alone, or the regions")
    return value


def _account(value: str) -> str:
    if not is_account(value):
        raise ValueError(f"{value!r} is not an AWS account ID; write its 12 digits, in quotes")
    return value


def _unit(value: str) -> str:
    if not _UNIT.fullmatch(value):
        raise ValueError(
            f"{value!r} is not an organizational unit; write an id such as ou-abcd-12345678, or a root's, "
            "r-abcd"
        )
    return value


def _role_name(value: str) -> str:
    if not _ROLE_NAME.fullmatch(value):
        raise ValueError(f"{value!r} is not the name of a role; write one such as bedrock-poller-read")
    return value


def _role(value: str) -> str:
    if not _ROLE.fullmatch(value):
        raise ValueError(
            f"{value!r} is not the ARN of a role; write one such as arn:aws:iam::111111111111:role/reader"
        )
    return value


def _comparison(value: Any) -> str:
    text = str(value)
    Threshold.parse(text)
    return text


def _listen(value: str) -> str:
    match = _LISTEN.fullmatch(value)
    if not match or int(match[2]) > _LARGEST_PORT:
        raise ValueError(
            f"{value!r} is not an address to listen on; write host:port, such as 127.0.0.1:9477 or "
            "[::]:9477, or null for no web server"
        )
    return value


def _described(pattern: re.Pattern[str]) -> WithJsonSchema:
    return WithJsonSchema({"type": "string", "pattern": f"^{pattern.pattern}$"})


def _lower(value: Any) -> Any:
    return value.lower() if isinstance(value, str) else value


def _text(value: Any) -> Any:
    # An account ID without quotes is a number in YAML; one that starts with 0 is read as text anyway.
    return str(value) if type(value) is int else value


def _listed(value: Any) -> Any:
    values = value if isinstance(value, list | tuple) else [value]
    return [_text(each) for each in values]


Name = Annotated[str, AfterValidator(_name)]
"""What an operator calls a target or a sink: safe as a metric's label and in a shell."""

Region = Annotated[str, AfterValidator(_region), _described(_REGION)]
"""An AWS region."""

Regions = Annotated[
    tuple[Annotated[str, AfterValidator(_region_or_auto)], ...],
    BeforeValidator(lambda value: [value] if value == AUTO else value),
    AfterValidator(_alone),
    WithJsonSchema(
        {
            "anyOf": [
                {"const": AUTO},
                {"type": "array", "items": {"type": "string", "pattern": f"^{_REGION.pattern}$"}},
            ]
        }
    ),
]
"""AWS regions, or `auto`."""

AccountId = Annotated[str, BeforeValidator(_text), AfterValidator(_account), _described(_ACCOUNT)]
"""An AWS account's twelve digits."""

Unit = Annotated[str, AfterValidator(_unit), _described(_UNIT)]
"""A root or an organizational unit of AWS Organizations."""

RoleName = Annotated[str, AfterValidator(_role_name), _described(_ROLE_NAME)]
"""The name of an IAM role, with its path if it has one."""

RoleArn = Annotated[str, AfterValidator(_role), _described(_ROLE)]
"""The ARN of an IAM role, in any partition."""

ExternalId = Annotated[SecretStr, AfterValidator(_external_id)]
"""An external ID of sts:AssumeRole, kept out of logs."""

ExternalIdFile = Annotated[SecretFile, AfterValidator(_external_id_file)]
"""The path of a file that holds one."""

Listen = Annotated[str, AfterValidator(_listen), _described(_LISTEN)]
"""Host and port, an IPv6 address in brackets."""

if TYPE_CHECKING:
    KindName = str
else:
    KindName = Literal[*sorted(KINDS)]

Level = Annotated[Literal["debug", "info", "warning", "error", "critical"], BeforeValidator(_lower)]
"""The severity of a log line, in small letters or capitals."""

Comparison = Annotated[str, BeforeValidator(_comparison)]
"""A comparison with a number of records, or with a share of them: `>0`, `>=100`, `>5%`."""

Patterns = Annotated[
    tuple[str, ...],
    Field(min_length=1),
    BeforeValidator(_listed),
    WithJsonSchema({"anyOf": [_ONE, {"type": "array", "items": _ONE, "minItems": 1}]}),
]
"""One glob pattern or several; a single text is a list of one."""


def _read_duration(value: Any) -> timedelta:
    if isinstance(value, timedelta):
        return value
    if not isinstance(value, str):
        raise ValueError(  # noqa: TRY004 - pydantic reports this one with the key
            f"{value!r} is not a duration; write a number with a unit, such as 30s, 2m, 6h or 3d"
        )
    return parse_duration(value.strip())


Duration = Annotated[
    timedelta,
    BeforeValidator(_read_duration),
    PlainSerializer(format_duration, return_type=str),
    WithJsonSchema({"type": "string", "pattern": f"^{PATTERN}$", "examples": ["30s", "2m", "6h"]}),
]


def _read_interval(value: Any) -> timedelta | None:
    if value == AUTO:
        return None
    try:
        interval = _read_duration(value)
    except ValueError as error:
        raise ValueError(f"{error}; or write {AUTO}") from None
    if interval < _SHORTEST_INTERVAL:
        raise ValueError(f"must be {AUTO}, or at least {format_duration(_SHORTEST_INTERVAL)}")
    return interval


Interval = Annotated[
    timedelta | None,
    BeforeValidator(_read_interval),
    PlainSerializer(lambda each: AUTO if each is None else format_duration(each), return_type=str),
    WithJsonSchema({"type": "string", "pattern": f"^({AUTO}|{PATTERN})$", "examples": [AUTO, "30s", "2m"]}),
]
"""A duration, or `auto`, which is `None`."""


def _read_share(value: Any) -> float:
    text = str(value).strip()
    try:
        share = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        share = -1.0
    if isinstance(value, bool) or not 0 < share <= 1:
        raise ValueError(f"{value!r} is not a share; write one such as 10%, above 0% and at most 100%")
    return share


Share = Annotated[
    float,
    BeforeValidator(_read_share),
    PlainSerializer(lambda share: f"{100 * share:g}%", return_type=str),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "pattern": r"^[0-9]+(\.[0-9]+)?%$", "examples": ["10%"]},
                {"type": "number", "exclusiveMinimum": 0, "maximum": 1},
            ]
        }
    ),
]
"""A part of something: `10%`, or 0.1."""


class Section(BaseModel):
    """A part of the configuration: unknown keys are errors, values do not change once read."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, use_attribute_docstrings=True, hide_input_in_errors=True
    )

    @model_validator(mode="before")
    @classmethod
    def _no_truth_as_number(cls, data: Any) -> Any:
        # Python counts True as 1, so `concurrency: true` would pass; as a text it is refused.
        if not isinstance(data, dict):
            return data
        numbers = {name for name, field in cls.model_fields.items() if field.annotation in {int, float}}
        return {
            key: str(value) if isinstance(value, bool) and key in numbers else value
            for key, value in data.items()
        }
