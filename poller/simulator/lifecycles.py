"""How the jobs of each kind live in the simulator: one `LifeCycle` per kind, in `LIFE_CYCLES`.

A job's life is decided when it is submitted, as a pure function of the seed and the job's ARN: the statuses
with the time of each, the record counts, a message, and one last modification after the end. So nothing has
to tick: a job's status at any instant is looked up. Durations are those of the real service (embeddings take
seconds, videos minutes, batch jobs minutes to days), divided by a speed.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from poller.simulator.seeding import Dice

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from poller.kinds import Kind

DEFAULT_TIMEOUT_HOURS = 24

_MESSAGES = {
    "Failed": "The job failed.",
    "Expired": "The job did not begin before its timeout.",
    "PartiallyCompleted": "The job reached its timeout before every record was processed.",
}
"""The message of a job that a test moved to a status."""
_WITHOUT_COUNTS = 0.2
"""The share of jobs that never show record counts, of a kind that has them."""
_ERROR_SHARES = {(1.0, 1.0): 0.03, (0.01, 0.3): 0.17, (0.0, 0.0): 0.80}
"""The share of a job's records that fail, as a range, and how likely it is. Such a job may be Completed."""
_UNSCRIPTED_RUN = 600_000
"""Milliseconds in which a job that never leaves InProgress would process its records."""


class Course(NamedTuple):
    """What becomes of a job.

    Args:
        steps: Every status it enters, with the seconds since submission at real speed; the first at 0.
        message: Why it failed, if it does.
        reached: The share of its records that is processed when it ends.
    """

    steps: Sequence[tuple[str, float]]
    message: str | None = None
    reached: float = 1.0


Members: TypeAlias = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class LifeCycle:
    """How the simulator treats the jobs of one kind.

    Args:
        models: The models of made-up jobs.
        decide: Decides what becomes of a job, from dice, its model, and its timeout in seconds.
        request: Returns the request of a job that no request made, from its name, its bucket and its role.
        touched: The chance that a job is modified once more after its end, and after how many seconds.
        whole_seconds: The service knows the times of these jobs to the second, not to the millisecond.
        defaults: Members of the request that the service fills in.
        renamed: Members of the request that responses show under another name too.
    """

    models: tuple[str, ...]
    decide: Callable[[Dice, str, float], Course]
    request: Callable[[str | None, str, str], Members]
    touched: tuple[float, float, float] = (0.3, 1, 10)
    whole_seconds: bool = False
    defaults: Mapping[str, Any] = field(default_factory=dict)
    renamed: Mapping[str, str] = field(default_factory=dict)


# Asynchronous invocations.

_ASYNC_SECONDS = {
    "twelvelabs.marengo-embed-2-7-v1:0": (5.0, 60.0),
    "luma.ray-v2:0": (60.0, 300.0),
    "amazon.nova-reel-v1:1": (90.0, 1020.0),
}
"""Seconds an invocation of each model takes, from and to."""
_ASYNC_FAILURES = (
    "The model could not generate output that passes the content filters.",
    "Amazon Bedrock does not have access to the output S3 bucket.",
    "The model encountered an unexpected error. Try the request again.",
)


def _async_invocation(dice: Dice, model: str, _timeout: float) -> Course:
    low, high = next((span for name, span in _ASYNC_SECONDS.items() if name in model), (20.0, 300.0))
    failed = dice.chance(0.12)
    ended = dice.stretch(low, high)
    if failed:
        return Course([("InProgress", 0.0), ("Failed", ended * 0.4)], dice.pick(_ASYNC_FAILURES))
    return Course([("InProgress", 0.0), ("Completed", ended)])


def _async_request(_name: str | None, bucket: str, _role: str) -> Members:
    return {"outputDataConfig": {"s3OutputDataConfig": {"s3Uri": f"{bucket}/videos"}}}


# Batch inference jobs.

_VALIDATION_FAILURES = (
    "Batch job contains less records (12) than the required minimum of: 100",
    "The provided role does not have permission to read the input S3 location.",
    "Record 17 of the input file is not valid JSON.",
)
_RUN_FAILURES = (
    "The job failed because of an internal error.",
    "The provided role does not have permission to write to the output S3 location.",
)
_BATCH_ENDS = {
    "Invalid": 0.10,
    "Expired": 0.04,
    "PartiallyCompleted": 0.05,
    "Failed": 0.06,
    "Stopped": 0.04,
    "Completed": 0.71,
}
"""How a batch job ends, and how likely that is. "Invalid" is Failed while validating."""


