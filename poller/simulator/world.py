"""Where jobs come from: requests and tests submit them, and a `Workload` keeps submitting by itself.

Nothing ticks here: the arrivals of a workload are a function of the seed and of when a region was first asked
for, and are caught up with at the next request.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from poller.kinds import DEFAULT_KINDS, KINDS
from poller.simulator.jobs import SimJob, Store
from poller.simulator.lifecycles import (
    DEFAULT_TIMEOUT_HOURS,
    LIFE_CYCLES,
    Entry,
    Life,
    plan_life,
    scripted_life,
)
from poller.simulator.seeding import Dice

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from poller.kinds import Kind

HISTORY_SPAN = 10 * 24 * 3600.0
"""Seconds over which the ends of made-up past jobs are spread."""
SPREAD = 10.0
"""Seconds over which the submissions of made-up jobs are spread."""
_MOST_AT_ONCE = 10_000
"""The most arrivals that are made up for a time without requests."""
_NAMES = ("nightly-summaries", "catalog-embeddings", "support-tickets", "translations")
_PROFILES = frozenset({"apac", "au", "ca", "eu", "global", "jp", "us", "us-gov"})
"""What the ids of cross-region inference profiles begin with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """What is known of a job when it is submitted; the rest is made up from the seed.

    Args:
        script: The statuses it will enter, with the seconds after submission; not divided by the speed.
        visible_in: Seconds after submission from which lists show it. A Get shows it at once.
        request: The members of the request.
        fields: Members to add to, or replace in, every response that shows it.
    """

    model: str | None = None
    name: str | None = None
    token: str | None = None
    script: Sequence[tuple[str, float]] | None = None
    message: str | None = None
    visible_in: float = 0.0
    timeout_hours: int = DEFAULT_TIMEOUT_HOURS
    request: Mapping[str, Any] | None = None
    fields: Mapping[str, Any] | None = None


ANY = Submission()


class World:
    """The jobs of every account and region, and the rule by which new ones live.

    Args:
        seed: Decides everything that is made up.
        speed: How many times faster than the real service jobs live. A change applies to later submissions.
    """

    def __init__(self, seed: int, speed: float) -> None:
        self.seed = seed
        self.speed = speed
        self.store = Store()

    def submit(self, kind: Kind, account: str, region: str, at: int, submission: Submission = ANY) -> SimJob:
        """Submit one job at an instant, past or future, and put it on its shelf."""
        job = self.make(kind, account, region, submission, at=at, speed=self.speed)
        self.store.shelf(account, region, kind).add([job])
        return job

    def make(
        self,
        kind: Kind,
        account: str,
        region: str,
        submission: Submission = ANY,
        *,
        at: int = 0,
        ended: int | None = None,
        speed: float = 1.0,
    ) -> SimJob:
        """Make a job without putting it on its shelf, submitted `at` an instant or over by `ended`."""
        number = self.store.shelf(account, region, kind).next_number()
        dice = Dice(self.seed, account, region, kind.name, number)
        cycle = LIFE_CYCLES[kind.name]
        identifier = dice.identifier()
        model = submission.model or dice.pick(cycle.models)
        arn = kind.make_arn(
            identifier,
            account=account,
            region=region,
            partition=partition_of(region),
            model=model.rpartition("/")[2],
        )
        named = kind.name_path is not None
        name = (submission.name or f"{dice.pick(_NAMES)}-{number:05d}") if named else None
        life = self._life(kind, arn, model, submission, speed)
        if ended is not None:
            at = ended - life.entries[-1].at - life.touch
        return SimJob(
            kind=kind,
            arn=arn,
            account=account,
            region=region,
            model=model_arn(model, region, account),
            submitted=at - at % 1000 if cycle.whole_seconds else at,
            listed=at + round(submission.visible_in * 1000),
            entries=tuple(Entry(at + entry.at, entry.status) for entry in life.entries),
            name=name,
            token=submission.token if submission.request is not None else submission.token or dice.uuid(),
            message=submission.message or life.message,
            touch=life.touch,
            records=life.records,
            timeout_hours=submission.timeout_hours,
            request=submission.request,
            fields=submission.fields or {},
        )

    def _life(self, kind: Kind, arn: str, model: str, submission: Submission, speed: float) -> Life:
        if submission.script is not None:
            return scripted_life(kind, seed=self.seed, arn=arn, script=submission.script)
        hours = submission.timeout_hours
        return plan_life(kind, seed=self.seed, arn=arn, model=model, timeout_hours=hours, speed=speed)


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """What keeps every region that is asked for busy.

    Args:
        per_minute: New jobs a minute, of all kinds together.
        jobs: Jobs submitted in the first seconds.
        history: Jobs that had ended before.
        kinds: The kinds of the jobs.
    """

    per_minute: float = 20.0
    jobs: int = 10
    history: int = 40
    kinds: tuple[str, ...] = DEFAULT_KINDS


class Flow:
    """The workload of one region of one account, from its first request on."""

    def __init__(self, workload: Workload, world: World, account: str, region: str, now: int) -> None:
        self._world = world
        self._place = (account, region)
        self._gap = 60_000 / workload.per_minute if workload.per_minute > 0 else None
        self._next = float(now)
        self._arrivals = 0
        self._kinds = workload.kinds
        populate(
            world,
            account,
            region,
            now,
            jobs=workload.jobs,
            history=workload.history,
            kinds=workload.kinds,
        )

    def catch_up(self, now: int) -> None:
        """Submit what has arrived by now."""
        if self._gap is None:
            return
        self._next = max(self._next, now - _MOST_AT_ONCE * self._gap)
        while self._next <= now:
            dice = Dice(self._world.seed, "workload", *self._place, self._arrivals)
            self._world.submit(KINDS[dice.pick(self._kinds)], *self._place, int(self._next))
            self._arrivals += 1
            self._next += self._gap * dice.between(0.5, 1.5)


def populate(
    world: World,
    account: str,
    region: str,
    now: int,
    *,
    jobs: int,
    history: int,
    spread: float = SPREAD,
    kinds: Sequence[str] = DEFAULT_KINDS,
) -> list[SimJob]:
    """Make up `jobs` jobs submitted over the next `spread` seconds and `history` jobs that have ended.

    Returns:
        All of them, those of the past first.
    """
    made = []
    for number in range(history):
        dice = Dice(world.seed, "history", account, region, number)
        ended = now - round(dice.between(60, HISTORY_SPAN) * 1000)
        made.append(world.make(KINDS[dice.pick(kinds)], account, region, ended=ended))
    for number in range(jobs):
        dice = Dice(world.seed, "jobs", account, region, number)
        at = now + round(dice.between(0, spread) * 1000)
        made.append(world.make(KINDS[dice.pick(kinds)], account, region, at=at, speed=world.speed))
    for name in kinds:
        world.store.shelf(account, region, KINDS[name]).add([job for job in made if job.kind.name == name])
    return made


def partition_of(region: str) -> str:
    """Return the AWS partition a region belongs to."""
    if region.startswith("us-gov-"):
        return "aws-us-gov"
    return "aws-cn" if region.startswith("cn-") else "aws"


def model_arn(model: str, region: str, account: str) -> str:
    """Return the full ARN that responses show for a model given by its id."""
    if model.startswith("arn:"):
        return model
    prefix = f"arn:{partition_of(region)}:bedrock:{region}"
    if model.partition(".")[0] in _PROFILES:
        return f"{prefix}:{account}:inference-profile/{model}"
    return f"{prefix}::foundation-model/{model}"
