"""Judges a run by what the simulator knows and what the receivers got, and trusts nobody in between.

The daemon's own word counts in one place only, and against it: an event that was ever seen in its store must
have been delivered. Everything else is compared with the lives that the simulator really gave to its jobs.
"""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

STATUS_CHANGED = "bedrock-poller.job.status_changed"


@dataclass(frozen=True, slots=True)
class Life:
    """What a job has been through, by the simulator's word.

    Args:
        arn: The job.
        statuses: Every status it entered, in order; none twice.
        silent: How many of them it had entered when the baseline was made; 0 for a job that came later.
    """

    arn: str
    statuses: tuple[str, ...]
    silent: int = 0


@dataclass(frozen=True, slots=True)
class Copy:
    """One arrival of an event at a sink.

    Args:
        sink: Where it arrived.
        id: Its id, by the `webhook-id` header where there is one.
        body: Exactly what arrived.
        taken: Whether the receiver said 2xx; what it refused may come again, and has to.
        signed: Whether the signature was right.
        sender: Which replica sent it; empty if nobody asked.
        at: When it had arrived, in seconds since the epoch.
    """

    sink: str
    id: str
    body: bytes
    taken: bool = True
    signed: bool = True
    sender: str = ""
    at: float = 0.0


class Told(NamedTuple):
    """What an event says."""

    id: str
    type: str
    arn: str
    status: str
    previous: str | None

    @property
    def happening(self) -> tuple[str, str, str]:
        """What it is about, whatever its id."""
        return (self.arn, self.type, self.status)


def read(body: bytes) -> Told:
    """Read an event's body.

    Raises:
        ValueError: It is no event.
    """
    try:
        event = json.loads(body)
        data = event["data"]
        return Told(event["id"], event["type"], data["job_arn"], data["status"], data["previous_status"])
    except (KeyError, TypeError) as error:
        raise ValueError(f"not an event: {error!r}") from error


@dataclass(frozen=True, slots=True)
class Violations:
    """What was found, a sentence each."""

    lost: tuple[str, ...] = ()
    phantom: tuple[str, ...] = ()
    altered: tuple[str, ...] = ()
    disordered: tuple[str, ...] = ()

    @property
    def all(self) -> tuple[str, ...]:
        """Every sentence, with its kind before it."""
        kinds = ("lost", "phantom", "altered", "disordered")
        return tuple(f"{kind}: {what}" for kind in kinds for what in getattr(self, kind))


@dataclass(frozen=True, slots=True)
class Verdict:
    """How a run ended.

    Args:
        violations: What was wrong.
        events: Different events that arrived anywhere.
        copies: Arrivals beyond the first of each event at each sink.
        kills: How often the daemon was killed or told to stop.
        faults: How many other faults were injected.
        fresh: Seconds until a transition minted after the faults had reached every sink; `None` for never.
        seed: What repeats it.
    """

    violations: Violations
    events: int
    copies: int
    kills: int = 0
    faults: int = 0
    fresh: float | None = None
    seed: int = 0

    @property
    def clean(self) -> bool:
        """Whether nothing was wrong, something happened at all, and the fresh transition passed."""
        return not self.violations.all and self.events > 0 and self.fresh is not None

    @property
    def line(self) -> str:
        """For people and scripts."""
        found = self.violations
        fresh = "never" if self.fresh is None else f"{self.fresh:.1f}s"
        return (
            f"chaos: kills={self.kills} faults={self.faults} events={self.events} copies={self.copies} "
            f"lost={len(found.lost)} phantom={len(found.phantom)} altered={len(found.altered)} "
            f"disordered={len(found.disordered)} fresh={fresh} seed={self.seed}"
        )


