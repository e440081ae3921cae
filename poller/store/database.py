"""Connections, transactions and the schema's version.

Every write is a whole transaction given as a function, run again from its start when the database was busy or
the connection was lost. Errors of the driver are translated here and nowhere else. What differs between
databases is in `dialects.py`.
"""

from __future__ import annotations

import math
import random
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Self, TypeVar

import sqlalchemy as sa
from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError

from poller.errors import CorruptStoreError, PollerError, SchemaError, StoreError
from poller.store.clock import ClockWatch
from poller.store.dialects import REMEDY, backend, database_now

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from poller.settings.schema import StoreSettings

ResultT = TypeVar("ResultT")

SCHEMA = "0006"
"""The Alembic revision that this program works with."""

_ATTEMPTS = 4
_POOL_SIZE = 5
_DEADLINE = "bedrock_poller_deadline"


class Prepared:
    """A statement that is compiled a single time.

    SQLAlchemy's own way from a statement to the driver costs more than the database takes to run it. Here the
    values go to the driver as they are, and come back so: they must be of types that it takes, and a value
    for which a database has no type, such as a truth, comes as another type.

    Args:
        engine: Whose dialect to compile for.
        statement: The statement; each value is a column's name or a bound parameter's.
        names: The columns that an `INSERT` gives values for.
    """

    def __init__(self, engine: sa.Engine, statement: sa.Executable, names: Sequence[str] = ()) -> None:
        self._compiled: Any = statement.compile(dialect=engine.dialect, column_keys=list(names) or None)  # type: ignore[attr-defined] # every statement of ours can be compiled
        self._sql = str(self._compiled)
        self._order: list[str] | None = self._compiled.positiontup

    def one(self, connection: sa.Connection, values: Mapping[str, Any]) -> sa.CursorResult[Any]:
        """Run it once."""
        bound = self._compiled.construct_params(values)
        given: Any = bound if self._order is None else tuple([bound[name] for name in self._order])
        return connection.exec_driver_sql(self._sql, given)

    def many(self, connection: sa.Connection, rows: Sequence[dict[str, Any]]) -> int:
        """Run it for every row, and return how many rows of the database it changed."""
        if not rows:
            return 0
        # What the statement itself fixes is bound as well.
        fixed = self._compiled.params
        if missing := fixed.keys() - rows[0].keys():
            fixed = {name: fixed[name] for name in missing}
            rows = [fixed | row for row in rows]
        order = self._order
        values: Any = rows if order is None else [tuple([row[name] for name in order]) for row in rows]
        return connection.exec_driver_sql(self._sql, values).rowcount


_LIST = "(listed)"
LISTED: sa.ColumnElement[Any] = sa.literal_column(_LIST)
"""Stands for the values in a statement of `PreparedList`: `column.op("IN")(LISTED)`."""


class PreparedList:
    """A statement for a list of values, of any length, that is compiled a single time.

    SQLAlchemy would render such a statement value by value each time it is run, which takes longer than the
    database does. As for `Prepared`, nothing is converted.

    Args:
        engine: Whose dialect to compile for.
        statement: The statement, with `LISTED` once and no parameters.
    """

    def __init__(self, engine: sa.Engine, statement: sa.Executable) -> None:
        compiled: Any = statement.compile(dialect=engine.dialect)  # type: ignore[attr-defined] # as above
        self._before, _, self._after = str(compiled).partition(_LIST)
        self._mark = "?" if compiled.positional else "%s"

    def all(self, connection: sa.Connection, values: Sequence[Any]) -> Sequence[Any]:
        """Run it, and return its rows."""
        marks = ", ".join([self._mark] * len(values))
        sql = f"{self._before}({marks}){self._after}"
        return connection.exec_driver_sql(sql, tuple(values)).all()


