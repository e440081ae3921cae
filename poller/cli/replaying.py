"""`deliveries replay`: checks what was asked for, asks back if it is much, and says what was done."""

from __future__ import annotations

import sys
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import typer

from poller.cli.browsing import printable
from poller.cli.context import store_of
from poller.cli.sinking import require_sink
from poller.errors import ConfigError, PollerError, Problem
from poller.store import Outbox
from poller.store.browse import Browser, Selection
from poller.store.replay import MOST_IDS, Replay

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from poller.cli.context import Context
    from poller.settings.schema import Settings
    from poller.store.replay import Counts

_MANY = 100


@dataclass(frozen=True, slots=True)
class Choice:
    """What is to be replayed; everything that is given has to hold."""

    ids: tuple[int, ...] = ()
    sink: str | None = None
    states: tuple[str, ...] = ()
    job: str | None = None
    event: str | None = None
    since: datetime | None = None
    until: datetime | None = None

    def selection(self) -> Selection:
        """The same for the store.

        Raises:
            ConfigError: Nothing is given, or what cannot hold together.
        """
        given = (self.sink, self.job, self.event, self.since, self.until)
        if not (self.ids or self.states or any(value is not None for value in given)):
            raise _wrong(
                "say which: ids, or any of --sink, --state, --dead, --job, --event, --since, --until; "
                "`bedrock-poller deliveries list` takes the same options and shows what they select"
            )
        if len(set(self.states)) > 1:
            raise _wrong(
                f"--dead is short for --state dead, and --state says {self.states[0]}; keep one of them"
            )
        if len(self.ids) > MOST_IDS:
            raise _wrong(f"{len(self.ids)} ids are too many; give at most {MOST_IDS}, or select by options")
        if self.since is not None and self.until is not None and self.since >= self.until:
            raise _wrong("--since is not before --until, so there is no time between them")
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


def replay_deliveries(context: Context, choice: Choice, *, dry_run: bool, yes: bool) -> int:
    """Replay what was chosen, or print what would be.

    Returns:
        The exit code: 1 if whoever was asked declined.

    Raises:
        ConfigError: The choice is of no use, or needs `--yes`.
        PollerError: Something that was named is not there; then nothing is replayed.
    """
    selection = choice.selection()
    settings = context.settings()
    with store_of(settings) as database:
        database.require()
        replay = Replay(database, selection, choice.ids)
        _see_that_it_exists(settings, Browser(database), choice, replay)
        counts = replay.count()
        if dry_run:
            for each in replay.listed():
                line = (str(each.id), each.sink, each.state, each.event_id, each.job_arn)
                typer.echo("\t".join(map(printable, line)))
            _report(counts, "would replay")
            return 0
        if not yes and not _agreed(counts):
            return 1
        done: Counts = Counter()
        try:
            for chunk in replay.run():
                done.update(chunk)
        finally:
            # Also if the store has failed half-way.
            _report(done, "replayed")
        _hint(settings, Outbox(database).parked(), {sink for sink, _ in done})
        return 0


def _wrong(what: str) -> ConfigError:
    return ConfigError([Problem("deliveries replay", what)])


def _see_that_it_exists(settings: Settings, browser: Browser, choice: Choice, replay: Replay) -> None:
    if choice.ids and (unknown := replay.unknown()):
        numbers = ", ".join(map(str, unknown[:10])) + (", …" if len(unknown) > 10 else "")  # noqa: PLR2004
        raise PollerError(f"there is no {numbers} among the deliveries; nothing was replayed")

    def none(column: str, value: str | None) -> bool:
        return value is not None and not browser.deliveries(Selection(limit=1, equal={column: value}))

    # A sink that was removed from the configuration may still have deliveries.
    if choice.sink is not None and choice.sink not in settings.sinks and none("sink", choice.sink):
        require_sink(settings, choice.sink)
    for what, column, value in (("event", "event_id", choice.event), ("job", "job_arn", choice.job)):
        if none(column, value):
            raise PollerError(f"there is no delivery of the {what} {value}; nothing was replayed")


def _agreed(counts: Counts) -> bool:
    if counts.total() <= _MANY:
        return True
    _report(counts, "would replay")
    if not sys.stdin.isatty():
        raise _wrong(
            f"these are {counts.total()} deliveries, more than {_MANY}; nothing was replayed; "
            "add --yes to replay them, or --dry-run to see them"
        )
    return typer.confirm(f"Send {counts.total()} deliveries again?")


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
