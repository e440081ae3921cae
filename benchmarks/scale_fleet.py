"""Replicas of the real program over one real PostgreSQL, and what can be seen of them from outside."""

from __future__ import annotations

import math
import os
import re
import signal
import socket
import threading
import time
from collections import defaultdict
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit

import psycopg
import sqlalchemy as sa
import yaml

from benchmarks.processes import PROGRAM, environment, running
from tests.harness.postgres import Server

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from benchmarks.processes import Command

REGIONS = (
    *("us-east-1", "us-east-2", "us-west-2", "ca-central-1", "sa-east-1", "eu-west-1", "eu-west-2"),
    *("eu-west-3", "eu-central-1", "eu-central-2", "eu-north-1", "eu-south-1", "eu-south-2", "ap-south-1"),
    *("ap-south-2", "ap-northeast-1", "ap-northeast-2", "ap-northeast-3", "ap-southeast-1", "ap-southeast-2"),
)
_KINDS = 2
_SAMPLED = 0.05
_SETTINGS = {
    # As of a server that matters, but for the last two: the disk is not what is measured, and others use it.
    "shared_buffers": "256MB",
    "max_connections": "500",
    "wal_level": "replica",
    "full_page_writes": "on",
    "autovacuum": "on",
    "synchronous_commit": "on",
    "max_wal_size": "4GB",
    "deadlock_timeout": "1s",
    "log_min_duration_sample": "0",
    "log_statement_sample_rate": str(_SAMPLED),
    "log_checkpoints": "off",
    "log_autovacuum_min_duration": "-1",
    "fsync": "off",
}
_LOOKS = 5
"""Looks at the claims in each interval."""
_TICK = os.sysconf("SC_CLK_TCK")
_SAMPLE = re.compile(r"^(\w+)(\{.*\})? (\S+)$", re.MULTILINE)
_EDGE = re.compile(r'le="([^"]+)"')
_DURATION = re.compile(r"duration: ([0-9.]+) ms  (\w+)(?: <unnamed>)?: (.{0,400})")


