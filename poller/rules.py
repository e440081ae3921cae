"""Decides which sinks an event goes to.

Pure. Every rule that matches adds its sinks; a sink gets an event once however many rules name it. A rule
without conditions matches everything. An event that no rule matches goes nowhere, which is counted.
"""

from __future__ import annotations

import operator
import re
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

FIELDS: Mapping[str, str] = {
    "kind": "kind",
    "status": "status",
    "outcome": "outcome",
    "target": "targets",
    "account": "account_id",
    "region": "region",
    "model": "model_id",
    "name": "job_name",
}
"""What a rule can match on, and the member of the event's `data` that it looks at."""


_COMPARISONS: Mapping[str, Callable[[float, float], bool]] = {
    ">": operator.gt,
    ">=": operator.ge,
    "<": operator.lt,
    "<=": operator.le,
    "=": operator.eq,
}
_THRESHOLD = re.compile(r"(>=|<=|>|<|=)\s*([0-9]{1,18}(?:\.[0-9]{1,9})?)\s*(%?)")
_WHOLE = 100


@dataclass(frozen=True, slots=True)
class Threshold:
    """A comparison with a number of records, or with their share of all records in percent.

    Args:
        comparison: `>`, `>=`, `<`, `<=` or `=`.
        number: What to compare with.
        percent: Whether that is a share.
    """

    comparison: str
    number: float
    percent: bool = False

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `>0`, `>=100` or `>5%`.

        Raises:
            ValueError: It has another form.
        """
        match = _THRESHOLD.fullmatch(text.strip())
        if match is None or ("." in match[2] and not match[3]):
            raise ValueError(
                f"{text!r} is not a comparison with a number of records; write one such as '>0' or '>=5%',"
                " in quotes"
            )
        return cls(match[1], float(match[2]), bool(match[3]))

    def holds(self, count: int | None, total: int | None) -> bool:
        """Whether it holds for a count of `total`; not where the service did not count."""
        if count is None or (self.percent and not total):
            return False
        number = _WHOLE * count / total if self.percent and total else float(count)
        return _COMPARISONS[self.comparison](number, self.number)


@dataclass(frozen=True, slots=True)
class Rule:
    """Sends what matches to `sinks`.

    Args:
        conditions: Field of `FIELDS` to glob patterns; all fields must match, each by any of its patterns.
        sinks: Names of sinks.
        failed_records: What must hold for the number of failed records, too.
    """

    conditions: Mapping[str, tuple[str, ...]]
    sinks: tuple[str, ...]
    failed_records: Threshold | None = None

    def matches(self, data: Mapping[str, Any]) -> bool:
        """Whether every condition holds for an event's `data`; of a list, one value is enough."""
        if self.failed_records is not None:
            records = data.get("records") or {}
            if not self.failed_records.holds(records.get("failed"), records.get("total")):
                return False
        return all(
            any(
                fnmatchcase(text, pattern) for text in _texts(data.get(FIELDS[field])) for pattern in patterns
            )
            for field, patterns in self.conditions.items()
        )


def sinks_for(rules: Sequence[Rule], data: Mapping[str, Any]) -> tuple[str, ...]:
    """The sinks an event is owed to, each once, in the order that the rules name them."""
    return tuple(dict.fromkeys(sink for rule in rules if rule.matches(data) for sink in rule.sinks))


def _texts(value: Any) -> list[str]:
    """What to match of a member of `data`; an absent value is the empty text."""
    return [str(each) for each in value] if isinstance(value, list) else ["" if value is None else str(value)]
