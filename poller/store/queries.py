"""Reads the store for people: the commands and the API that list and show what is in it."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import accumulate
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from poller.errors import PollerError
from poller.kinds import is_job_id
from poller.model import storable
from poller.store.dialects import by_bytes, byte_length
from poller.store.tables import deliveries, events, from_micros, job_counts, jobs, targets
from poller.times import iso

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from poller.store.database import Database

Row = dict[str, Any]

_label = targets.c.name + "/" + targets.c.region + "/" + targets.c.kind
"""What people call a target: its present name, not the key that its row was once made with."""

_CANDIDATES = 10
"""How many jobs are named where a key could mean several."""

_ended = sa.func.coalesce(deliveries.c.settled_at, deliveries.c.created_at)


@dataclass(frozen=True, slots=True)
class Selection:
    """What to list.

    Args:
        limit: How many rows at most, newest first.
        equal: Column names and the value each must have; `None` values do not select.
        since: Only deliveries that were settled then or later, in seconds since the epoch; of pending ones,
            those recorded then or later.
        until: The same, before then.
        most_bytes: End the rows once their texts have come to so many bytes; the first row is always given.
    """

    limit: int = 100
    equal: Mapping[str, str | None] | None = None
    since: float | None = None
    until: float | None = None
    most_bytes: int | None = None

    def conditions(self, table: sa.Table) -> list[sa.ColumnElement[bool]]:
        """The conditions that a row must meet."""
        given = (self.equal or {}).items()
        found = [table.c[name] == storable(value) for name, value in given if value is not None]
        if self.since is not None:
            found.append(_ended >= self.since)
        if self.until is not None:
            found.append(_ended < self.until)
        return found

    def apply(self, statement: sa.Select[Any], table: sa.Table) -> sa.Select[Any]:
        """Add the conditions to a statement."""
        return statement.where(*self.conditions(table)).limit(self.limit)


class Cut(list[Row]):
    """Rows that end early, because they would have become too large."""


class Browser:
    """Lists and shows rows as plain dictionaries, times as RFC 3339.

    Args:
        database: The store.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def jobs(self, selection: Selection = Selection()) -> list[Row]:
        """Jobs, newest submission first; selected by `kind`, `status`, `region`, `account_id` or `arn`."""
        named = sa.select(jobs, targets.c.name.label("target")).join(
            targets, targets.c.id == jobs.c.target_id, isouter=True
        )
        statement = selection.apply(
            named.order_by(jobs.c.submitted_at.desc().nulls_last(), by_bytes(jobs.c.arn)), jobs
        )
        sizes = [jobs.c.name, jobs.c.status, jobs.c.model_id]
        return self._bounded(statement, jobs.c.arn, sizes, selection, _job)

    def job_arn(self, key: str) -> str:
        """The ARN of the one job that a key names: its ARN, its id, or an end of its ARN.

        Raises:
            PollerError: No job's ARN ends with it, or those of several do; the message names some of them.
        """
        if key.startswith("arn:"):
            return key
        end = f"/{key}" if is_job_id(key) else storable(key)
        ends = jobs.c.arn.endswith(end, autoescape=True)
        found = self._rows(
            sa.select(jobs.c.arn).where(ends).order_by(by_bytes(jobs.c.arn)).limit(_CANDIDATES)
        )
        arns = [row["arn"] for row in found]
        if not key or not arns:
            raise PollerError(f"no job of the store has an ARN that ends with {key!r}")
        if len(arns) > 1:
            more = ", and more" if len(arns) == _CANDIDATES else ""
            raise PollerError(f"several jobs have an ARN that ends with {key!r}: {', '.join(arns)}{more}")
        return str(arns[0])

    def events(self, selection: Selection = Selection()) -> list[Row]:
        """Events, newest first, each with its envelope; selected by `id`, `type` or `job_arn`."""
        statement = selection.apply(sa.select(events).order_by(events.c.seq.desc()), events)
        return self._bounded(statement, events.c.seq, [events.c.body], selection, _event)

    def deliveries(self, selection: Selection = Selection()) -> list[Row]:
        """Deliveries, newest first; selected by `id`, `sink`, `state`, `event_id` or `job_arn`."""
        statement = selection.apply(sa.select(deliveries).order_by(deliveries.c.id.desc()), deliveries)
        return self._bounded(statement, deliveries.c.id, [deliveries.c.last_error], selection, _delivery)

    def delivery(self, key: int) -> Row | None:
        """One delivery with the envelope that it delivers; `None` if there is none with this id."""
        both = sa.select(deliveries, events.c.body).join(events, events.c.id == deliveries.c.event_id)
        rows = self._rows(both.where(deliveries.c.id == key))
        return {**_delivery(rows[0]), "event": json.loads(bytes(rows[0]["body"]))} if rows else None

    def targets(self, selection: Selection = Selection()) -> list[Row]:
        """Targets, and when each was last seen whole; selected by `id`, `name`, `region` or `kind`."""
        equal = dict(selection.equal or {})
        called = equal.pop("id", None)
        named = sa.select(targets, _label.label("label")).order_by(by_bytes(_label), by_bytes(targets.c.id))
        statement = replace(selection, equal=equal).apply(named, targets)
        if called is not None:
            statement = statement.where(_label == storable(called))
        return [
            {
                "id": row["label"],
                "name": row["name"],
                "account_id": row["account_id"],
                "region": row["region"],
                "kind": row["kind"],
                "baselined": row["baselined"],
                "polled_at": _moment(row["polled_at"]),
                "full_scan_at": _moment(row["full_scan_at"]),
                "newest_submission": iso(from_micros(row["high_water"])),
                "lease_owner": row["lease_owner"],
            }
            for row in self._rows(statement)
        ]

    def job_counts(self, limit: int | None = None) -> list[Row]:
        """How many jobs there are by account, region, kind and status; at most `limit` rows, if given."""
        counted = sa.select(job_counts).where(job_counts.c.jobs > 0)
        ordered = counted.order_by(*map(by_bytes, job_counts.primary_key)).limit(limit)
        return [dict(row) for row in self._rows(ordered)]

    def statuses(self) -> Iterator[tuple[str, str]]:
        """Every job's ARN and status."""
        for row in self._rows(sa.select(jobs.c.arn, jobs.c.status)):
            yield row["arn"], row["status"]

    def event_ids(self) -> set[str]:
        """The id of every event there is."""
        return {row["id"] for row in self._rows(sa.select(events.c.id))}

    def _bounded(
        self,
        statement: sa.Select[Any],
        key: sa.Column[Any],
        texts: Sequence[sa.Column[Any]],
        selection: Selection,
        render: Callable[[sa.RowMapping], Row],
    ) -> list[Row]:
        """The rows of a statement, or those at its beginning whose texts are not too large together."""
        if selection.most_bytes is None:
            return [render(row) for row in self._rows(statement)]
        size = sum((sa.func.coalesce(byte_length(text), 0) for text in texts), start=sa.literal(0))
        sizes = self._rows(statement.with_only_columns(key.label("key"), size.label("size")))
        totals = accumulate(row["size"] for row in sizes)
        fitting = sum(total <= selection.most_bytes for total in totals)
        keys = [row["key"] for row in sizes[: max(fitting, 1)]]
        rows = self._rows(statement.where(key.in_(keys))) if keys else []
        rendered = [render(row) for row in rows]
        return Cut(rendered) if len(keys) < len(sizes) else rendered

    def _rows(self, statement: sa.Select[Any]) -> Sequence[sa.RowMapping]:
        with self._database.read() as connection:
            return connection.execute(statement).mappings().all()


