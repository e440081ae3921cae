"""`deliveries replay` and `drop`: check the selection, ask before they change many, and say what was done."""

from __future__ import annotations

import sys
from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import typer

from poller.cli.context import store_of
from poller.cli.sinks import require_sink
from poller.errors import ConfigError, PollerError, Problem
from poller.redaction import printable
from poller.store import Outbox
from poller.store.queries import Browser, Selection
from poller.store.replay import MOST_IDS, Drop, Replay

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from poller.cli.context import Context
    from poller.settings.schema import Settings
    from poller.store.replay import Counts, Selected

_MANY = 100


@dataclass(frozen=True, slots=True)
class _Verb:
    """How a command is called, and what its messages say."""

    command: str
    base: str
    past: str
    question: str


_REPLAY = _Verb("deliveries replay", "replay", "replayed", "Send {} deliveries again?")
_DROP = _Verb("deliveries drop", "drop", "dropped", "Give up {} deliveries for good?")


@dataclass(frozen=True, slots=True)
class ReplaySelection:
    """The selected deliveries; everything that is given has to hold."""

    ids: tuple[int, ...] = ()
    sink: str | None = None
    states: tuple[str, ...] = ()
    job: str | None = None
    event: str | None = None
    since: datetime | None = None
    until: datetime | None = None

    def selection(self, command: str) -> Selection:
        """The same for the store; `command` is named in errors.

        Raises:
            ConfigError: Nothing is given, or what cannot hold together.
        """
        given = (self.sink, self.job, self.event, self.since, self.until)
        if not (self.ids or self.states or any(value is not None for value in given)):
            raise _wrong(
                command,
                "say which: ids, or any of --sink, --state, --dead, --job, --event, --since, --until; "
                "`bedrock-poller deliveries list` takes the same options and shows what they select",
            )
        if len(set(self.states)) > 1:
            raise _wrong(
                command,
                f"--dead is short for --state dead, and --state says {self.states[0]}; keep one of them",
            )
        if len(self.ids) > MOST_IDS:
            raise _wrong(
                command, f"{len(self.ids)} ids are too many; give at most {MOST_IDS}, or select by options"
            )
        if self.since is not None and self.until is not None and self.since >= self.until:
            raise _wrong(command, "--since is not before --until, so there is no time between them")
        equal = {
            "sink": self.sink,
            "state": self.states[0] if self.states else None,
            "job_arn": self.job,
            "event_id": self.event,
        }
        return Selection(
            equal=equal,
            since=None if self.since is None else self.since.timestamp(),
            until=None if self.until is None else self.until.timestamp(),
        )


def replay_deliveries(context: Context, choice: ReplaySelection, *, dry_run: bool, yes: bool) -> int:
    """Replay what was chosen, or print what would be.

    Returns:
        The exit code: 1 if the operator declined.

    Raises:
        ConfigError: The choice is of no use, or needs `--yes`.
        PollerError: Something that was named is not there; then nothing is replayed.
    """
    return _apply(context, choice, _REPLAY, Replay, dry_run=dry_run, yes=yes)


def drop_deliveries(context: Context, choice: ReplaySelection, *, dry_run: bool, yes: bool) -> int:
    """Give up what was chosen and is pending or dead, or print what would be.

    Returns, raises: As `replay_deliveries`.
    """
    return _apply(context, choice, _DROP, Drop, dry_run=dry_run, yes=yes)


def _apply(
    context: Context, choice: ReplaySelection, verb: _Verb, make: type[Selected], *, dry_run: bool, yes: bool
) -> int:
    choice.selection(verb.command)
    settings = context.settings()
    with store_of(settings) as database:
        database.require()
        if choice.job:
            choice = replace(choice, job=Browser(database).job_arn(choice.job))
        selection = choice.selection(verb.command)
        selected = make(database, selection, choice.ids)
        _see_that_it_exists(settings, Browser(database), choice, selected, verb)
        counts = selected.count()
        if dry_run:
            for each in selected.listed():
                line = (str(each.id), each.sink, each.state, each.event_id, each.job_arn)
                typer.echo("\t".join(map(printable, line)))
            _report(counts, f"would {verb.base}")
            return 0
        if not yes and not _agreed(counts, verb):
            return 1
        done: Counts = Counter()
        try:
            for chunk in selected.run():
                done.update(chunk)
        finally:
            # Also if the store has failed half-way.
            _report(done, verb.past)
        if verb is _REPLAY:
            _hint(settings, Outbox(database).parked(), {sink for sink, _ in done})
        return 0


def _wrong(command: str, what: str) -> ConfigError:
    return ConfigError([Problem(command, what)])


def _see_that_it_exists(
    settings: Settings, browser: Browser, choice: ReplaySelection, selected: Selected, verb: _Verb
) -> None:
    if choice.ids and (unknown := selected.unknown()):
        numbers = ", ".join(map(str, unknown[:10])) + (", …" if len(unknown) > 10 else "")  # noqa: PLR2004
        raise PollerError(f"there is no {numbers} among the deliveries; nothing was {verb.past}")

    def none(column: str, value: str | None) -> bool:
        return value is not None and not browser.deliveries(Selection(limit=1, equal={column: value}))

    # A sink that was removed from the configuration may still have deliveries.
    if choice.sink is not None and choice.sink not in settings.sinks and none("sink", choice.sink):
        require_sink(settings, choice.sink)
    for what, column, value in (("event", "event_id", choice.event), ("job", "job_arn", choice.job)):
        if none(column, value):
            raise PollerError(f"there is no delivery of the {what} {value}; nothing was {verb.past}")


def _agreed(counts: Counts, verb: _Verb) -> bool:
    if counts.total() <= _MANY:
        return True
    _report(counts, f"would {verb.base}")
    if not sys.stdin.isatty():
        raise _wrong(
            verb.command,
            f"these are {counts.total()} deliveries, more than {_MANY}; nothing was {verb.past}; "
            f"add --yes to {verb.base} them, or --dry-run to see them",
        )
    return typer.confirm(verb.question.format(counts.total()))


def _report(counts: Counts, verb: str) -> None:
    if not counts:
        typer.echo(f"{verb} nothing", err=True)
    for sink in sorted({sink for sink, _ in counts}):
        states = {state: count for (name, state), count in sorted(counts.items()) if name == sink}
        parts = ", ".join(f"{count} {state}" for state, count in states.items())
        typer.echo(f"{sink}: {verb} {sum(states.values())} deliveries ({parts})", err=True)


def _hint(settings: Settings, parked: dict[str, str], sinks: Iterable[str]) -> None:
    for sink in sorted(sinks):
        if sink not in settings.sinks:
            typer.echo(f"{sink}: is not configured; its deliveries wait until it is", err=True)
        elif sink in parked:
            typer.echo(
                f"{sink}: is parked ({printable(parked[sink])}); its deliveries wait until "
                f"`bedrock-poller sinks unpark {sink}`",
                err=True,
            )
