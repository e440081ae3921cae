"""What differs between SQLite and PostgreSQL; the rest of the store does not know which one it works with.

On both, the driver begins no transaction by itself: a write begins one with the statement given here, and
holds nothing of the session beyond it, so that a pooler may give each transaction to another connection.

SQLite lets one transaction write at a time. PostgreSQL runs them side by side, as READ COMMITTED, and what
must not overlap is kept apart by locks that end with the transaction: rows in the order of their keys, and
names where there is no row yet.
"""

from __future__ import annotations

import math
import os
import random
import sqlite3
import threading
import time
from abc import ABC, abstractmethod
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import ArgumentError, InvalidatePoolError
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement

from poller.errors import CorruptStoreError, LostStoreError, StoreError

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy.engine.interfaces import ExceptionContext
    from sqlalchemy.pool import ConnectionPoolEntry

REMEDY = "restore it from a backup, or move it away to start with an empty one"

_BUSY_SECONDS = 10.0
_STEPS = 10_000
"""Steps of SQLite between two looks at the clock."""
_HEADER_SIZE = 100
_RESTED_SECONDS = 2.0
"""A connection that has not been used for so long is asked whether it still works."""
_USED = "bedrock_poller_used"


class database_now(FunctionElement[float]):  # noqa: N801 - SQLAlchemy spells SQL functions in lower case
    """Seconds since the epoch, by the database's own clock, at the beginning of the statement."""

    type = sa.Double()
    inherit_cache = True


@compiles(database_now, "sqlite")
def _sqlite_now(*_: Any, **__: Any) -> str:
    return "((julianday('now') - 2440587.5) * 86400.0)"


@compiles(database_now, "postgresql")
def _postgresql_now(*_: Any, **__: Any) -> str:
    # Not now(): a transaction that has waited for a lock would take leases that have partly run out. Not
    # clock_timestamp() either: it differs from row to row, so that no index can be searched with it.
    return "extract(epoch from statement_timestamp())::double precision"


class by_bytes(FunctionElement[str]):  # noqa: N801 - the same
    """A text as a key to sort by: the same order in every database, whatever its language."""

    type = sa.Text()
    inherit_cache = True


@compiles(by_bytes, "sqlite")
def _sqlite_by_bytes(element: Any, compiler: Any, **options: Any) -> str:
    return str(compiler.process(element.clauses, **options))


@compiles(by_bytes, "postgresql")
def _postgresql_by_bytes(element: Any, compiler: Any, **options: Any) -> str:
    return f'{compiler.process(element.clauses, **options)} COLLATE "C"'


class byte_length(FunctionElement[int]):  # noqa: N801 - the same
    """How many bytes a text or a blob has; a text's are those of UTF-8."""

    type = sa.BigInteger()
    inherit_cache = True


@compiles(byte_length, "sqlite")
def _sqlite_byte_length(element: Any, compiler: Any, **options: Any) -> str:
    return f"length(CAST({compiler.process(element.clauses, **options)} AS BLOB))"


@compiles(byte_length, "postgresql")
def _postgresql_byte_length(element: Any, compiler: Any, **options: Any) -> str:
    return f"octet_length({compiler.process(element.clauses, **options)})"


