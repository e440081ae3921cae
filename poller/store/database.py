"""Connections, transactions and the schema's version.

Every write is a whole transaction given as a function, run again from its start when the database was busy or
the connection was lost. Errors of the driver are translated here and nowhere else. What differs between
databases is in this file: the pragmas of SQLite, the database's clock, and the dialect's `INSERT`.
"""

from __future__ import annotations

import os
import random
import sqlite3
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement

from poller.errors import CorruptStoreError, PollerError, SchemaError, StoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

ResultT = TypeVar("ResultT")

SCHEMA = "0002"
"""The Alembic revision that this program works with."""

_REMEDY = "restore it from a backup, or move it away to start anew"
_BUSY_SECONDS = 10.0
_HEADER_SIZE = 100
_ATTEMPTS = 4


class database_now(FunctionElement[float]):  # noqa: N801 - SQLAlchemy spells SQL functions in lower case
    """Seconds since the epoch, by the database's own clock."""

    type = sa.Double()
    inherit_cache = True


@compiles(database_now, "sqlite")
def _sqlite_now(*_: Any, **__: Any) -> str:
    return "((julianday('now') - 2440587.5) * 86400.0)"


@compiles(database_now, "postgresql")
def _postgresql_now(*_: Any, **__: Any) -> str:
    return "extract(epoch from clock_timestamp())::double precision"


class Bulk:
    """A statement that is run for many rows at once, compiled a single time.

    For thousands of rows SQLAlchemy's own handling of parameters costs more than the database; so the values
    go to the driver as they are, and must be of types that the driver takes.

    Args:
        engine: Whose dialect to compile for.
        statement: The statement; each value is a column's name or a bound parameter's.
        names: The columns that an `INSERT` gives values for.
    """

    def __init__(self, engine: sa.Engine, statement: sa.Executable, names: Sequence[str] = ()) -> None:
        compiled = statement.compile(dialect=engine.dialect, column_keys=list(names) or None)  # type: ignore[attr-defined] # every statement of ours can be compiled
        self._sql = str(compiled)
        self._order: list[str] | None = compiled.positiontup
        # What the statement itself fixes is bound as well.
        self._fixed: dict[str, Any] = compiled.params

    def run(self, connection: sa.Connection, rows: Sequence[dict[str, Any]]) -> int:
        """Run it for every row, and return how many rows of the database it changed."""
        if not rows:
            return 0
        if missing := self._fixed.keys() - rows[0].keys():
            fixed = {name: self._fixed[name] for name in missing}
            rows = [fixed | row for row in rows]
        order = self._order
        values: Any = rows if order is None else [tuple([row[name] for name in order]) for row in rows]
        return connection.exec_driver_sql(self._sql, values).rowcount


class Database:
    """One database.

    Args:
        url: An SQLAlchemy URL; `sqlite:////var/lib/bedrock-poller/poller.db`.
        now: The SQL expression for the current time; a test may pass its own.

    Raises:
        StoreError: The URL is of no use, or the database cannot be opened.
    """

    def __init__(self, url: str, *, now: Callable[[], sa.ColumnElement[float]] = database_now) -> None:
        self.now = now
        try:
            parsed = sa.make_url(url)
            self.path = parsed.database if parsed.get_backend_name() == "sqlite" else None
            self.engine = self._engine(parsed)
        except (ArgumentError, ModuleNotFoundError) as error:
            raise StoreError(f"the store's url cannot be used: {_brief(error)}") from error
        except ValueError:
            # Its text may quote a part of the password.
            raise StoreError("the store's url cannot be used: its port is no number") from None
        self.insert: Any = sqlite.insert if self.engine.dialect.name == "sqlite" else postgresql.insert

    def _engine(self, url: sa.URL) -> sa.Engine:
        if url.get_backend_name() != "sqlite":
            return sa.create_engine(url, pool_pre_ping=True)
        if self.path in {None, "", ":memory:"}:
            shared = {"check_same_thread": False}
            engine = sa.create_engine(url, poolclass=sa.StaticPool, connect_args=shared)
        else:
            engine = sa.create_engine(url, connect_args={"timeout": _BUSY_SECONDS})
        sa.event.listen(engine, "connect", _configure_sqlite)
        sa.event.listen(engine, "begin", _begin_immediate)
        return engine

    def prepare(self) -> None:
        """Create the file if there is none, readable by its owner alone, and see that it is sound.

        Raises:
            CorruptStoreError: The file is damaged, or is no database.
            StoreError: The file cannot be opened or created.
        """
        if self.path not in {None, "", ":memory:"}:
            _create_private(str(self.path))
            _refuse_truncated(Path(str(self.path)))
            with self.read() as connection:
                found = connection.exec_driver_sql("PRAGMA quick_check(1)").scalar_one()
            if found != "ok":
                raise CorruptStoreError(f"the store {self.path} is damaged: {found}; {_REMEDY}")

    def revision(self) -> str | None:
        """The schema's Alembic revision; `None` for an empty database."""
        with self.read() as connection:
            if not sa.inspect(connection).has_table("alembic_version"):
                return None
            revision: str | None = connection.exec_driver_sql(
                "SELECT version_num FROM alembic_version"
            ).scalar_one_or_none()
            return revision

    def exists(self) -> bool:
        """Whether there is a database to connect to; a server's always is."""
        return self.path in {None, "", ":memory:"} or os.path.exists(str(self.path))  # noqa: PTH110 - path may be relative

    def require(self) -> None:
        """See that the schema is this program's, without changing anything.

        Raises:
            SchemaError: It is not, or there is no database yet.
        """
        found = self.revision() if self.exists() else None
        if found is None:
            raise SchemaError(
                f"there is no store{f' at {self.path}' if self.path else ''} yet; run makes one"
            )
        if found != SCHEMA:
            raise SchemaError(
                f"the store's schema is {found}, not {SCHEMA}; bedrock-poller migrate changes it"
            )

    def migrate(self) -> tuple[str | None, str]:
        """Bring the schema to this program's version; does nothing where it is there already.

        Returns:
            The revisions before and after.

        Raises:
            SchemaError: The schema is newer than this program, or not this program's.
        """
        before = self.revision()
        if before != SCHEMA:
            from poller.store.migrations import known_revisions, upgrade  # noqa: PLC0415 - Alembic is slow to import

            if before is not None and before not in known_revisions():
                raise SchemaError(
                    f"the database's schema is {before}, which this version of bedrock-poller does not know; "
                    "it was written by a newer version, so run that one"
                )
            self.write(upgrade)
        return before, SCHEMA

    @contextmanager
    def read(self) -> Iterator[sa.Connection]:
        """A connection for statements that read, outside any transaction of ours."""
        with _translated(self.path), self.engine.connect() as connection:
            yield connection.execution_options(isolation_level="AUTOCOMMIT")

    def write(self, transaction: Callable[[sa.Connection], ResultT]) -> ResultT:
        """Run `transaction` and commit, all or nothing; again from its start where that may help.

        A commit whose acknowledgement was lost is run a second time, so `transaction` must be one that can
        be: every insert here ignores or replaces what is there already.
        """
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                with _translated(self.path), self.engine.begin() as connection:
                    return transaction(connection)
            except StoreError as error:
                if attempt == _ATTEMPTS or not _transient(error.__cause__):
                    raise
                time.sleep(random.uniform(0, 0.05 * 2**attempt))  # noqa: S311 - spreads retries, guards nothing
        raise AssertionError  # pragma: no cover - the loop returns or raises

    def probe(self) -> None:
        """Raise `StoreError` unless the database takes a write; leaves nothing behind."""
        with _translated(self.path), self.engine.begin() as connection:
            if self.path is None:
                connection.execute(sa.text("UPDATE sinks SET name = name"))
                return
            # Written to the disk at the commit, so that a full one is noticed.
            connection.execute(sa.text("SELECT 1 FROM targets LIMIT 1"))
            version = connection.exec_driver_sql("PRAGMA user_version").scalar_one()
            connection.exec_driver_sql(f"PRAGMA user_version = {version}")

    def close(self) -> None:
        """Close every connection."""
        self.engine.dispose()


