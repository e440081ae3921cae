"""What every sink's settings have in common. Each sink's own settings stand beside the sink."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from pydantic import AfterValidator, Field, SecretStr, ValidationInfo, field_validator

from poller.settings.types import Duration, Section
from poller.times import format_duration

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

_MAX = timedelta(hours=4)


def checked(check: Callable[[Any], object]) -> AfterValidator:
    """Make a validator that refuses what `check` raises ValueError for, and changes nothing.

    `check` gets each item of a list, each value of a mapping, and the text of a secret.
    """

    def validate(given: Any) -> Any:
        values = given.values() if isinstance(given, dict) else given if isinstance(given, list) else [given]
        for value in values:
            check(value.get_secret_value() if isinstance(value, SecretStr) else value)
        return given

    return AfterValidator(validate)


class RetrySettings(Section):
    """When to try again after a failure: exponential, with full jitter."""

    initial: Duration = Field(default=timedelta(seconds=5), gt=timedelta(0))
    """Ceiling of the first random wait; it doubles with every failure."""
    max: Duration = Field(
        default_factory=lambda data: max(_MAX, data.get("initial", _MAX)),
        gt=timedelta(0),
        json_schema_extra={"default": format_duration(_MAX)},
    )
    """Maximum of the ceiling."""
    give_up_after: Duration = Field(default=timedelta(hours=80), ge=timedelta(0))
    """Time from the first failure to the dead letter."""

    @field_validator("max")
    @classmethod
    def _ordered(cls, value: timedelta, info: ValidationInfo) -> timedelta:
        initial = info.data.get("initial", value)
        if value < initial:
            raise ValueError(f"is shorter than retry.initial ({format_duration(initial)}); make it longer")
        return value


class SinkSettings(Section):
    """The settings every sink has; a sink's own class adds `type: Literal["…"]` and its own."""

    type: str
    """Which sink this is."""
    timeout: Duration = Field(default=timedelta(seconds=10), gt=timedelta(0), le=timedelta(minutes=10))
    """Deadline of one attempt, from name resolution to the end of the answer."""
    concurrency: int = Field(default=8, ge=1, le=256)
    """Sends under way at the same time. Events of one job are sent one by one."""
    retry: RetrySettings = Field(default_factory=RetrySettings)
    """When to try again."""

    def permissions(self) -> Mapping[str, Sequence[str]]:
        """The IAM actions that sending needs, each with its resources; none but for AWS services."""
        return {}