class Backend(ABC):
    """A kind of database, and one of that kind."""

    insert: Any
    """The dialect's `INSERT`, which has `ON CONFLICT`."""
    side_by_side: ClassVar[bool]
    """Whether several transactions can write at once."""
    path: str | None = None
    """The database's file."""
    turns: AbstractContextManager[object] = nullcontext()
    """Entered for as long as a connection is used; one thread at a time where all share one connection."""
    engine: sa.Engine

    @abstractmethod
    def prepare(self) -> None:
        """See that the database can be worked with."""

    @abstractmethod
    def probe(self, connection: sa.Connection) -> None:
        """Fail unless the database takes a write; leaves nothing behind."""

    @abstractmethod
    def exclude(self, connection: sa.Connection, name: str) -> None:
        """Let only one transaction at a time pass, of those that give the same name."""

    @abstractmethod
    def be_patient(self, connection: sa.Connection) -> None:
        """Let this transaction, and what it waits for, take as long as it likes."""

    @abstractmethod
    def see_one_state(self, connection: sa.Connection) -> None:
        """Let this transaction, which has just begun, see one state of the database to its end."""

    @abstractmethod
    def renumber(self, connection: sa.Connection) -> None:
        """Number new rows from the highest number on."""

    @abstractmethod
    def is_transient(self, error: sa.exc.DBAPIError) -> bool:
        """Whether the same transaction may succeed if it is run again."""

    @abstractmethod
    def require_file(self) -> None:
        """See that the file is still the one that was prepared; a server has none.

        Raises:
            LostStoreError: It was deleted or replaced.
        """

    @abstractmethod
    def limit_statements(self, raw: Any, seconds: float, deadline: Callable[[], float]) -> None:
        """Let a new connection end every statement that takes too long.

        Args:
            raw: The driver's connection.
            seconds: How long a statement may take.
            deadline: When the present one has to end, in monotonic seconds.
        """

    def is_damage(self, said: str) -> bool:  # noqa: ARG002 - of others
        """Whether the driver's words mean that the database is damaged."""
        return False

    def exists(self) -> bool:
        """Whether there is a database to connect to; a server's always is."""
        return True


def backend(url: sa.URL, *, password: Callable[[], str | None] | None, pool_size: int) -> Backend:
    """The backend that an address speaks of.

    Raises:
        ArgumentError: It is not an address of these.
        ImportError: There is no driver for it.
    """
    name = url.get_backend_name()
    if name == "sqlite":
        return Sqlite(url)
    if name == "postgresql":
        return Postgresql(url, password=password, pool_size=pool_size)
    raise ArgumentError(f"{name} is not supported")


class Sqlite(Backend):
    """A file, or a database in memory."""

    insert = staticmethod(sqlite.insert)
    side_by_side = False

    def __init__(self, url: sa.URL) -> None:
        self.path = url.database
        self._file = None if self.path in {None, "", ":memory:"} else str(self.path)
        self._prepared: tuple[int, int] | None = None
        if self._file is None:
            shared = {"check_same_thread": False}
            # A thread that has the connection may take it again.
            self.turns = threading.RLock()
            self.engine = sa.create_engine(url, poolclass=sa.StaticPool, connect_args=shared)
        else:
            self.engine = sa.create_engine(url, connect_args={"timeout": _BUSY_SECONDS})
        sa.event.listen(self.engine, "connect", _configure_sqlite)
        # The default would take the write lock at the first write, too late to be granted it after a read.
        sa.event.listen(self.engine, "begin", _beginning("BEGIN IMMEDIATE"))

    def prepare(self) -> None:
        """Create the file if there is none, readable by its owner alone, and see that it is sound."""
        if self._file is None:
            return
        _create_private(self._file)
        _refuse_truncated(Path(self._file))
        self._prepared = _identity(self._file)
        with self.engine.connect() as connection:
            unlocked = connection.execution_options(isolation_level="AUTOCOMMIT")
            found = unlocked.exec_driver_sql("PRAGMA quick_check(1)").scalar_one()
        if found != "ok":
            raise CorruptStoreError(f"the store {self._file} is damaged: {found}; {REMEDY}")

    def require_file(self) -> None:
        """Compare what is there with what was prepared."""
        if self._file is None or self._prepared is None or _identity(self._file) == self._prepared:
            return
        what = "replaced" if self.exists() else "deleted"
        raise LostStoreError(
            f"the store {self._file} was {what} while it was open; nothing is written any more: put the right"
            " file in its place, and restart the program"
        )

    def exists(self) -> bool:
        """Whether there is a file."""
        return self._file is None or os.path.exists(self._file)  # noqa: PTH110 - path may be relative

    def probe(self, connection: sa.Connection) -> None:
        """Written to the disk at the commit, so that a full one is noticed."""
        connection.exec_driver_sql("SELECT 1 FROM targets LIMIT 1")
        version = connection.exec_driver_sql("PRAGMA user_version").scalar_one()
        connection.exec_driver_sql(f"PRAGMA user_version = {version}")

    def exclude(self, connection: sa.Connection, name: str) -> None:
        """Nothing to do: there is one writer at a time."""

    def be_patient(self, connection: sa.Connection) -> None:
        """Nothing to do: only the lock is waited for, and this transaction has it."""

    def see_one_state(self, connection: sa.Connection) -> None:
        """Nothing to do: there is no other writer."""

    def renumber(self, connection: sa.Connection) -> None:
        """Nothing to do: SQLite looks at what is there."""

    def limit_statements(self, raw: Any, seconds: float, deadline: Callable[[], float]) -> None:  # noqa: ARG002 - a server counts itself
        """Look at the clock every few thousand steps."""
        raw.set_progress_handler(lambda: time.monotonic() > deadline(), _STEPS)

    def is_transient(self, error: sa.exc.DBAPIError) -> bool:
        """Whether another connection had the lock."""
        return "locked" in str(error.orig) or "busy" in str(error.orig)

    def is_damage(self, said: str) -> bool:
        """Whether SQLite says so."""
        return any(sign in said for sign in ("malformed", "not a database", "disk image"))


