"""What every sink's settings have in common. Each sink's own settings stand beside the sink."""

from __future__ import annotations

from datetime import timedelta

from pydantic import BaseModel, ConfigDict, Field, model_validator

from poller.settings.durations import Duration


class Section(BaseModel):
    """A part of the configuration: unknown keys are errors, values do not change once read."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, use_attribute_docstrings=True, hide_input_in_errors=True
    )


class RetrySettings(Section):
    """When to try again after a failure: exponential, with full jitter."""

    initial: Duration = Field(default=timedelta(seconds=5), gt=timedelta(0))
    """The ceiling of the first wait; it doubles with every failure."""
    max: Duration = Field(default=timedelta(hours=4), gt=timedelta(0))
    """The ceiling never grows beyond this."""
    give_up_after: Duration = Field(default=timedelta(hours=80), ge=timedelta(0))
    """From the first failure to the dead letter. The default outlasts a weekend and a holiday."""

    @model_validator(mode="after")
    def _ordered(self) -> RetrySettings:
        if self.initial > self.max:
            raise ValueError("retry.initial is longer than retry.max")
        return self


class SinkSettings(Section):
    """The settings every sink has; a sink's own class adds `type: Literal["…"]` and its own."""

    type: str
    """Which sink this is."""
    timeout: Duration = Field(default=timedelta(seconds=10), gt=timedelta(0), le=timedelta(minutes=10))
    """The total deadline of one attempt, from name resolution to the end of the answer."""
    concurrency: int = Field(default=8, ge=1, le=256)
    """How many sends may be under way at once. Events of one job never are."""
    retry: RetrySettings = Field(default_factory=RetrySettings)
    """When to try again."""
