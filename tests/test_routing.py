"""The configured routes, asked about an event."""

from __future__ import annotations

from typing import Any

from poller.routing import Router
from poller.rules import FIELDS
from poller.settings.schema import MatchSettings, RouteSettings

DATA = {"status": "Failed", "kind": "async_invoke", "job_name": None}


def route(*sinks: str, **match: Any) -> RouteSettings:
    """A configured route."""
    return RouteSettings.model_validate({"match": match, "sinks": sinks})


def test_without_routes_every_sink_gets_everything() -> None:
    """A configuration that names sinks and no routes means all of them."""
    assert Router([], ["audit", "ops"])(DATA) == ("audit", "ops")
    assert Router([], [])(DATA) == ()


def test_the_routes_decide_once_there_are_any() -> None:
    """A sink that no route names gets nothing; one that several name gets an event once."""
    router = Router([route("ops", status=["Failed"]), route("ops", "audit")], ["audit", "ops", "unused"])
    assert router(DATA) == ("ops", "audit")
    assert router(DATA | {"status": "Completed"}) == ("ops", "audit")


def test_an_event_that_no_route_matches_goes_nowhere() -> None:
    """There is no default sink behind the routes."""
    assert Router([route("ops", status=["Completed"])], ["ops"])(DATA) == ()


def test_a_route_can_ask_for_failed_records() -> None:
    """A completed job whose records failed goes where the failures go (fault 84)."""
    router = Router(
        [route("ops", failed_records=">0"), route("audit", failed_records="=0")], ["ops", "audit"]
    )
    records = {"total": 100, "processed": 100, "succeeded": 0, "failed": 100}
    assert router(DATA | {"status": "Completed", "records": records}) == ("ops",)
    assert router(DATA | {"records": {**records, "failed": 0}}) == ("audit",)
    assert router(DATA | {"records": None}) == ()


def test_a_route_can_ask_for_what_is_absent() -> None:
    """The empty pattern matches a job without a name."""
    assert Router([route("ops", name=[""])], ["ops"])(DATA) == ("ops",)


def test_every_setting_of_a_match_is_a_field_that_rules_know() -> None:
    """Settings and rules speak of the same fields, so that no configured condition is passed over."""
    assert set(MatchSettings.model_fields) == {*FIELDS, "failed_records"}
