"""The table: a row for each comparison, with its spread, its bar, and whether the bar is met."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

HEAD = ("what", "unit", "ours", "rival", "the rival's", "ratio", "bar", "met", "floor")
_NONE = "-"
_LARGE = 100
_MEDIUM = 10


@dataclass(frozen=True, slots=True)
class Figures:
    """What was measured, a figure for each run.

    Args:
        runs: The figures.
        middle: Stands for all of them instead of their median: a percentile of everything pooled.
    """

    runs: Sequence[float]
    middle: float | None = None

    @property
    def median(self) -> float:
        """What stands for all of them."""
        return statistics.median(self.runs) if self.middle is None else self.middle

    def __str__(self) -> str:
        return f"{_number(self.median)} ({_number(min(self.runs))} to {_number(max(self.runs))})"


@dataclass(frozen=True, slots=True)
class Bar:
    """What a row is held to."""

    text: str
    met: bool

    def __and__(self, other: Bar) -> Bar:
        return Bar(f"{self.text}; {other.text}", self.met and other.met)


@dataclass(frozen=True, slots=True)
class Row:
    """One comparison.

    Args:
        what: What was done.
        unit: Of all figures of the row.
        ours: What it cost us.
        rival: The name of what it is compared with; empty if with nothing.
        theirs: What it cost the rival.
        inverse: Whether the ratio is the rival's figure over ours.
        most: The largest ratio that is good enough.
        least: The smallest ratio that is good enough.
        limit: The largest figure of ours that is good enough.
        exactly: What every figure of ours has to be.
        further: What the row is held to beside that.
        floor: The name of what nobody can beat; empty if there is none.
        floor_figures: What that cost.
    """

    what: str
    unit: str
    ours: Figures
    rival: str = ""
    theirs: Figures | None = None
    inverse: bool = False
    most: float | None = None
    least: float | None = None
    limit: float | None = None
    exactly: float | None = None
    further: Bar | None = None
    floor: str = ""
    floor_figures: Figures | None = None

    @property
    def ratio(self) -> float | None:
        """The ratio of the medians."""
        if self.theirs is None:
            return None
        over, under = (self.theirs, self.ours) if self.inverse else (self.ours, self.theirs)
        return over.median / under.median if under.median else None

    @property
    def bar(self) -> Bar | None:
        """What it is held to, and whether it holds."""
        bars = []
        if self.most is not None:
            bars.append(Bar(f"ratio ≤ {self.most:g}", self.ratio is not None and self.ratio <= self.most))
        if self.least is not None:
            bars.append(Bar(f"ratio ≥ {self.least:g}", self.ratio is not None and self.ratio >= self.least))
        if self.limit is not None:
            bars.append(Bar(f"ours ≤ {self.limit:g}", self.ours.median <= self.limit))
        if self.exactly is not None:
            exact = all(figure == self.exactly for figure in self.ours.runs)
            bars.append(Bar(f"exactly {_number(self.exactly)}", exact))
        if self.further is not None:
            bars.append(self.further)
        joined = bars[0] if bars else None
        for bar in bars[1:]:
            joined = joined & bar if joined else bar
        return joined

    def cells(self) -> list[str]:
        """The row as text, a cell for each column of `HEAD`."""
        bar = self.bar
        ratio = _NONE
        if self.ratio is not None:
            ratio = f"{_ratio(self.ratio)} {'rival/ours' if self.inverse else 'ours/rival'}"
        floor = f"{self.floor}: {_number(self.floor_figures.median)}" if self.floor_figures else _NONE
        return [
            self.what,
            self.unit,
            str(self.ours),
            self.rival or _NONE,
            str(self.theirs) if self.theirs else _NONE,
            ratio,
            bar.text if bar else _NONE,
            ("yes" if bar.met else "NO") if bar else _NONE,
            floor,
        ]


def table(rows: Iterable[Row]) -> str:
    """The rows as Markdown."""
    lines = [HEAD, ("---",) * len(HEAD), *(row.cells() for row in rows)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def percentile(values: Iterable[float], share: float) -> float:
    """The smallest value that at least this share of them does not exceed."""
    ordered = sorted(values)
    return ordered[max(0, -int(-share * len(ordered) // 1) - 1)]


def _number(value: float) -> str:
    if value == int(value) or abs(value) >= _LARGE:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= _MEDIUM else f"{value:.2f}" if abs(value) >= 1 else f"{value:.3f}"


def _ratio(value: float) -> str:
    return f"{value:,.0f}" if value >= _LARGE else f"{value:.3g}"
