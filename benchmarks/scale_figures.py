"""What a run of replicas comes to: figures from what was seen before and after, and the verdict."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmarks.table import percentile

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

JITTER = 0.1
"""Two polls of a target are due this part of the interval earlier or later than it says."""
SCALING = 3.0
"""How much more four replicas have to poll than one, where it is the service that is waited for."""


@dataclass(frozen=True, slots=True)
class Figures:
    """What so many replicas did in the window that was measured.

    Args:
        replicas: How many.
        targets: How many targets they polled.
        interval: The configured one, in seconds.
        seconds: The length of the window.
        polls: Polls that ended in it.
        late_half: The median of how late polls began, in seconds.
        late_most: The 99th percentile of the same.
        gaps: Seconds between two polls of a target, as the service saw them.
        twice: Polls that began less than nine tenths of an interval after the one before, since the start.
        watched: Whether the claims were looked at so often that `twice` can be believed.
        unpolled: Targets that the service did not see in the window and the interval before.
        failures: Polls that failed.
        claim: Mean milliseconds of the statement that claims, in the database.
        claims: How many of them each poll took.
        connections: The most that there were at once.
        database: Processor seconds of PostgreSQL a minute.
        log: Bytes of its log for each poll.
        processor: Processor seconds a minute of each replica.
        memory: Megabytes of each replica.
        machine: The part of all cores that was busy, by whomever.
        others: The part that was busy with what is no part of this.
        statements: How often each statement ran for each poll, and its mean milliseconds.
    """

    replicas: int
    targets: int
    interval: float
    seconds: float
    polls: float
    late_half: float
    late_most: float
    gaps: Sequence[float]
    twice: int
    watched: bool
    unpolled: int
    failures: float
    claim: float
    claims: float
    connections: int
    database: float
    log: float
    processor: Sequence[float]
    memory: Sequence[float]
    machine: float
    others: float
    statements: Mapping[str, tuple[float, float]]

    @property
    def rate(self) -> float:
        """Polls a second."""
        return self.polls / self.seconds

    @property
    def faults(self) -> list[str]:
        """What must not be, however fast the machine is."""
        found = []
        if self.twice and self.watched:
            found.append(f"{self.twice} polls too early")
        if self.unpolled:
            found.append(f"{self.unpolled} targets not polled")
        if self.failures:
            found.append(f"{self.failures:.0f} polls failed")
        return found

    @property
    def punctual(self) -> bool:
        """Whether nearly all polls begin within a tenth of the interval after they are due."""
        return self.late_most <= self.interval * JITTER

    def cells(self) -> dict[str, str]:
        """The figures by what they are called in the table."""
        minutes = self.seconds / 60
        core = sum(self.processor) * minutes / self.polls * 1000 if self.polls else math.nan
        return {
            "polls a second": f"{self.rate:.1f}",
            "lateness p50 / p99, s": f"{self.late_half:.2f} / {self.late_most:.2f}",
            "gap at the service p50 / p99 / max, s": " / ".join(
                f"{value:.1f}"
                for value in (*_percentiles(self.gaps, 0.5, 0.99), max(self.gaps, default=math.nan))
            ),
            "polled twice in an interval": str(self.twice)
            if self.watched
            else "the machine was too slow to see",
            "failed, or never polled": f"{self.failures:.0f}, {self.unpolled}",
            "claim statement, mean ms": f"{self.claim:.3f}",
            "claims for each poll": f"{self.claims:.2f}",
            "database connections": str(self.connections),
            "PostgreSQL, CPU s a minute": f"{self.database:.1f}",
            "PostgreSQL, CPU ms for each poll": f"{self.database * minutes / self.polls * 1000:.2f}",
            "PostgreSQL, log for each poll, bytes": f"{self.log:.0f}",
            "each replica, CPU s a minute": _range(self.processor),
            "all replicas, CPU ms for each poll": f"{core:.2f}",
            "each replica, memory, MB": _range(self.memory),
            "machine busy, of that with others": f"{self.machine:.0%}, {self.others:.0%}",
        }


def _percentiles(values: Sequence[float], *shares: float) -> list[float]:
    return [percentile(values, share) if values else math.nan for share in shares]


def _range(values: Sequence[float]) -> str:
    least, most = f"{min(values):.0f}", f"{max(values):.0f}"
    return least if least == most else f"{least} to {most}"


def quantile(counts: Mapping[float, float], share: float) -> float:
    """A quantile of a histogram, as Prometheus would estimate it.

    Args:
        counts: How many observations were at most each edge, the last edge infinite.
        share: Of all observations.
    """
    edges = sorted(counts)
    total = counts[edges[-1]]
    if not total:
        return math.nan
    below, lower = 0.0, 0.0
    for edge in edges:
        if counts[edge] >= share * total:
            if math.isinf(edge):
                return lower
            return lower + (edge - lower) * (share * total - below) / (counts[edge] - below)
        below, lower = counts[edge], edge
    raise AssertionError  # the last edge has them all


def histogram(before: Mapping[str, float], after: Mapping[str, float], name: str) -> dict[float, float]:
    """What was added to a histogram, by its edges."""
    start = f"{name}_bucket|"
    return {
        float(key.removeprefix(start)): value - before.get(key, 0.0)
        for key, value in after.items()
        if key.startswith(start)
    }


def table(head: str, columns: Sequence[tuple[str, Mapping[str, str]]]) -> str:
    """Columns of figures as Markdown."""
    names = [name for name, _ in columns]
    lines = [[head, *names], ["---"] * (len(names) + 1)]
    lines += [[what, *(cells[what] for _, cells in columns)] for what in columns[0][1]]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def verdict(steady: Iterable[Figures], rushed: Sequence[Figures]) -> list[tuple[str, bool, bool]]:
    """Each bar, whether it is met, and whether missing it is an error on any machine."""
    lines = []
    for each in steady:
        what = f"{each.targets:,} targets every {each.interval:g} s on {each.replicas} replicas"
        found = ", ".join(each.faults) or "each polled, none twice, none failed"
        most = each.interval * JITTER
        lines.append((f"{what}: {found}", not each.faults, True))
        lines.append((f"{what}: lateness p99 {each.late_most:.2f} s, at most {most:g}", each.punctual, False))
    lines += [
        (f"rushed, {each.replicas} replicas: {each.twice} polls too early", False, True)
        for each in rushed
        if each.twice and each.watched
    ]
    if len(rushed) > 1:
        few, many = rushed[0], rushed[-1]
        least = SCALING * many.replicas / few.replicas / 4
        ratio = many.rate / few.rate
        what = f"waiting for the service, {many.replicas} replicas poll {ratio:.2f} times as much"
        lines.append((f"{what} as {few.replicas}, at least {least:g}", ratio >= least, False))
    return lines