def _configure_sqlite(connection: Any, _record: Any) -> None:
    # The driver's own transactions begin too late and too weak; ours begin in _begin_immediate.
    connection.isolation_level = None
    try:
        connection.execute(f"PRAGMA busy_timeout={round(_BUSY_SECONDS * 1000)}")
        _enter_wal(connection)
        connection.execute("PRAGMA synchronous=FULL")
    except sqlite3.Error:
        connection.close()  # the pool forgets it unclosed
        raise


def _enter_wal(connection: Any) -> None:
    # A new file changes to WAL only while nobody else has it open, and SQLite does not wait for that itself.
    deadline = time.monotonic() + _BUSY_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(random.uniform(0, 0.05))  # noqa: S311 - spreads retries, guards nothing
        else:
            return


def _begin_immediate(connection: sa.Connection) -> None:
    # The default would take the write lock at the first write, too late to be granted it after a read.
    # AUTOCOMMIT asks for no transaction at all.
    if connection.get_execution_options().get("isolation_level") != "AUTOCOMMIT":
        connection.exec_driver_sql("BEGIN IMMEDIATE")


def _create_private(path: str) -> None:
    try:
        os.makedirs(os.path.dirname(path) or ".", mode=0o700, exist_ok=True)  # noqa: PTH103, PTH120 - path may be relative
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    except OSError as error:
        raise StoreError(f"the store {path} cannot be opened: {error.strerror}") from error


def _refuse_truncated(path: Path) -> None:
    # SQLite takes an almost empty file for a new database, deletes the log that belongs to the old one, and
    # fills the end of a torn page with zeros; a page may only be torn while the log still has it.
    size, log = path.stat().st_size, path.with_name(f"{path.name}-wal")
    logged = log.exists() and log.stat().st_size > 0
    with path.open("rb") as file:
        page_size = int.from_bytes(file.read(_HEADER_SIZE)[16:18], "big")
    torn = page_size > 0 and size % page_size > 0 and not logged
    if 0 < size < _HEADER_SIZE or torn or (size == 0 and logged):
        raise CorruptStoreError(f"the store {path} is truncated to {size} bytes; {_REMEDY}")


@contextmanager
def _translated(path: str | Path | None) -> Iterator[None]:
    try:
        yield
    except PollerError:
        raise
    except SQLAlchemyError as error:
        said = _brief(error)
        message = f"the store{f' {path}' if path else ''}: {said}"
        if any(sign in said for sign in ("malformed", "not a database", "disk image")):
            raise CorruptStoreError(f"{message}; {_REMEDY}") from error
        raise StoreError(message) from error


def _brief(error: Exception) -> str:
    # The text of an SQLAlchemy error repeats the statement and its values; the driver's own does not.
    original = getattr(error, "orig", None)
    return str(original or error).partition("\n")[0]


def _transient(error: BaseException | None) -> bool:
    if not isinstance(error, DBAPIError):
        return False
    return error.connection_invalidated or "locked" in str(error.orig) or "busy" in str(error.orig)
