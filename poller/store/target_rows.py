"""Finds the row of each target: by account, region and kind, whatever the configuration calls it.

A row's key is opaque. Rows that version 0.1.0 made have the configured name in it, and keep it; a replica of
0.1.0 that still runs takes its leases on the same rows. A target whose account is not known yet has a row
under its name; once the account is known, that row becomes the account's, or goes if the account has one.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from poller.store.tables import jobs, organizations, targets

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from poller.model import Target
    from poller.store.database import Database

_COLUMNS = (targets.c.id, targets.c.name, targets.c.account_id, targets.c.region, targets.c.kind)


@dataclass(frozen=True, slots=True)
class OrganizationMemory:
    """The accounts that an organization had when it was last asked.

    Args:
        filters: What the accounts were selected by, as the caller spells it.
        accounts: The account IDs, each with its partition.
    """

    filters: str
    accounts: Mapping[str, str]


class TargetRows:
    """The rows of the targets, and what is remembered of the organizations behind them.

    Args:
        database: Where they are.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._keys: dict[Target, str] = {}
        self._ids: dict[str, str] = {}

    def register(self, wanted: Iterable[Target]) -> None:
        """See that every target has a row of its own, with its present name."""
        chosen = sorted(wanted, key=lambda target: target.id)
        if not chosen:
            return

        def transaction(connection: sa.Connection) -> dict[Target, str]:
            # Replicas that start at once would each make the row that the other one makes.
            self._database.exclude(connection, "targets")
            found = [_Row(*row) for row in connection.execute(sa.select(*_COLUMNS))]
            rows = {row.key: row for row in found}
            identified = {row.identity: row for row in found if row.account_id is not None}
            return {target: _row_of(connection, target, rows, identified) for target in chosen}

        keys = self._database.write(transaction)
        self._keys |= keys
        self._ids |= {key: target.id for target, key in keys.items()}

    def key(self, target: Target) -> str:
        """The key of a target's row; that of no row if there is none."""
        key = self._keys.get(target) or self._find(target)
        if key is None:
            return target.id
        self._keys[target] = key
        self._ids.setdefault(key, target.id)
        return key

    def _find(self, target: Target) -> str | None:
        unknown = sa.and_(targets.c.id == target.id, targets.c.account_id.is_(None))
        mine: sa.ColumnElement[bool] = unknown
        if target.account_id is not None:
            account, region, kind = target.identity
            same = (targets.c.account_id == account, targets.c.region == region, targets.c.kind == kind)
            mine = sa.or_(sa.and_(*same), unknown)
        statement = sa.select(targets.c.id).where(mine).order_by(targets.c.account_id.is_(None))
        with self._database.read() as connection:
            return connection.execute(statement).scalars().first()

    def id_of(self, key: str) -> str | None:
        """The id of the target with this row; `None` if none was registered."""
        return self._ids.get(key)

    def accounts_by_name(self) -> dict[str, str]:
        """The account that each name led to, where it led to one only."""
        statement = sa.select(targets.c.name, targets.c.account_id).where(targets.c.account_id.is_not(None))
        found: dict[str, set[str]] = {}
        with self._database.read() as connection:
            for name, account in connection.execute(statement.distinct()):
                found.setdefault(name, set()).add(account)
        return {name: accounts.pop() for name, accounts in found.items() if len(accounts) == 1}

    def names(self) -> list[str]:
        """The last name of every target that was ever registered."""
        with self._database.read() as connection:
            return list(connection.execute(sa.select(targets.c.name).distinct()).scalars())

    def identities(self) -> set[tuple[str, str, str]]:
        """Account, region and kind of every target that was ever registered."""
        statement = sa.select(targets.c.account_id, targets.c.region, targets.c.kind)
        with self._database.read() as connection:
            found = connection.execute(statement.where(targets.c.account_id.is_not(None)))
            return {(account, region, kind) for account, region, kind in found}

    def remember_organization(self, name: str, memory: OrganizationMemory) -> None:
        """Keep what an organization said, for a start at which it cannot be asked."""
        values = {"filters": memory.filters, "accounts": json.dumps(dict(memory.accounts), sort_keys=True)}
        insert = self._database.insert(organizations).values(name=name, **values)
        statement = insert.on_conflict_do_update(index_elements=[organizations.c.name], set_=values)
        self._database.write(lambda connection: connection.execute(statement))

    def organization(self, name: str) -> OrganizationMemory | None:
        """What an organization said when it was last asked; `None` if it never was."""
        statement = sa.select(organizations).where(organizations.c.name == name)
        with self._database.read() as connection:
            row = connection.execute(statement).one_or_none()
        return None if row is None else OrganizationMemory(row.filters, json.loads(row.accounts))


@dataclass(frozen=True, slots=True)
class _Row:
    key: str
    name: str
    account_id: str | None
    region: str
    kind: str

    @property
    def identity(self) -> tuple[str | None, str, str]:
        return self.account_id, self.region, self.kind


def _row_of(
    connection: sa.Connection,
    target: Target,
    rows: Mapping[str, _Row],
    identified: Mapping[tuple[str | None, str, str], _Row],
) -> str:
    """The key of a target's row, which is found, taken over from its name, or made."""
    named = [f"{name}/{target.region}/{target.kind}" for name in target.names]
    unknown = [rows[key] for key in named if key in rows and rows[key].account_id is None]
    if target.account_id is None:
        if unknown:
            return unknown[0].key
        return _insert(connection, target, target.id)
    row = identified.get(target.identity)
    if row is None:
        row = next((each for each in unknown if not _has_jobs_of_others(connection, each, target)), None)
    if row is None:
        key = _insert(connection, target, f"account/{target.account_id}/{target.region}/{target.kind}")
    else:
        key = row.key
        if (row.name, row.account_id) != (target.name, target.account_id):
            _update(connection, key, name=target.name, account_id=target.account_id)
    for other in unknown:
        if other.key != key:
            _merge(connection, other, key, target)
    return key


def _insert(connection: sa.Connection, target: Target, key: str) -> str:
    values = {"name": target.name, "region": target.region, "kind": target.kind}
    connection.execute(sa.insert(targets).values(id=key, account_id=target.account_id, **values))
    return key


def _update(connection: sa.Connection, key: str, **values: Any) -> None:
    connection.execute(sa.update(targets).where(targets.c.id == key).values(**values))


def _has_jobs_of_others(connection: sa.Connection, row: _Row, target: Target) -> bool:
    others = sa.and_(jobs.c.target_id == row.key, jobs.c.account_id != target.account_id)
    return connection.execute(sa.select(jobs.c.arn).where(others).limit(1)).first() is not None


def _merge(connection: sa.Connection, row: _Row, key: str, target: Target) -> None:
    """Give a row's jobs of the target's account to the target's row, and drop a row that has none left."""
    mine = sa.and_(jobs.c.target_id == row.key, jobs.c.account_id == target.account_id)
    connection.execute(sa.update(jobs).where(mine).values(target_id=key))
    left = sa.select(jobs.c.arn).where(jobs.c.target_id == row.key).limit(1)
    if connection.execute(left).first() is None:
        connection.execute(sa.delete(targets).where(targets.c.id == row.key))