def _batch_job(dice: Dice, _model: str, timeout: float) -> Course:
    validating = dice.between(1, 12)
    validated = validating + dice.stretch(35, 300)
    begun = validated + dice.stretch(10, 900)
    ended = begun + dice.stretch(120, 10_800)
    steps = [("Submitted", 0.0), ("Validating", validating), ("Scheduled", validated), ("InProgress", begun)]
    match dice.choose(_BATCH_ENDS):
        case "Invalid":
            return Course([*steps[:2], ("Failed", validated)], dice.pick(_VALIDATION_FAILURES))
        case "Expired":
            return Course([*steps[:3], ("Expired", timeout)], _MESSAGES["Expired"])
        case "PartiallyCompleted" as end:
            return Course([*steps, (end, timeout)], _MESSAGES[end], dice.between(0.2, 0.98))
        case "Failed" as end:
            return Course([*steps, (end, ended)], dice.pick(_RUN_FAILURES), dice.between(0.1, 0.9))
        case "Stopped" as end:
            stopped = ended + dice.between(10, 60)
            return Course([*steps, ("Stopping", ended), (end, stopped)], None, dice.between(0.1, 0.9))
        case end:
            return Course([*steps, (end, ended)])


def _batch_request(name: str | None, bucket: str, role: str) -> Members:
    return {
        "roleArn": role,
        "inputDataConfig": {
            "s3InputDataConfig": {"s3InputFormat": "JSONL", "s3Uri": f"{bucket}/in/{name}.jsonl"}
        },
        "outputDataConfig": {"s3OutputDataConfig": {"s3Uri": f"{bucket}/out/"}},
    }


LIFE_CYCLES: Mapping[str, LifeCycle] = {
    "async_invoke": LifeCycle(
        models=tuple(_ASYNC_SECONDS),
        decide=_async_invocation,
        request=_async_request,
        touched=(0.6, 5, 40),
        whole_seconds=True,
    ),
    "model_invocation_job": LifeCycle(
        models=(
            "amazon.nova-lite-v1:0",
            "amazon.titan-embed-text-v2:0",
            "anthropic.claude-3-5-haiku-20241022-v1:0",
            "meta.llama3-3-70b-instruct-v1:0",
        ),
        decide=_batch_job,
        request=_batch_request,
    ),
}
"""One for each kind, by its name."""


# The life of one job, of any kind.


class Entry(NamedTuple):
    """A status and the millisecond it is entered: since submission in a `Life`, since 1970 in a job."""

    at: int
    status: str


@dataclass(frozen=True, slots=True)
class RecordPlan:
    """The records of a job.

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
class Life:
    """A job's whole life, relative to its submission.

    Args:
        entries: Every status it will enter, the first at 0.
        message: Why it failed, if it does.
        touch: Milliseconds after the end at which the job is modified once more; 0 for never.
        records: The record counts; `None` for a job that never shows any.
    """

    entries: tuple[Entry, ...]
    message: str | None = None
    touch: int = 0
    records: RecordPlan | None = None


def plan_life(kind: Kind, *, seed: int, arn: str, model: str, timeout_hours: int, speed: float) -> Life:
    """Decide the life of a job."""
    cycle = LIFE_CYCLES[kind.name]
    dice = Dice(seed, arn)
    course = cycle.decide(dice, model, timeout_hours * 3600.0)
    entries = _entries(course.steps, speed)
    counted = kind.records is not None and not dice.chance(_WITHOUT_COUNTS)
    records = _records(dice, entries, course.reached) if counted else None
    chance, soonest, latest = cycle.touched
    touch = _ms(dice.between(soonest, latest), speed) if dice.chance(chance) else 0
    return Life(entries, course.message, touch, records)


def scripted_life(kind: Kind, *, seed: int, arn: str, script: Sequence[tuple[str, float]]) -> Life:
    """Return the life that a test wrote, as pairs of a status and its seconds after submission.

    Raises:
        ValueError: The script is empty, does not begin at 0, or goes back in time.
    """
    times = [seconds for _, seconds in script]
    if not times or times[0] != 0 or times != sorted(times):
        raise ValueError("a script is (status, seconds after submission) pairs, the first at 0, in order")
    entries = _entries(script, 1.0)
    reached = 0.5 if script[-1][0] == "PartiallyCompleted" else 1.0
    records = _records(Dice(seed, arn), entries, reached) if kind.records is not None else None
    message = next((_MESSAGES[status] for status, _ in script if status in _MESSAGES), None)
    return Life(entries, message, 0, records)


def stopping(seed: int, arn: str, speed: float) -> int:
    """Milliseconds a job takes from Stopping to Stopped."""
    return _ms(Dice(seed, arn, "stop").between(10, 60), speed)


def default_message(status: str) -> str | None:
    """The message of a job that a test moved to `status`."""
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
