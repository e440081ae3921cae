"""Where a run takes place: a simulator, receivers, a folder for the store, and what is read from them."""

from __future__ import annotations

import contextlib
import json
import shutil
import sqlite3
import tempfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from poller.simulator import Simulator, SimulatorServer
from tests.chaos.oracle import Copy, Evidence, Life, read
from tests.harness import daemon
from tests.harness.receiver import SECRET, Receiver

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

LOG = "log"
EVENTS = "SELECT id, body FROM events"
PATIENCE = 60.0


eventually = partial(daemon.eventually, seconds=PATIENCE)
"""Wait until something is true; what is broken all around takes longer."""


class Stage:
    """One run's surroundings; a context manager.

    Args:
        seed: Decides what the simulator makes up.
        folder: Where the store is to be.
        receivers: The webhooks; besides them there is the log sink.
        owed: The sinks that an event about a status is owed to; the routes say the same.
        routes: The `routes` of the configuration; empty for everything to everybody.
        simulator: Where the jobs are; an empty one by default.
    """

    targets = 2
    """How many there are."""

    def __init__(
        self,
        seed: int,
        folder: Path,
        receivers: Iterable[Receiver],
        *,
        owed: Callable[[str], Iterable[str]],
        routes: Iterable[Mapping[str, Any]] = (),
        simulator: Simulator | None = None,
    ) -> None:
        self.folder = folder
        self.seed = seed
        self.receivers = {receiver.name: receiver for receiver in receivers}
        self.simulator = simulator or Simulator(seed=seed)
        self.recorded: dict[str, bytes] = {}
        """Every event that was ever seen in the store."""
        self.silent: dict[str, int] = {}
        """How many statuses each job of the baseline had entered when it was made."""
        self._owed = owed
        self._routes = list(routes)
        self._server = SimulatorServer(self.simulator)
        self._stack = contextlib.ExitStack()
        self.outputs: Path

    def __enter__(self) -> Self:
        # What a process says stays off the disk that fills up.
        self.outputs = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="chaos-out-")))
        self._stack.enter_context(self._server)
        for receiver in self.receivers.values():
            self._stack.enter_context(receiver)
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def store(self) -> Path:
        """The database."""
        return self.folder / "poller.db"

    @property
    def address(self) -> str:
        """The database's."""
        return f"sqlite:///{self.store}"

    def environ(self, *, headers: Mapping[str, str] | None = None, **settings: str) -> dict[str, str]:
        """Variables for the program; settings are `POLL__INTERVAL="1s"`, headers those of the webhooks."""
        hooks = {
            name: {
                "type": "webhook",
                "url": receiver.url,
                "secrets": [SECRET],
                "timeout": "1s",
                "retry": {"initial": "20ms", "max": "500ms"},
                "headers": dict(headers or {}),
            }
            for name, receiver in self.receivers.items()
        }
        own = {
            "STORE__URL": self.address,
            "AWS__REQUESTS_PER_SECOND": "500",
            "SINKS": json.dumps(
                {**hooks, LOG: {"type": "log", "retry": {"initial": "20ms", "max": "500ms"}}}
            ),
            "LOG__FORMAT": "json",
            **({"ROUTES": json.dumps(self._routes)} if self._routes else {}),
            **settings,
        }
        return daemon.environment(self._server.url, self.outputs, **own)

    def lives(self) -> list[Life]:
        """What every job has been through."""
        lives = []
        for job in self.simulator.jobs():
            statuses = tuple(status for _, status in self.simulator.history(job.arn))
            lives.append(Life(job.arn, statuses, self.silent.get(job.arn, 0)))
        return lives

    def baseline(self) -> None:
        """Take note that what has happened so far was there before."""
        self.silent = {life.arn: len(life.statuses) for life in self.lives()}

    def copies(self) -> list[Copy]:
        """Everything that arrived anywhere."""
        arrived = [copy for receiver in self.receivers.values() for copy in receiver.copies]
        for path in sorted(self.outputs.glob("out-*")):
            # What a kill cut short never arrived; a failed write is followed by an empty line.
            whole, _, _ = path.read_bytes().rpartition(b"\n")
            arrived += [self.logged(line) for line in whole.split(b"\n") if line]
        return arrived

    def logged(self, line: bytes) -> Copy:
        """What a line of the log sink is a copy of."""
        try:
            return Copy(LOG, read(line).id, line)
        except ValueError:
            return Copy(LOG, "unreadable", line)

    def arrived(self, arn: str, status: str) -> bool:
        """Whether an event has reached every sink that it is owed to."""
        reached = set()
        for copy in self.copies():
            if copy.taken and arn.encode() in copy.body:
                told = read(copy.body)
                if (told.arn, told.status) == (arn, status):
                    reached.add(copy.sink)
        return reached >= set(self._owed(status))

    def look(self) -> None:
        """Remember the events in the store, as a killed process left it, without touching a file of it."""
        if not self.store.exists():
            return
        with tempfile.TemporaryDirectory(prefix="chaos-look-") as folder:
            for suffix in ("", "-wal"):
                if (left := Path(f"{self.store}{suffix}")).exists():
                    shutil.copy(left, Path(folder) / f"{self.store.name}{suffix}")
            self.remember(Path(folder) / self.store.name)

    def remember(self, store: Path | None = None) -> None:
        """Remember the events in a store that nobody is using."""
        try:
            self.note(query(store or self.store, EVENTS))
        except sqlite3.OperationalError as error:
            if "no such table" not in str(error):
                raise

    def note(self, events: Iterable[tuple[Any, ...]]) -> None:
        """Remember events, and notice if one is not what it was."""
        for one, body in events:
            if self.recorded.setdefault(one, bytes(body)) != bytes(body):
                self.recorded[f"{one} once more"] = bytes(body)

    def ask(self, sql: str) -> list[tuple[Any, ...]]:
        """Ask the store."""
        return query(self.store, sql)

    def pending(self) -> int:
        """How many deliveries are still owed."""
        return int(self.ask("SELECT count(*) FROM deliveries WHERE state <> 'done'")[0][0])

    def seen(self) -> bool:
        """Whether the store has what happened."""
        known = dict(self.ask("SELECT arn, status FROM jobs"))
        return all(known.get(life.arn) == life.statuses[-1] for life in self.lives())

    def baselined(self) -> bool:
        """Whether all targets have their baseline."""
        try:
            return self.ask("SELECT count(*) FROM targets WHERE baselined") == [(self.targets,)]
        except sqlite3.OperationalError:
            return False

    def sound(self) -> str:
        """What SQLite finds wrong with the store; `ok` for nothing."""
        return str(query(self.store, "PRAGMA integrity_check")[0][0])

    def evidence(self) -> Evidence:
        """What to judge."""
        self.remember()
        return Evidence(self.lives(), self.copies(), self.recorded, self._owed)


def query(store: Path, sql: str) -> list[tuple[Any, ...]]:
    """Ask the store with nothing of ours in between."""
    with contextlib.closing(sqlite3.connect(store, timeout=10)) as connection:
        return connection.execute(sql).fetchall()
