"""Turns the configured routes into rules, and asks them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from poller.rules import Rule, sinks_for

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from poller.settings.schema import RouteSettings


class Router:
    """Knows which sinks an event is owed to.

    Args:
        routes: The configured routes; none at all means that every sink gets everything.
        sinks: The names of all sinks.
    """

    def __init__(self, routes: Sequence[RouteSettings], sinks: Sequence[str]) -> None:
        self._rules = [Rule(route.match.conditions, route.sinks, route.match.threshold) for route in routes]
        if not self._rules:
            self._rules = [Rule({}, tuple(sinks))]

    def __call__(self, data: Mapping[str, Any]) -> tuple[str, ...]:
        """The sinks for an event's `data`; empty if no route matches it."""
        return sinks_for(self._rules, data)