def _job(row: sa.RowMapping) -> Row:
    return {
        "arn": row["arn"],
        "kind": row["kind"],
        "account_id": row["account_id"],
        "region": row["region"],
        "target": row["target"],
        "name": row["name"],
        "model_id": row["model_id"],
        "status": row["status"],
        "terminal": row["terminal"],
        "outcome": row["outcome"],
        "submitted_at": iso(from_micros(row["submitted_at"])),
        "modified_at": iso(from_micros(row["modified_at"])),
        "ended_at": iso(from_micros(row["ended_at"])),
        "disappeared": row["gone"],
        "records": {
            state: row[f"records_{state}"] for state in ("total", "processed", "succeeded", "failed")
        },
    }


def _event(row: sa.RowMapping) -> Row:
    return {
        "id": row["id"],
        "type": row["type"],
        "job_arn": row["job_arn"],
        "recorded_at": _moment(row["created_at"]),
        "event": json.loads(bytes(row["body"])),
    }


def _delivery(row: sa.RowMapping) -> Row:
    return {
        "id": row["id"],
        "event_id": row["event_id"],
        "sink": row["sink"],
        "job_arn": row["job_arn"],
        "state": row["state"],
        "attempts": row["attempts"],
        "recorded_at": _moment(row["created_at"]),
        "due_at": _moment(row["due_at"]) if row["state"] == "pending" else None,
        "settled_at": _moment(row["settled_at"]),
        "reason": row["last_reason"],
        "error": row["last_error"],
    }


def _moment(seconds: float | None) -> str | None:
    return None if seconds is None else iso(datetime.fromtimestamp(seconds, UTC))
