"""Where replicas run: a real PostgreSQL, and many targets in accounts and regions of one simulator."""

from __future__ import annotations

import json
import re
import time
from typing import TYPE_CHECKING, Any, Self

import psycopg
from sqlalchemy import make_url

from poller.simulator import Simulator
from tests.chaos.roles import Roles, key_of, role_of
from tests.chaos.stage import EVENTS, Stage
from tests.chaos.witness import Witness
from tests.harness.postgres import Server
from tests.harness.receiver import SENDER, Receiver

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

    from tests.chaos.link import Link
    from tests.chaos.oracle import Copy

REGIONS = (
    *("us-east-1", "us-east-2", "us-west-2", "eu-west-1", "eu-west-2"),
    *("eu-central-1", "eu-north-1", "ap-south-1", "ap-northeast-1", "ap-southeast-2"),
)
_KINDS = 2
_TORN = re.compile(rb'(?=\{"specversion")')


class Cluster(Stage):
    """The surroundings of several replicas; a context manager.

    Args:
        seed: Decides what the simulator makes up.
        folder: For files.
        receivers: The webhooks; besides them there is the log sink.
        targets: How many there are; rounded to an even number, because each place has two kinds of jobs.
        owed: The sinks that an event about a status is owed to; the routes say the same.
        routes: The `routes` of the configuration.
    """

    def __init__(
        self,
        seed: int,
        folder: Path,
        receivers: Iterable[Receiver],
        *,
        targets: int,
        owed: Callable[[str], Iterable[str]],
        routes: Iterable[Mapping[str, Any]],
    ) -> None:
        count = max(1, targets // _KINDS)
        accounts = -(-count // len(REGIONS))
        self.places = [
            (f"{100_000_000_000 + account}", region) for region in REGIONS for account in range(accounts)
        ][:count]
        self.targets = count * _KINDS
        simulator = Simulator(seed=seed, accounts={key_of(account): account for account, _ in self.places})
        super().__init__(seed, folder, receivers, owed=owed, routes=routes, simulator=simulator)
        # What is committed has to outlive a crash of the server.
        self.server = Server(synchronous_commit="on")
        self.witness = Witness(self.ask)
        self._roles = Roles()
        self._database = ""
        self._runs = 0

    def __enter__(self) -> Self:
        super().__enter__()
        self._stack.enter_context(self.server)
        self._database = make_url(self.server.fresh()).database or ""
        self._stack.enter_context(self._roles)
        return self

    def variables(self, who: str, link: Link, **settings: str) -> dict[str, str]:
        """The variables of one run of a replica, which is known by a name of its own."""
        regions: dict[str, list[str]] = {}
        for account, region in self.places:
            regions.setdefault(account, []).append(region)
        # Each run has names of its own, and leads to the first account in two ways.
        self._runs += 1
        watched = [
            {"name": f"run-{self._runs}-{account}", "role_arn": role_of(account), "regions": found}
            for account, found in regions.items()
        ]
        again, found = next(iter(regions.items()))
        watched.append({"name": "again", "role_arn": f"{role_of(again)}-again", "regions": found})
        own = {
            "STORE__URL": link.url(self._database, application_name=who),
            "TARGETS": json.dumps(watched),
            **settings,
        }
        environ = self.environ(headers={SENDER: who}, **own)
        return {**environ, "AWS_ENDPOINT_URL_STS": self._roles.url}

    @property
    def address(self) -> str:
        """The database's."""
        return self.server.url(self._database)

    def ask(self, sql: str) -> list[tuple[Any, ...]]:
        """Ask the store."""
        return self.server.execute(sql, self._database)

    def logged(self, line: bytes) -> Copy:
        """All replicas write to one file, so what a kill cut short is followed by the next one's line."""
        return super().logged([piece for piece in _TORN.split(line) if piece][-1])

    def look(self) -> None:
        """Remember the events in the store."""
        self.note(self.ask(EVENTS))

    def remember(self, _: Path | None = None) -> None:
        """The same."""
        self.look()

    def baselined(self) -> bool:
        """Whether all targets have their baseline."""
        try:
            return super().baselined()
        except psycopg.Error:
            return False

    def restart(self, mode: str, pause: float) -> None:
        """Stop the server and start it again."""
        self.server.stop(mode)
        time.sleep(pause)
        self.server.start()

    def sound(self) -> str:
        """What is wrong with the store; `ok` for nothing."""
        return ", ".join(self.witness.unsound()) or "ok"
