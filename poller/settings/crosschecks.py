"""What only several settings together can get wrong: names that nothing has, and targets that overlap.

Runs on the parts that are valid by themselves, so that one wrong section does not hide what is wrong between
the others.
"""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from poller.kinds import KINDS
from poller.model import Outcome
from poller.settings.error_messages import choose
from poller.settings.types import AUTO, is_account, is_glob, looks_like_region

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from poller.settings.locations import Location
    from poller.settings.schema import RouteSettings, TargetSettings
    from poller.settings.wake_ups import SqsWakeUps


@dataclass(frozen=True, slots=True)
class Parts:
    """What can be checked together.

    Args:
        targets: The valid ones, by their index.
        routes: The valid ones, by their index.
        wake_ups: The valid ones, by their index.
        sink_names: Of all sinks, valid or not; `None` if they are not known.
        target_names: Of all targets, likewise.
    """

    targets: Mapping[int, TargetSettings]
    routes: Mapping[int, RouteSettings]
    wake_ups: Mapping[int, SqsWakeUps]
    sink_names: Collection[str] | None
    target_names: Collection[str] | None


def check(parts: Parts) -> Iterator[tuple[Location, str]]:
    """Find what does not fit together: the location, and what is wrong there."""
    yield from _names_unique(parts.targets)
    yield from _watched_once(parts.targets)
    for index, route in parts.routes.items():
        yield from _route(("routes", index), route, parts)
    yield from _queues(parts)


def _names_unique(targets: Mapping[int, TargetSettings]) -> Iterator[tuple[Location, str]]:
    first: dict[str, int] = {}
    for index, target in targets.items():
        if target.name in first:
            other = first[target.name]
            yield (
                ("targets", index, "name"),
                f"{target.name!r} is the name of targets[{other}] too; rename one",
            )
        first.setdefault(target.name, index)


def _watched_once(targets: Mapping[int, TargetSettings]) -> Iterator[tuple[Location, str]]:
    """Two targets with the same credentials show the same jobs: one of them is a mistake."""
    seen: dict[tuple[object, ...], int] = {}
    for index, target in targets.items():
        clashes: dict[int, list[str]] = {}
        for region in target.regions or (None,):
            for kind in target.kinds:
                members = target.organization and (target.organization.units, target.organization.role_name)
                key = (target.profile, target.role_arn, members, region, kind)
                if key in seen:
                    where = {None: "the current region", AUTO: "all regions"}.get(region, region)
                    clashes.setdefault(seen[key], []).append(f"{kind} in {where}")
                seen.setdefault(key, index)
        for other, watched in clashes.items():
            whose = "twice" if other == index else f"with the same credentials as targets[{other}]"
            what = ", ".join(dict.fromkeys(watched))
            yield ("targets", index), f"watches {what} {whose}; remove one"


def _queues(parts: Parts) -> Iterator[tuple[Location, str]]:
    """Each queue once, or its messages would be shared out; and its targets exist."""
    first: dict[str, int] = {}
    for index, queue in parts.wake_ups.items():
        if queue.queue_url in first:
            other = first[queue.queue_url]
            yield ("wake_ups", index, "queue_url"), f"is the queue of wake_ups[{other}] too; remove one"
        first.setdefault(queue.queue_url, index)
        for place, name in enumerate(queue.targets):
            if parts.target_names is not None and name not in parts.target_names:
                yield ("wake_ups", index, "targets", place), choose(name, parts.target_names, what="target")


def _route(at: Location, route: RouteSettings, parts: Parts) -> Iterator[tuple[Location, str]]:
    for index, sink in enumerate(route.sinks):
        if parts.sink_names is not None and sink not in parts.sink_names:
            yield (*at, "sinks", index), choose(sink, parts.sink_names, what="sink")
    conditions = route.match.conditions
    kinds = conditions.get("kind", ("*",))
    statuses = {
        status
        for name, kind in KINDS.items()
        if any(fnmatchcase(name, pattern) for pattern in kinds)
        for status in kind.statuses
    }
    # A kind that does not exist is reported by itself.
    statuses = statuses or {status for kind in KINDS.values() for status in kind.statuses}
    closed: dict[str, tuple[Collection[str], str]] = {
        "kind": (KINDS, "job kind"),
        "outcome": (["", *Outcome], "outcome"),
    }
    if parts.target_names is not None:
        closed["target"] = (parts.target_names, "target")
    for key, patterns in conditions.items():
        for index, pattern in enumerate(patterns):
            where = (*at, "match", key, index)
            if key in closed:
                known, what = closed[key]
                if not any(fnmatchcase(each, pattern) for each in known):
                    yield where, choose(pattern, [each for each in known if each], what=what)
            elif (wrong := _open(key, pattern, statuses)) is not None:
                yield where, wrong


def _open(key: str, pattern: str, statuses: Collection[str]) -> str | None:
    """Check a value whose set may grow without this program; a glob passes."""
    if is_glob(pattern):
        return None
    if key == "status" and pattern not in statuses:
        return choose(pattern, statuses, what="status of these jobs")
    if key == "region" and not looks_like_region(pattern):
        return f"{pattern!r} is not the name of an AWS region; write one such as eu-west-1, or a glob"
    if key == "account" and not is_account(pattern):
        return f"{pattern!r} is not an AWS account ID; write its 12 digits, or a glob"
    return None
