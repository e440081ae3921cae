"""Opening, checking, locking and writing the database itself."""

from __future__ import annotations

import os
import re
import resource
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
import sqlalchemy as sa

from poller.errors import CorruptStoreError, StoreError
from poller.store import Database, dialects
from poller.store.database import SCHEMA
from poller.store.tables import jobs
from tests.store.conftest import Store, only_sqlite
from tests.store.samples import TARGET, announced, job

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def opened(path: Path) -> Iterator[Database]:
    """A database that is closed after use."""
    database = Database(f"sqlite:///{path}")
    try:
        yield database
    finally:
        database.close()


def refused(path: Path) -> str:
    """The message with which a file is refused; it must not be changed by that."""
    before = path.read_bytes()
    for database in opened(path):
        with pytest.raises(CorruptStoreError) as caught:
            database.prepare()
    assert path.read_bytes() == before
    return str(caught.value)


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The bytes of a database with a few jobs in it."""
    path = tmp_path_factory.mktemp("sound") / "poller.db"
    for database in opened(path):
        database.prepare()
        database.migrate()
        store = Store(database)
        store.snapshot.rows.register([TARGET])
        store.record(*(announced(job(number, jobName="x" * 500), "ops") for number in range(50)))
    return path.read_bytes()


def test_a_new_file_is_readable_by_its_owner_alone(tmp_path: Path) -> None:
    """The database, its log and its directory; job names and messages are nobody else's business."""
    path = tmp_path / "state" / "poller.db"
    for database in opened(path):
        database.prepare()
        database.migrate()
        modes = {entry.name: stat.S_IMODE(entry.stat().st_mode) for entry in path.parent.iterdir()}
    assert modes == {"poller.db": 0o600, "poller.db-wal": 0o600, "poller.db-shm": 0o600}
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


@only_sqlite
def test_every_connection_keeps_what_it_has_committed(database: Database) -> None:
    """WAL, synchronous=FULL and the wait for locks are in force wherever a read or write takes place."""
    pragmas = ("journal_mode", "synchronous", "busy_timeout")

    def ask(connection: sa.Connection) -> list[object]:
        return [connection.exec_driver_sql(f"PRAGMA {name}").scalar_one() for name in pragmas]

    barrier = threading.Barrier(4)
    found: list[list[object]] = []

    def work() -> None:
        with database.read() as connection:
            barrier.wait(10)
            found.append(ask(connection))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found += [database.write(ask) for _ in range(3)]
    assert found == [["wal", 2, 10_000]] * 7


@only_sqlite
def test_a_write_holds_the_lock_from_its_first_statement(database: Database) -> None:
    """A transaction that reads before it writes cannot be overtaken; a read is in no transaction."""

    def transaction(connection: sa.Connection) -> bool:
        connection.execute(sa.select(jobs))
        with sqlite3.connect(str(database.path), timeout=0) as other:
            with pytest.raises(sqlite3.OperationalError, match="locked"):
                other.execute("BEGIN IMMEDIATE")
            other.rollback()
        other.close()
        in_transaction: bool = connection.connection.driver_connection.in_transaction  # type: ignore[union-attr]
        return in_transaction

    assert database.write(transaction) is True
    with database.read() as connection:
        connection.execute(sa.select(jobs))
        assert connection.connection.driver_connection.in_transaction is False  # type: ignore[union-attr]


def test_a_connection_in_use_at_the_end_is_closed_when_it_comes_back(database: Database) -> None:
    """A thread that was given up may still have one."""
    with database.read() as connection:
        driver: Any = connection.connection.driver_connection
        database.close()
        assert connection.execute(sa.text("SELECT 1")).scalar_one() == 1
    with pytest.raises((sqlite3.ProgrammingError, psycopg.OperationalError), match="closed"):
        driver.execute("SELECT 1")
    assert database.revision() is not None


def test_a_connection_that_is_made_after_the_end_does_not_stay(database: Database) -> None:
    """A thread that was given up may ask once more, and nobody closes the pool a second time."""
    database.close()
    with database.read() as connection:
        driver: Any = connection.connection.driver_connection
        assert connection.execute(sa.text("SELECT 1")).scalar_one() == 1
    with pytest.raises((sqlite3.ProgrammingError, psycopg.OperationalError), match="closed"):
        driver.execute("SELECT 1")


def test_a_failed_transaction_leaves_nothing(database: Database) -> None:
    """Any exception rolls it back and comes out as it is."""

    def transaction(connection: sa.Connection) -> None:
        connection.execute(sa.text("INSERT INTO sinks (name) VALUES ('x')"))
        raise KeyError("mine")

    with pytest.raises(KeyError):
        database.write(transaction)
    with database.read() as connection:
        assert connection.execute(sa.text("SELECT count(*) FROM sinks")).scalar_one() == 0


