"""Options that several commands share: their types, and how their values are read."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Annotated

import typer

from poller.cli.context import Context
from poller.times import parse_duration, parse_moment


class Output(StrEnum):
    """How rows are printed."""

    TABLE = "table"
    JSON = "json"


class State(StrEnum):
    """What became of a delivery."""

    PENDING = "pending"
    DONE = "done"
    DEAD = "dead"
    DROPPED = "dropped"


def duration(value: str | timedelta) -> timedelta:
    """Read a duration.

    Raises:
        typer.BadParameter: It is not a duration.
    """
    try:
        return value if isinstance(value, timedelta) else parse_duration(value)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error


def moment(value: str | datetime) -> datetime:
    """Read a point in time, or a duration ago.

    Raises:
        typer.BadParameter: It is neither.
    """
    try:
        return value if isinstance(value, datetime) else parse_moment(value, datetime.now(UTC))
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error


def context_of(context: typer.Context) -> Context:
    """What the global options say."""
    found = context.obj
    assert isinstance(found, Context)  # noqa: S101 - set by the program's callback
    return found


JOB_HELP = "Its ARN, its id of 12 characters, or an end of its ARN that no other job has."
"""How a job can be named."""

LARGEST_ID = 2**63 - 1
"""The largest id that a delivery can have."""

OutputOption = Annotated[Output, typer.Option("--output", help="A table for people, or JSON for programs.")]
LimitOption = Annotated[int, typer.Option("--limit", min=1, max=1_000_000, help="Maximum number of rows.")]