@dataclass
class Evidence:
    """What a run left behind.

    Args:
        lives: Every job of the simulator.
        copies: Every arrival, in the order of arrival at each sink.
        recorded: The bodies of all events that were ever seen in the store, by id; `None` if nobody looked.
        owed: The sinks that an event about a status is owed to.
    """

    lives: Iterable[Life]
    copies: Sequence[Copy]
    recorded: Mapping[str, bytes] | None
    owed: Callable[[str], Iterable[str]]
    _lives: dict[str, Life] = field(init=False)
    _told: list[tuple[Copy, Told]] = field(init=False, default_factory=list)
    _unreadable: list[str] = field(init=False, default_factory=list)

    def __post_init__(self) -> None:
        self._lives = {life.arn: life for life in self.lives}
        for life in self._lives.values():
            if len(set(life.statuses)) != len(life.statuses):
                raise ValueError(f"the oracle cannot tell two entries of one status apart: {life}")
        for copy in self.copies:
            try:
                self._told.append((copy, read(copy.body)))
            except ValueError as error:
                self._unreadable.append(f"{copy.sink} got {copy.body[:80]!r}: {error}")

    def judge(self) -> Violations:
        """Find everything that breaks a promise."""
        return Violations(
            lost=tuple(self._lost()),
            phantom=tuple(self._phantom()),
            altered=tuple(self._altered()),
            disordered=tuple(self._disordered()),
        )

    def verdict(
        self, *, kills: int = 0, faults: int = 0, fresh: float | None = None, seed: int = 0
    ) -> Verdict:
        """Judge, and count."""
        firsts = {(copy.sink, copy.id) for copy in self.copies}
        return Verdict(
            violations=self.judge(),
            events=len({copy.id for copy in self.copies}),
            copies=len(self.copies) - len(firsts),
            kills=kills,
            faults=faults,
            fresh=fresh,
            seed=seed,
        )

    def _lost(self) -> Iterable[str]:
        taken = {(copy.sink, told.happening) for copy, told in self._told if copy.taken}
        # The present status stays, so that no poll after the faults can have missed it.
        due = {
            (life.arn, STATUS_CHANGED, life.statuses[-1])
            for life in self._lives.values()
            if len(life.statuses) > life.silent
        }
        # What was between two polls may be skipped, but not if the store has it.
        due |= {read(body).happening for body in (self.recorded or {}).values()}
        for happening in sorted(due):
            for sink in sorted(self.owed(happening[2])):
                if (sink, happening) not in taken:
                    yield f"{happening[0]} {happening[2]} never reached {sink}"

    def _phantom(self) -> Iterable[str]:
        yield from self._unreadable
        seen = {("the store", told) for told in map(read, (self.recorded or {}).values())}
        seen |= {(copy.sink, told) for copy, told in self._told}
        for where, told in sorted(seen, key=str):
            why = self._impossible(told)
            if why is None and where != "the store" and where not in self.owed(told.status):
                why = "that sink was never to get it"
            if why is None and self.recorded is not None and told.id not in self.recorded:
                why = "it was sent before it was recorded"
            if why is not None:
                yield f"{told.arn} {told.previous} -> {told.status} in {where}: {why}"

    def _impossible(self, told: Told) -> str | None:
        life = self._lives.get(told.arn)
        if life is None:
            return "there is no such job"
        if told.type != STATUS_CHANGED:
            return f"a {told.type}, and no job ever disappeared"
        if told.status not in life.statuses:
            return f"its life was {life.statuses}"
        place = life.statuses.index(told.status)
        if place < life.silent:
            return "that was before the baseline"
        before = (*life.statuses[:place], *(() if life.silent else (None,)))
        return None if told.previous in before else "that was not its status before"

    def _altered(self) -> Iterable[str]:
        bodies: dict[str, set[bytes]] = defaultdict(set)
        ids: dict[tuple[str, str, str], set[str]] = defaultdict(set)
        for one, body in (self.recorded or {}).items():
            bodies[one].add(body)
            ids[read(body).happening].add(one)
        for copy, told in self._told:
            bodies[copy.id].add(copy.body)
            ids[told.happening] |= {copy.id, told.id}
            if not copy.signed:
                yield f"{copy.id} at {copy.sink}: the signature is wrong"
        yield from (
            f"{one} has {len(found)} bodies" for one, found in sorted(bodies.items()) if len(found) > 1
        )
        yield from (
            f"{what} has the ids {sorted(found)}" for what, found in sorted(ids.items()) if len(found) > 1
        )

    def _disordered(self) -> Iterable[str]:
        furthest: dict[tuple[str, str], int] = {}
        seen: set[tuple[str, str]] = set()
        for copy, told in self._told:
            life = self._lives.get(told.arn)
            if (copy.sink, copy.id) in seen or life is None or told.status not in life.statuses:
                continue
            seen.add((copy.sink, copy.id))
            place = life.statuses.index(told.status)
            before = furthest.setdefault((copy.sink, told.arn), place)
            if place < before:
                yield f"{told.arn} at {copy.sink}: {told.status} after {life.statuses[before]}"
            furthest[copy.sink, told.arn] = max(place, before)
