"""What becomes of a job, decided when it is submitted.

A life cycle is a pure function of the seed and the job's ARN: a list of statuses with the time each is
entered, the record counts, a message, and how long after the end the modification time still moves. Nothing
has to tick; a job's status at any instant is looked up. Durations are those of the real service (embeddings
take seconds, videos minutes, batch jobs minutes to days), divided by a speed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from poller.simulator.seeding import Dice

if TYPE_CHECKING:
    from collections.abc import Sequence

ASYNC_INVOKE = "async_invoke"
MODEL_INVOCATION_JOB = "model_invocation_job"

TERMINAL = {
    ASYNC_INVOKE: frozenset({"Completed", "Failed"}),
    MODEL_INVOCATION_JOB: frozenset({"Completed", "PartiallyCompleted", "Failed", "Stopped", "Expired"}),
}

# Seconds an asynchronous invocation of each model takes.
ASYNC_MODELS = {
    "twelvelabs.marengo-embed-2-7-v1:0": (5.0, 60.0),
    "luma.ray-v2:0": (60.0, 300.0),
    "amazon.nova-reel-v1:1": (90.0, 1020.0),
}
BATCH_MODELS = (
    "amazon.nova-lite-v1:0",
    "amazon.titan-embed-text-v2:0",
    "anthropic.claude-3-5-haiku-20241022-v1:0",
    "meta.llama3-3-70b-instruct-v1:0",
)
DEFAULT_TIMEOUT_HOURS = 24

_ASYNC_FAILURES = (
    "The model could not generate output that passes the content filters.",
    "Amazon Bedrock does not have access to the output S3 bucket.",
    "The model encountered an unexpected error. Try the request again.",
)
_VALIDATION_FAILURES = (
    "Batch job contains less records (12) than the required minimum of: 100",
    "The provided role does not have permission to read the input S3 location.",
    "Record 17 of the input file is not valid JSON.",
)
_RUN_FAILURES = (
    "The job failed because of an internal error.",
    "The provided role does not have permission to write to the output S3 location.",
)
_MESSAGES = {
    "Failed": "The job failed.",
    "Expired": "The job did not begin before its timeout.",
    "PartiallyCompleted": "The job reached its timeout before every record was processed.",
}
# How a batch job ends. "Invalid" is Failed in validation.
_BATCH_ENDS = {
    "Invalid": 0.10,
    "Expired": 0.04,
    "PartiallyCompleted": 0.05,
    "Failed": 0.06,
    "Stopped": 0.04,
    "Completed": 0.71,
}
# The share of a batch job's records that fail: from, to, and how likely that is. Such a job may be Completed.
_ERROR_SHARES = {(1.0, 1.0): 0.03, (0.01, 0.3): 0.17, (0.0, 0.0): 0.80}
_UNSCRIPTED_RUN = 600_000  # milliseconds a job that never leaves InProgress would take to process its records


class Entry(NamedTuple):
    """A status and the millisecond it is entered: since submission in a life cycle, since 1970 in a job."""

    at: int
    status: str


@dataclass(frozen=True, slots=True)
class RecordPlan:
    """A batch job's records.

    Args:
        total: How many there are.
        reached: The share that has been processed when the job ends.
        errors: The share of the processed ones that failed.
        running: Milliseconds in progress until `reached` is reached.
        early: Whether the counts are shown (as zero) before the job has been validated.
    """

    total: int
    reached: float
    errors: float
    running: int
    early: bool


@dataclass(frozen=True, slots=True)
class LifeCycle:
    """A job's whole life, relative to its submission.

    Args:
        entries: Every status it will enter, the first at 0.
        message: Why it failed, if it does.
        touch: Milliseconds after the end at which the modification time moves once more; 0 for never.
        records: The record counts; `None` for a job that never shows any.
    """

    entries: tuple[Entry, ...]
    message: str | None = None
    touch: int = 0
    records: RecordPlan | None = None


def async_invocation(seed: int, arn: str, model: str, speed: float) -> LifeCycle:
    """The life of an asynchronous invocation."""
    dice = Dice(seed, arn)
    low, high = next((span for name, span in ASYNC_MODELS.items() if name in model), (20.0, 300.0))
    failed = dice.chance(0.12)
    end = dice.stretch(low, high) * (0.4 if failed else 1.0)
    entries = _entries([("InProgress", 0.0), ("Failed" if failed else "Completed", end)], speed)
    touch = _ms(dice.between(5, 40), speed) if dice.chance(0.6) else 0
    return LifeCycle(entries, dice.pick(_ASYNC_FAILURES) if failed else None, touch)


def batch_job(seed: int, arn: str, timeout_hours: int, speed: float) -> LifeCycle:
    """The life of a batch inference job."""
    dice = Dice(seed, arn)
    deadline = timeout_hours * 3600.0
    validating = dice.between(1, 12)
    validated = validating + dice.stretch(35, 300)
    begun = validated + dice.stretch(10, 900)
    ended = begun + dice.stretch(120, 10_800)
    steps = [("Submitted", 0.0), ("Validating", validating), ("Scheduled", validated), ("InProgress", begun)]
    message, reached, end = None, 1.0, dice.choose(_BATCH_ENDS)
    if end == "Invalid":
        steps = [*steps[:2], ("Failed", validated)]
        message = dice.pick(_VALIDATION_FAILURES)
    elif end == "Expired":
        steps = [*steps[:3], ("Expired", deadline)]
        message = _MESSAGES["Expired"]
    elif end == "PartiallyCompleted":
        steps.append(("PartiallyCompleted", deadline))
        message, reached = _MESSAGES["PartiallyCompleted"], dice.between(0.2, 0.98)
    elif end == "Failed":
        steps.append(("Failed", ended))
        message, reached = dice.pick(_RUN_FAILURES), dice.between(0.1, 0.9)
    elif end == "Stopped":
        steps += [("Stopping", ended), ("Stopped", ended + dice.between(10, 60))]
        reached = dice.between(0.1, 0.9)
    else:
        steps.append(("Completed", ended))
    entries = _entries(steps, speed)
    records = None if dice.chance(0.2) else _records(dice, entries, reached)
    touch = _ms(dice.between(1, 10), speed) if dice.chance(0.3) else 0
    return LifeCycle(entries, message, touch, records)


def scripted(seed: int, arn: str, kind: str, script: Sequence[tuple[str, float]]) -> LifeCycle:
    """The life that a test wrote: pairs of a status and the seconds after submission at which it is entered.

    Raises:
        ValueError: The script is empty, does not begin at 0, or goes back in time.
    """
    times = [seconds for _, seconds in script]
    if not times or times[0] != 0 or times != sorted(times):
        raise ValueError("a script is (status, seconds after submission) pairs, the first at 0, in order")
    entries = _entries(script, 1.0)
    records = None
    if kind == MODEL_INVOCATION_JOB:
        records = _records(Dice(seed, arn), entries, 0.5 if script[-1][0] == "PartiallyCompleted" else 1.0)
    return LifeCycle(
        entries, next((_MESSAGES[status] for status, _ in script if status in _MESSAGES), None), 0, records
    )


def stopping(seed: int, arn: str, speed: float) -> int:
    """Milliseconds a batch job takes from Stopping to Stopped."""
    return _ms(Dice(seed, arn, "stop").between(10, 60), speed)


def default_message(status: str) -> str | None:
    """What the service says of a job that was moved to `status` by hand."""
    return _MESSAGES.get(status)


def _records(dice: Dice, entries: Sequence[Entry], reached: float) -> RecordPlan:
    begun = next((index for index, entry in enumerate(entries) if entry.status == "InProgress"), None)
    running = _UNSCRIPTED_RUN
    if begun is not None and begun + 1 < len(entries):
        running = max(1, entries[begun + 1].at - entries[begun].at)
    errors = dice.between(*dice.choose(_ERROR_SHARES))
    return RecordPlan(int(dice.stretch(100, 50_000)), reached, errors, running, dice.chance(0.5))


def _entries(steps: Sequence[tuple[str, float]], speed: float) -> tuple[Entry, ...]:
    return tuple(Entry(_ms(seconds, speed), status) for status, seconds in steps)


def _ms(seconds: float, speed: float) -> int:
    return round(seconds * 1000 / speed)