class Database:
    """One database.

    Args:
        url: An SQLAlchemy URL; `sqlite:////var/lib/bedrock-poller/poller.db`.
        now: The SQL expression for the current time; a test may pass its own.
        password: Gives the password for each new connection to a server, instead of the URL.
        pool_size: How many connections to a server there may be at once.

    Raises:
        StoreError: The URL is of no use, or the database cannot be opened.
    """

    def __init__(
        self,
        url: str,
        *,
        now: Callable[[], sa.ColumnElement[float]] = database_now,
        password: Callable[[], str | None] | None = None,
        pool_size: int = _POOL_SIZE,
    ) -> None:
        self.now = now
        self.clock = ClockWatch()
        try:
            self._backend = backend(sa.make_url(url), password=password, pool_size=pool_size)
        except ImportError as error:
            raise StoreError(
                f"the store's url cannot be used: {error}; for PostgreSQL, install"
                " bedrock-poller with its extra: pip install 'bedrock-poller[postgres]'"
            ) from error
        except ArgumentError as error:
            raise StoreError(f"the store's url cannot be used: {_brief(error)}") from error
        except ValueError:
            # Its text may quote a part of the password.
            raise StoreError("the store's url cannot be used: its port is not a number") from None
        self.engine = self._backend.engine
        self._closed = False
        sa.event.listen(self.engine, "checkin", self._close_late)
        self.path = self._backend.path
        self.insert: Any = self._backend.insert
        self.side_by_side = self._backend.side_by_side

    @classmethod
    def configured(cls, settings: StoreSettings) -> Self:
        """The database of a configuration.

        Raises:
            StoreError: As above.
        """
        return cls(
            settings.url.get_secret_value(),
            password=settings.read_password if settings.password_file else None,
            pool_size=settings.pool_size,
        )

    def limit_statements(self, seconds: float) -> None:
        """End every statement that takes longer; for connections that serve people, not work."""

        def begin(connection: sa.Connection, *_: Any) -> None:
            connection.info[_DEADLINE] = time.monotonic() + seconds

        sa.event.listen(self.engine, "before_cursor_execute", begin)

        def limit(raw: Any, record: sa.pool.ConnectionPoolEntry) -> None:
            self._backend.limit_statements(raw, seconds, lambda: record.info.get(_DEADLINE, math.inf))

        sa.event.listen(self.engine, "connect", limit)

    def require_file(self) -> None:
        """See that the database file is still the one that was opened.

        Raises:
            LostStoreError: It was deleted or replaced.
        """
        self._backend.require_file()

    def prepare(self) -> None:
        """See that the database is sound; a file is created if there is none, readable by its owner alone.

        Raises:
            CorruptStoreError: The file is damaged, or is not a database.
            StoreError: The file cannot be opened or created, or the server's database is of no use.
        """
        with self._translated():
            self._backend.prepare()

    def revision(self) -> str | None:
        """The schema's Alembic revision; `None` for an empty database."""
        with self.read() as connection:
            return _revision(connection)

    def exists(self) -> bool:
        """Whether there is a database to connect to; a server's always is."""
        return self._backend.exists()

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
            self.write(self._migrate)
        return before, SCHEMA

    def _migrate(self, connection: sa.Connection) -> None:
        from poller.store.migrations import known_revisions, upgrade  # noqa: PLC0415 - Alembic is slow to import

        # Of replicas that start at once the first one migrates, and the others find it done.
        self._backend.be_patient(connection)
        self._backend.exclude(connection, "migration")
        before = _revision(connection)
        if before is not None and before not in known_revisions():
            raise SchemaError(
                f"the database's schema is {before}, which this version of bedrock-poller does not know; "
                "it was written by a newer version, so run that one"
            )
        upgrade(connection)

    @contextmanager
    def read(self) -> Iterator[sa.Connection]:
        """A connection for statements that read, outside any transaction of ours."""
        self._backend.require_file()
        with self._translated(), self.engine.connect() as connection:
            yield connection.execution_options(isolation_level="AUTOCOMMIT")

    @contextmanager
    def snapshot(self) -> Iterator[sa.Connection]:
        """A connection that sees one state of the database for as long as it is open, and changes nothing."""
        with self._translated(), self.engine.connect() as connection, connection.begin() as transaction:
            self._backend.see_one_state(connection)
            yield connection
            transaction.rollback()

    def renumber(self, connection: sa.Connection) -> None:
        """Let new rows be numbered from the highest number on, after rows were written with theirs."""
        self._backend.renumber(connection)

    def write(self, transaction: Callable[[sa.Connection], ResultT]) -> ResultT:
        """Run `transaction` and commit, all or nothing; again from its start where that may help.

        A commit whose confirmation was lost is run a second time, so `transaction` must be one that can
        be: every insert here ignores or replaces what is there already, and every update says what shall be
        or is fenced by an epoch that it raises.
        """

        def whole() -> ResultT:
            self._backend.require_file()
            with self._translated(), self.engine.begin() as connection:
                return transaction(connection)

        return self._again(whole)

    def write_row(self, statement: Prepared, values: Mapping[str, Any]) -> sa.Row[Any] | None:
        """Run one statement that writes one row or none, and return what it returns of it.

        It is a transaction by itself: that saves a server the messages that begin and end one. What holds for
        `write` holds here too.
        """

        def alone() -> sa.Row[Any] | None:
            with self.read() as connection:
                return statement.one(connection, values).one_or_none()

        return self._again(alone)

    def _again(self, attempt: Callable[[], ResultT]) -> ResultT:
        for number in range(1, _ATTEMPTS + 1):
            try:
                return attempt()
            except StoreError as error:
                if number == _ATTEMPTS or not self._is_transient(error.__cause__):
                    raise
                time.sleep(random.uniform(0, 0.05 * 2**number))  # noqa: S311 - spreads retries, guards nothing
        raise AssertionError  # pragma: no cover - the loop returns or raises

    def exclude(self, connection: sa.Connection, name: str) -> None:
        """Wait here, in a transaction, until every other one that gave the same name has ended."""
        self._backend.exclude(connection, name)

    def probe(self) -> None:
        """Raise `StoreError` unless the database takes a write; leaves nothing behind."""
        self._backend.require_file()
        with self._translated(), self.engine.begin() as connection:
            self._backend.probe(connection)

    def close(self) -> None:
        """Close every connection; one that a thread uses then or later is closed when it comes back."""
        self._closed = True
        self.engine.dispose()

    def _close_late(self, _connection: Any, record: sa.pool.ConnectionPoolEntry) -> None:
        # It would go to a pool that is never closed.
        if self._closed:
            record.close()

    def _is_transient(self, error: BaseException | None) -> bool:
        return isinstance(error, DBAPIError) and (
            error.connection_invalidated or self._backend.is_transient(error)
        )

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            with self._backend.turns:
                yield
        except PollerError:
            raise
        except SQLAlchemyError as error:
            said = _brief(error)
            message = f"the store{f' {self.path}' if self.path else ''}: {said}"
            if self._backend.is_damage(said):
                raise CorruptStoreError(f"{message}; {REMEDY}") from error
            raise StoreError(message) from error


def _revision(connection: sa.Connection) -> str | None:
    if not sa.inspect(connection).has_table("alembic_version"):
        return None
    revision: str | None = connection.exec_driver_sql(
        "SELECT version_num FROM alembic_version"
    ).scalar_one_or_none()
    return revision


def _brief(error: Exception) -> str:
    # The text of an SQLAlchemy error repeats the statement and its values; the driver's own does not.
    original = getattr(error, "orig", None)
    return str(original or error).partition("\n")[0]
