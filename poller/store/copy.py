"""Copies a whole store into an empty one, of the same kind or another, and proves that nothing is missing.

The copy is one transaction on each side: a copy that is killed leaves an empty store, and the source is only
read, under its lock to write if it has just one. Rows go through memory a few thousand at a time.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from poller.errors import StoreError
from poller.store.database import Prepared
from poller.store.tables import metadata

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from poller.store.database import Database

_ROWS = 5000
_MODULUS = 2**128


@dataclass(frozen=True, slots=True)
class Copied:
    """One table: how many rows it has, and a checksum of them, whatever their order."""

    table: str
    rows: int
    checksum: str


def copy(
    source: Database, target: Database, *, told: Callable[[str, int], None] = lambda *_: None
) -> list[Copied]:
    """Copy everything, and verify it.

    Args:
        source: Where from; its schema has to be this program's.
        target: Where to; a database without rows of ours, with a schema or without one.
        told: Called as rows of a table have been copied, with their number so far.

    Returns:
        The tables, as they are in both.

    Raises:
        SchemaError: A schema is not this program's.
        StoreError: The target is not empty, or differs from the source afterwards; it is left empty then.
    """
    source.require()
    target.prepare()
    target.migrate()

    def transaction(connection: sa.Connection) -> list[Copied]:
        target.exclude(connection, "copy")
        _require_empty(connection)
        with source.snapshot() as reading:
            copied = [_copy(reading, target, connection, table, told) for table in metadata.sorted_tables]
        found = [_counted(connection, table) for table in metadata.sorted_tables]
        different = [one.table for one, other in zip(copied, found, strict=True) if one != other]
        if different:
            raise StoreError(f"the copy differs from its source in {', '.join(different)}; nothing is kept")
        target.renumber(connection)
        return copied

    return target.write(transaction)


def _require_empty(connection: sa.Connection) -> None:
    for table in metadata.sorted_tables:
        if connection.execute(sa.select(sa.literal(1)).select_from(table).limit(1)).one_or_none():
            raise StoreError(
                f"the store to copy to is not empty: there are {table.name} in it; use a new one"
            )


def _copy(
    reading: sa.Connection,
    target: Database,
    writing: sa.Connection,
    table: sa.Table,
    told: Callable[[str, int], None],
) -> Copied:
    names = [column.name for column in table.columns]
    insert = Prepared(target.engine, sa.insert(table), names)
    tally = _Tally()
    for rows in _partitions(reading, table):
        insert.many(writing, [dict(zip(names, row, strict=True)) for row in rows])
        tally.add(rows)
        told(table.name, tally.rows)
    return tally.of(table)


def _counted(connection: sa.Connection, table: sa.Table) -> Copied:
    tally = _Tally()
    for rows in _partitions(connection, table):
        tally.add(rows)
    return tally.of(table)


def _partitions(connection: sa.Connection, table: sa.Table) -> Iterator[Sequence[sa.Row[Any]]]:
    # Left to itself a driver may fetch everything at once.
    streamed = sa.select(table).execution_options(stream_results=True)
    with connection.execute(streamed) as rows:
        yield from rows.partitions(_ROWS)


class _Tally:
    """Counts rows, and adds up what each of them comes to, so that their order does not matter."""

    def __init__(self) -> None:
        self.rows = 0
        self._sum = 0

    def add(self, rows: Sequence[sa.Row[Any]]) -> None:
        self.rows += len(rows)
        for row in rows:
            text = repr(tuple(row)).encode("utf-8", "surrogatepass")
            self._sum += int.from_bytes(hashlib.blake2b(text, digest_size=16).digest())

    def of(self, table: sa.Table) -> Copied:
        return Copied(table.name, self.rows, f"{self._sum % _MODULUS:032x}")
