"""Decides which sinks an event goes to.

Pure. Every rule that matches adds its sinks; a sink gets an event once however many rules name it. A rule
without conditions matches everything. An event that no rule matches goes nowhere, which is counted.
"""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

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


@dataclass(frozen=True, slots=True)
class Rule:
    """Sends what matches to `sinks`.

    Args:
        conditions: Field of `FIELDS` to glob patterns; all fields must match, each by any of its patterns.
        sinks: Names of sinks.
    """

    conditions: Mapping[str, tuple[str, ...]]
    sinks: tuple[str, ...]

    def matches(self, data: Mapping[str, Any]) -> bool:
        """Whether every condition holds for an event's `data`; of a list, one value is enough."""
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