@dataclass(frozen=True, slots=True)
class Load:
    """What the replicas are to do.

    Args:
        targets: How many there are, about: as many as whole accounts make.
        regions: Of each account.
        interval: Seconds between two polls of one.
        concurrency: `poll.concurrency`.
        connections: `store.pool_size`.
    """

    targets: int
    regions: int
    interval: float
    concurrency: int
    connections: int

    @property
    def accounts(self) -> int:
        """Accounts, each with a role of its own."""
        return max(1, self.targets // (self.regions * _KINDS))

    @property
    def exactly(self) -> int:
        """How many targets that makes."""
        return self.accounts * self.regions * _KINDS

    def document(self, store: str, port: int) -> str:
        """The configuration of a replica."""
        every = f"{round(self.interval * 1000)}ms"
        regions = list(REGIONS[: self.regions])
        return yaml.safe_dump(
            {
                "poll": {"interval": every, "idle_interval": every, "concurrency": self.concurrency},
                "targets": [
                    {
                        "name": f"account-{number:012}",
                        "regions": regions,
                        "role_arn": f"arn:aws:iam::{number:012}:role/bedrock-poller-read",
                    }
                    for number in range(1, self.accounts + 1)
                ],
                "store": {"url": store, "pool_size": self.connections},
                "web": {"listen": f"127.0.0.1:{port}"},
                "log": {"level": "info", "format": "json"},
            }
        )


@dataclass(frozen=True, slots=True)
class Replica:
    """One process."""

    command: Command
    url: str

    def metrics(self) -> dict[str, float]:
        """Its own metrics, summed over all labels but the buckets' edges: `name`, or `name|edge`."""
        totals: dict[str, float] = defaultdict(float)
        with closing(HTTPConnection(urlsplit(self.url).netloc, timeout=60)) as connection:
            connection.request("GET", "/metrics")
            text = connection.getresponse().read().decode()
        # Tens of thousands of lines; a parser that knows all of the format would take too long.
        for name, labels, value in _SAMPLE.findall(text):
            edge = _EDGE.search(labels)
            totals[f"{name}|{edge[1]}" if edge else name] += float(value)
        return totals


@contextmanager
def postgres() -> Iterator[Server]:
    """A server of our own."""
    with Server(**_SETTINGS) as server:
        yield server


@contextmanager
def fleet(count: int, load: Load, store: str, aws: str, folder: Path) -> Iterator[list[Replica]]:
    """Replicas that work, until the end of the block, where they have to end well."""
    with ExitStack() as stack:
        replicas = []
        for number in range(count):
            port = _free_port()
            path = folder / f"replica-{number}.yaml"
            path.write_text(load.document(store, port))
            environ = environment(aws, AWS_ENDPOINT_URL_STS=aws)
            command = stack.enter_context(running((PROGRAM, "run", "--config", str(path)), environ, folder))
            replicas.append(Replica(command, f"http://127.0.0.1:{port}"))
        yield replicas
        for replica in replicas:
            if not replica.command.ended:
                replica.command.send(signal.SIGTERM)
        for replica in replicas:
            replica.command.cost()


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


def processor_seconds(pids: Sequence[int], *, ended_children: bool = False) -> float:
    """What processes have used so far; the 14th to 17th fields of proc(5)."""
    used = 0
    for pid in pids:
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue  # it has ended
        used += sum(map(int, fields[11 : 15 if ended_children else 13]))
    return used / _TICK


def megabytes(pid: int) -> float:
    """What a process holds in memory."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) / 1024


def machine_seconds() -> float:
    """Processor seconds that all processes of the machine have used so far."""
    fields = [int(text) for text in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    idle = fields[3] + fields[4]
    return (sum(fields) - idle) / _TICK


def server_seconds(server: Server) -> float:
    """Processor seconds of PostgreSQL with all its processes, those that have ended included."""
    parent = int((server.folder / "data" / "postmaster.pid").read_text().split()[0])
    children = []
    for path in Path("/proc").iterdir():
        if path.name.isdigit():
            try:
                fields = (path / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[1]) == parent:
                children.append(int(path.name))
    return processor_seconds([parent], ended_children=True) + processor_seconds(children)


class Watch(threading.Thread):
    """Looks at the claims as they come, by the database's clock, and at the connections.

    Between two looks less time passes than between two claims of a target, so an epoch that has grown by two
    is a target that was polled twice in an interval.

    Args:
        store: The database, which has its tables.
        interval: Seconds between two polls of a target.
        earliest: The least that is allowed between them.
    """

    def __init__(self, store: str, interval: float, earliest: float) -> None:
        super().__init__(daemon=True)
        self._store = store
        self._interval = interval
        self._earliest = earliest
        self._ended = threading.Event()
        self._last: dict[str, tuple[int, float]] = {}
        self._newest = 0.0
        self._looked = math.inf
        self.longest = 0.0
        """The longest time between two looks."""
        self.twice = 0
        self.connections = 0

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self.join()

    def run(self) -> None:
        """Look again and again."""
        with psycopg.connect(self._store, autocommit=True) as connection:
            while not self._ended.wait(self._interval / _LOOKS):
                self._look(connection)

    def _look(self, connection: psycopg.Connection[Any]) -> None:
        now = time.monotonic()
        self.longest, self._looked = max(self.longest, now - self._looked), now
        rows = connection.execute(
            "SELECT id, epoch, claimed_at FROM targets WHERE claimed_at > %s",
            # Statements that were under way at the last look have begun before it.
            [self._newest - self._interval / 2],
        )
        for name, epoch, at in rows.fetchall():
            before, earlier = self._last.get(name, (0, -math.inf))
            if epoch > before:
                self.twice += epoch - before - 1 + (at - earlier < self._earliest)
                self._last[name] = (epoch, at)
                self._newest = max(self._newest, at)
        self.connections = max(self.connections, _connections(connection))


def _connections(connection: psycopg.Connection[Any]) -> int:
    found = connection.execute(
        "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'bedrock-poller'"
        " AND datname = current_database()"
    ).fetchone()
    return int(found[0]) if found else 0


def baselined(server: Server, store: str) -> int:
    """How many targets have been seen whole; none while the schema is being made."""
    try:
        ((count,),) = server.execute(
            "SELECT count(*) FROM targets WHERE baselined", sa.make_url(store).database
        )
    except psycopg.errors.UndefinedTable:
        return 0
    return int(count)


def logged(server: Server) -> float:
    """Bytes that the server has written to its log of changes so far."""
    ((sent,),) = server.execute("SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')::float8")
    return float(sent)


def statements(log: str) -> dict[str, tuple[float, float]]:
    """How often statements ran, and their mean milliseconds, from the server's sample of a log.

    The parts that a statement comes in are sampled one by one, so their means are summed.
    """
    taken: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for milliseconds, part, text in _DURATION.findall(log):
        taken[_named(text)][part].append(float(milliseconds))
    return {
        name: (
            sum(len(each) for each in parts.values()) / len(parts) / _SAMPLED,
            sum(sum(each) / len(each) for each in parts.values()),
        )
        for name, parts in taken.items()
    }


def _named(text: str) -> str:
    for name, sign in (
        ("claim", r"UPDATE targets SET .*claimed_at="),
        ("finish", r"UPDATE targets SET .*polled_at="),
        ("fence", r"UPDATE targets SET lease_until"),
        ("sightings", r"SELECT targets.id, .*claimed_at"),
        ("open jobs", r"SELECT jobs.arn, jobs.submitted_at"),
        ("recall", r"SELECT jobs.arn, jobs.kind"),
        ("begin", r"BEGIN"),
        ("commit", r"COMMIT"),
        ("ping", r"SELECT 1$|$"),
    ):
        if re.match(sign, text):
            return name
    return " ".join(text.split()[:3])