def test_an_error_of_the_database_is_a_store_error_without_values(database: Database) -> None:
    """The driver's own words, without the statement and what was to be written."""
    with pytest.raises(StoreError) as caught:
        database.write(
            lambda connection: connection.execute(
                sa.text("INSERT INTO nowhere VALUES (:x)"), {"x": "private"}
            )
        )
    assert re.search(r"no such table: nowhere|relation \"nowhere\" does not exist", str(caught.value))
    assert "private" not in str(caught.value)
    assert "INSERT" not in str(caught.value)


@only_sqlite
def test_a_locked_database_is_tried_again(
    url: str, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A write waits, and begins anew, until the lock is gone; one that never goes is an error (fault 6)."""
    monkeypatch.setattr(dialects, "_BUSY_SECONDS", 0.05)
    impatient = Database(url)
    holder = sqlite3.connect(str(database.path), isolation_level=None, check_same_thread=False)
    holder.execute("BEGIN IMMEDIATE")
    try:
        with pytest.raises(StoreError, match="locked"):
            impatient.write(lambda connection: connection.execute(sa.text("DELETE FROM sinks")))
        release = threading.Timer(0.1, holder.execute, ["ROLLBACK"])
        release.start()
        impatient.write(lambda connection: connection.execute(sa.text("DELETE FROM sinks")))
        release.join()
    finally:
        holder.close()
        impatient.close()


@only_sqlite
def test_a_lost_commit_is_run_again_from_its_start(database: Database) -> None:
    """A transaction that was interrupted by a busy database happens once as a whole (fault 6)."""
    runs = 0

    def transaction(connection: sa.Connection) -> int:
        nonlocal runs
        runs += 1
        connection.execute(sa.text("INSERT INTO sinks (name) VALUES ('x')"))
        if runs == 1:
            raise sa.exc.OperationalError("", None, sqlite3.OperationalError("database is locked"))
        return runs

    assert database.write(transaction) == 2


def test_an_error_that_no_second_try_can_help_is_raised_at_once(database: Database) -> None:
    """A wrong statement is not repeated."""
    runs = 0

    def transaction(connection: sa.Connection) -> None:
        nonlocal runs
        runs += 1
        connection.execute(sa.text("SELECT nothing FROM nowhere"))

    with pytest.raises(StoreError):
        database.write(transaction)
    assert runs == 1


def test_garbage_is_refused(tmp_path: Path) -> None:
    """What is no database is left alone, and the message says where it lies and what to do (fault 7)."""
    path = tmp_path / "poller.db"
    for content in (b"x", b"garbage" * 1000, b"\0" * 8192, b"SQLite format 3\0" + b"\xff" * 5000):
        path.write_bytes(content)
        message = refused(path)
        assert str(path) in message
        assert "restore it from a backup" in message


@pytest.mark.parametrize("part", [0.00001, 0.0005, 0.001, 0.01, 0.1, 0.5, 0.9, 0.99, 0.99999])
def test_a_truncated_file_is_refused(sound: bytes, tmp_path: Path, part: float) -> None:
    """Wherever it was cut, the program does not start over in silence (fault 7)."""
    path = tmp_path / "poller.db"
    path.write_bytes(sound[: max(1, int(len(sound) * part))])
    assert "restore it from a backup" in refused(path)


def test_an_empty_file_with_a_log_is_refused(sound: bytes, tmp_path: Path) -> None:
    """SQLite would delete the log and start over; an empty file alone is a new database."""
    path = tmp_path / "poller.db"
    path.touch()
    log = tmp_path / "poller.db-wal"
    log.write_bytes(sound)
    assert "truncated to 0 bytes" in refused(path)
    assert log.read_bytes() == sound
    log.unlink()
    for database in opened(path):
        database.prepare()
        assert database.revision() is None


def test_a_damaged_page_is_refused(sound: bytes, tmp_path: Path) -> None:
    """A file of the right length whose tables are broken is found out at the start (fault 7)."""
    path = tmp_path / "poller.db"
    path.write_bytes(sound[:8192] + b"\xa5" * 12_288 + sound[20_480:])
    message = refused(path)
    assert str(path) in message
    assert "restore it from a backup" in message


def test_damage_that_shows_later_is_named_as_such(sound: bytes, tmp_path: Path) -> None:
    """An error in the middle of work says that the file is damaged, and not only that a query failed."""
    path = tmp_path / "poller.db"
    path.write_bytes(sound)
    for database in opened(path):
        database.prepare()
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xa5" * (len(sound) - 4096))
    for database in opened(path):
        with pytest.raises(CorruptStoreError, match="restore it from a backup"):
            Store(database).snapshot.counts.by_status()


def test_a_sound_file_is_accepted(sound: bytes, tmp_path: Path) -> None:
    """With everything that is in it."""
    path = tmp_path / "poller.db"
    path.write_bytes(sound)
    for database in opened(path):
        database.prepare()
        assert database.migrate() == (SCHEMA, SCHEMA)
        assert sum(Store(database).snapshot.counts.by_status().values()) == 50


@pytest.mark.parametrize("make", [lambda path: path.mkdir(), lambda path: path.parent.joinpath("d").touch()])
def test_a_place_where_no_file_can_be_is_an_error(tmp_path: Path, make: Callable[[Path], object]) -> None:
    """A directory in its place, or a file in the place of its directory."""
    path = tmp_path / "d" / "poller.db"
    if make(tmp_path / "poller.db") is None and (tmp_path / "poller.db").is_dir():
        path = tmp_path / "poller.db"
    for database in opened(path):
        with pytest.raises(StoreError, match="cannot be opened"):
            database.prepare()


@pytest.mark.parametrize(
    "url",
    ["nonsense", "foo://x/y", "mysql://user:hunter2@host/db", "postgresql://user:hunter2@host:hunter2/db"],
)
def test_a_url_of_no_use_is_an_error_that_tells_no_password(url: str) -> None:
    """Neither the driver's nor the parser's own words may repeat it."""
    with pytest.raises(StoreError, match="the store's url cannot be used") as caught:
        Database(url)
    assert "hunter2" not in str(caught.value)
    assert "hunter2" not in repr(caught.value.__cause__)


def test_a_database_in_memory_works_from_every_thread() -> None:
    """What tests and rehearsals use; there is no file to prepare."""
    database = Database("sqlite://")
    database.prepare()
    database.migrate()
    threads = [threading.Thread(target=database.probe) for _ in range(2)]
    for thread in threads:
        thread.start()
        thread.join()
    assert database.exists()
    assert database.revision() == SCHEMA
    database.close()


def test_the_database_s_clock_tells_the_time(url: str) -> None:
    """Seconds since the epoch, to a few milliseconds, and moving."""
    database = Database(url)
    before = time.time()
    with database.read() as connection:
        first = connection.execute(sa.select(database.now())).scalar_one()
        time.sleep(0.01)
        second = connection.execute(sa.select(database.now())).scalar_one()
    database.close()
    assert before - 0.01 <= first < second <= time.time() + 0.01


def test_a_probe_leaves_nothing_behind(database: Database) -> None:
    """It succeeds on a sound database, and the tables stay as they were."""
    database.probe()
    with database.read() as connection:
        assert connection.execute(sa.text("SELECT count(*) FROM sinks")).scalar_one() == 0
    assert database.revision() == SCHEMA


@only_sqlite
def test_a_probe_notices_a_lock_that_stays(
    url: str, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody who never lets go keeps the program from being ready."""
    monkeypatch.setattr(dialects, "_BUSY_SECONDS", 0.05)
    impatient = Database(url)
    holder = sqlite3.connect(str(database.path), isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreError, match="locked"):
        impatient.probe()
    holder.close()
    impatient.probe()
    impatient.close()


FULL_DISK = """
import resource, signal, sys
from poller.errors import StoreError
from poller.store import Database
database = Database(sys.argv[1])
database.prepare()
database.migrate()
database.probe()
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
limit = int(sys.argv[2])
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
failed = 0
for _ in range(3):
    try:
        database.probe()
    except StoreError:
        failed += 1
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
database.probe()
database.prepare()
database.close()
print(failed)
"""


@only_sqlite
def test_a_probe_notices_a_full_disk_and_recovers(url: str) -> None:
    """A commit that cannot be written fails the probe; once there is space again, all is well (fault 4)."""
    assert resource.RLIMIT_FSIZE
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, url, "4096"],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "3\n"), done.stderr


def test_a_new_file_that_somebody_else_has_open_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It cannot change to WAL meanwhile, and SQLite does not wait for that by itself."""
    monkeypatch.setattr(dialects, "_BUSY_SECONDS", 0.2)
    path = tmp_path / "poller.db"
    holder = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    holder.execute("CREATE TABLE other (x)")
    holder.execute("BEGIN IMMEDIATE")
    for database in opened(path):
        with pytest.raises(StoreError, match="locked"):
            database.prepare()
        release = threading.Timer(0.05, holder.execute, ["COMMIT"])
        release.start()
        database.prepare()
        release.join()
    holder.close()


def test_threads_take_turns_at_a_database_in_memory() -> None:
    """It has one connection, which a dry run's polls share; reads and writes side by side work."""
    with closing(Database("sqlite://")) as database:
        database.migrate()

        def work(number: int) -> int:
            for _ in range(50):
                database.write(lambda connection: connection.execute(sa.text("UPDATE sinks SET name = name")))
                with database.read() as connection:
                    connection.execute(sa.text("SELECT count(*) FROM targets")).scalar_one()
            return number

        with ThreadPoolExecutor(8) as threads:
            assert list(threads.map(work, range(8))) == list(range(8))
