"""Where jobs come from: submission, for the operations, for tests and for workloads alike."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from poller.simulator import lifecycles
from poller.simulator.jobs import SimJob, Store, job_arn, model_arn
from poller.simulator.lifecycles import ASYNC_INVOKE, ASYNC_MODELS, BATCH_MODELS, Entry, LifeCycle
from poller.simulator.seeding import Dice

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_NAMES = ("nightly-summaries", "catalog-embeddings", "support-tickets", "translations")


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """What is known of a job when it is submitted; what is left out is made up from the seed.

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
    timeout_hours: int = lifecycles.DEFAULT_TIMEOUT_HOURS
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

    def submit(self, kind: str, account: str, region: str, at: int, submission: Submission = ANY) -> SimJob:
        """Submit one job at an instant, past or future, and put it on its shelf."""
        job = self.make(kind, account, region, submission, at=at, speed=self.speed)
        self.store.shelf(account, region, kind).add([job])
        return job

    def make(
        self,
        kind: str,
        account: str,
        region: str,
        submission: Submission = ANY,
        *,
        at: int = 0,
        ended: int | None = None,
        speed: float = 1.0,
    ) -> SimJob:
        """A job that is on no shelf yet, submitted `at` an instant or so that its life is over by `ended`."""
        number = self.store.shelf(account, region, kind).next_number()
        dice = Dice(self.seed, account, region, kind, number)
        arn = job_arn(kind, region, account, dice.identifier())
        is_async = kind == ASYNC_INVOKE
        model = submission.model or dice.pick(tuple(ASYNC_MODELS) if is_async else BATCH_MODELS)
        name = None if is_async else submission.name or f"{dice.pick(_NAMES)}-{number:05d}"
        life = self._life(kind, arn, model, submission, speed)
        if ended is not None:
            at = ended - life.entries[-1].at - life.touch
        submitted = at - at % 1000 if is_async else at  # asynchronous invocations know whole seconds only
        return SimJob(
            kind=kind,
            arn=arn,
            account=account,
            region=region,
            model=model_arn(kind, model, region, account),
            submitted=submitted,
            listed=at + round(submission.visible_in * 1000),
            entries=tuple(Entry(at + entry.at, entry.status) for entry in life.entries),
            name=name,
            token=submission.token if submission.request is not None else submission.token or dice.uuid(),
            message=submission.message or life.message,
            touch=life.touch,
            records=life.records,
            request=submission.request,
            fields=submission.fields or {},
        )

    def _life(self, kind: str, arn: str, model: str, submission: Submission, speed: float) -> LifeCycle:
        if submission.script is not None:
            return lifecycles.scripted(self.seed, arn, kind, submission.script)
        if kind == ASYNC_INVOKE:
            return lifecycles.async_invocation(self.seed, arn, model, speed)
        return lifecycles.batch_job(self.seed, arn, submission.timeout_hours, speed)