class Postgresql(Backend):
    """A database of a server."""

    insert = staticmethod(postgresql.insert)
    side_by_side = True

    _CONNECTING: ClassVar[dict[str, Any]] = {
        "application_name": "bedrock-poller",
        "connect_timeout": 10,
        # A server that has gone without a word is noticed within half a minute.
        "keepalives": 1,
        "keepalives_idle": 10,
        "keepalives_interval": 5,
        "keepalives_count": 3,
        "tcp_user_timeout": 30_000,
    }
    # One message, so that the settings cost nothing. The last of them gets rid of a replica that stands still
    # in the middle of a transaction, with its locks: sooner than a lease ends, or it would last longer.
    _BEGIN = (
        "BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL lock_timeout = '10s';"
        " SET LOCAL statement_timeout = '5min'; SET LOCAL idle_in_transaction_session_timeout = '10s'"
    )
    _TRANSIENT = frozenset(
        {
            "40001",  # serialization_failure
            "40P01",  # deadlock_detected
            "55P03",  # lock_not_available
            "57P01",  # admin_shutdown
            "57P02",  # crash_shutdown
            "57P03",  # cannot_connect_now
        }
    )
    _READ_ONLY = "25006"
    _OURS = 0x62706F6C
    """The namespace of our advisory locks in a database that others may use too."""

    def __init__(self, url: sa.URL, *, password: Callable[[], str | None] | None, pool_size: int) -> None:
        given = url.query.keys()
        self.engine = sa.create_engine(
            url.set(drivername="postgresql+psycopg"),
            isolation_level="AUTOCOMMIT",
            pool_size=pool_size,
            max_overflow=0,
            # It would ask the server for the extension's types at every start.
            use_native_hstore=False,
            connect_args={
                # A prepared statement belongs to a session, which a pooler does not keep.
                "prepare_threshold": None,
                **{name: value for name, value in self._CONNECTING.items() if name not in given},
            },
        )
        sa.event.listen(self.engine, "begin", _beginning(self._BEGIN))
        sa.event.listen(self.engine, "handle_error", self._leave_a_standby)
        sa.event.listen(self.engine, "checkin", self._note_use)
        sa.event.listen(self.engine, "checkout", self._ping_if_rested)
        if password is not None:

            def fill_in(_dialect: Any, _record: Any, _arguments: Any, parameters: dict[str, Any]) -> None:
                try:
                    parameters["password"] = password()
                except ValueError as error:
                    raise StoreError(f"the store's password: {error}") from error

            # Read for each connection, so that a new password takes effect by itself.
            sa.event.listen(self.engine, "do_connect", fill_in)

    def prepare(self) -> None:
        """See that every text can be stored."""
        with self.engine.connect() as connection:
            unlocked = connection.execution_options(isolation_level="AUTOCOMMIT")
            encoding = unlocked.exec_driver_sql("SHOW server_encoding").scalar_one()
        if encoding != "UTF8":
            raise StoreError(
                f"the store's encoding is {encoding}, which cannot hold every name; create another database"
                " with ENCODING 'UTF8' TEMPLATE template0"
            )

    def probe(self, connection: sa.Connection) -> None:
        """A number for the transaction makes its commit a write; a standby refuses either statement."""
        connection.exec_driver_sql("UPDATE sinks SET name = name WHERE name = ''")
        connection.exec_driver_sql("SELECT txid_current()")

    def exclude(self, connection: sa.Connection, name: str) -> None:
        """Wait for a lock that ends with the transaction."""
        lock = sa.text("SELECT pg_advisory_xact_lock(:ours, hashtext(:name))")
        connection.execute(lock, {"ours": self._OURS, "name": name})

    def be_patient(self, connection: sa.Connection) -> None:
        """Take the limits back."""
        connection.exec_driver_sql("SET LOCAL lock_timeout = 0; SET LOCAL statement_timeout = 0")

    def see_one_state(self, connection: sa.Connection) -> None:
        """Every statement sees what was there at the first."""
        connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")

    def renumber(self, connection: sa.Connection) -> None:
        """The sequences do not know the numbers that were given to them."""
        for table, column in (("events", "seq"), ("deliveries", "id")):
            connection.exec_driver_sql(
                f"SELECT setval(pg_get_serial_sequence('{table}', '{column}'), max({column}))"  # noqa: S608 - our own names
                f" FROM {table} HAVING max({column}) IS NOT NULL"
            )

    def require_file(self) -> None:
        """Nothing to do: there is no file."""

    def limit_statements(self, raw: Any, seconds: float, deadline: Callable[[], float]) -> None:  # noqa: ARG002 - the server counts
        """Let the server count."""
        raw.execute(f"SET statement_timeout = {round(seconds * 1000)}")

    def is_transient(self, error: sa.exc.DBAPIError) -> bool:
        """Whether others were in the way, or the server about to stop."""
        state = getattr(error.orig, "sqlstate", None) or ""
        return state in self._TRANSIENT or state.startswith("08")

    @staticmethod
    def _note_use(_connection: Any, record: ConnectionPoolEntry) -> None:
        record.info[_USED] = time.monotonic()

    def _ping_if_rested(self, connection: Any, record: ConnectionPoolEntry, _proxy: Any) -> None:
        # The pool's own way is a message before each use, as many as a poll needs for its work.
        if time.monotonic() - record.info.get(_USED, math.inf) < _RESTED_SECONDS:
            return
        try:
            self.engine.dialect.do_ping(connection)
        except self.engine.dialect.loaded_dbapi.Error as error:
            raise InvalidatePoolError from error

    def _leave_a_standby(self, context: ExceptionContext) -> None:
        # A primary that has become a standby keeps its sessions; the next one may lead to the new primary.
        if getattr(context.original_exception, "sqlstate", None) == self._READ_ONLY:
            context.is_disconnect = True


def _beginning(statement: str) -> Callable[[sa.Connection], None]:
    def begin(connection: sa.Connection) -> None:
        # AUTOCOMMIT asks for no transaction at all.
        if connection.get_execution_options().get("isolation_level") != "AUTOCOMMIT":
            connection.exec_driver_sql(statement)

    return begin


def _configure_sqlite(connection: Any, _record: Any) -> None:
    # The driver's own transactions begin too late and too weak.
    connection.isolation_level = None
    try:
        connection.execute(f"PRAGMA busy_timeout={round(_BUSY_SECONDS * 1000)}")
        _enter_wal(connection)
        connection.execute("PRAGMA synchronous=FULL")
    except sqlite3.Error:
        connection.close()  # the pool forgets it unclosed
        raise


def _enter_wal(connection: Any) -> None:
    # A new file changes to WAL only while no other process has it open; SQLite does not wait for that.
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


def _identity(path: str) -> tuple[int, int] | None:
    """What is another once a file was replaced; `None` if there is none."""
    try:
        found = os.stat(path)  # noqa: PTH116 - path may be relative
    except OSError:
        return None
    return found.st_dev, found.st_ino


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
        raise CorruptStoreError(f"the store {path} is truncated to {size} bytes; {REMEDY}")
