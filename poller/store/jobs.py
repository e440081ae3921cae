"""Rows of jobs: what is asked of them again and again, and what they mean."""

from __future__ import annotations

import json
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeVar

import sqlalchemy as sa

from poller.kinds import KINDS
from poller.model import JobState
from poller.store.database import LISTED
from poller.store.tables import from_micros, jobs, to_micros

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from poller.model import Change

PLACE = ("account_id", "region", "kind")
OPEN = sa.and_(~jobs.c.terminal, ~jobs.c.gone)
THESE = jobs.c.arn.op("IN")(LISTED)
"""The jobs of a `PreparedList`."""
RECALL = sa.select(
    jobs.c.arn,
    jobs.c.kind,
    jobs.c.status,
    jobs.c.terminal,
    jobs.c.modified_at,
    jobs.c.entries,
    jobs.c.gone,
).where(THESE)
RECORD_STATES = ("total", "processed", "succeeded", "failed")
_RECORDS = tuple((f"records_{state}", state) for state in RECORD_STATES)
_NO_RECORDS = dict.fromkeys(column for column, _ in _RECORDS)
_OF_GETS = frozenset({"get_failures", "get_after"})
COLUMNS = tuple(column.name for column in jobs.columns if column.name not in _OF_GETS)
"""What an observation writes; the others are written when a Get fails or works again."""
_MOST_KEYS = 1000

ItemT = TypeVar("ItemT")


def chunks(values: Collection[ItemT]) -> Iterator[list[ItemT]]:
    """The values, no more at once than every database takes as parameters of a statement."""
    every = list(values)
    for start in range(0, len(every), _MOST_KEYS):
        yield every[start : start + _MOST_KEYS]


def rank_of(row: Any) -> int | None:
    """How far along the life cycle a row's status is; `None` for an undeclared status."""
    kind = KINDS.get(row.kind)
    return kind.ranks.get(row.status) if kind else None


def known_of(row: Any) -> JobState:
    """What is remembered of a job, of a row of `RECALL`."""
    return JobState(
        arn=row.arn,
        status=row.status,
        rank=rank_of(row),
        terminal=bool(row.terminal),
        modified_at=from_micros(row.modified_at),
        entries=json.loads(row.entries),
        gone=bool(row.gone),
    )


@lru_cache(maxsize=1024)
def _entries(counts: tuple[tuple[str, int], ...]) -> str:
    """As JSON; most jobs have one of a few histories."""
    return json.dumps(dict(counts))


def row_of(key: str, change: Change) -> dict[str, Any]:
    """The row that a change makes, for the target with this key; its own keys are `COLUMNS`."""
    job = change.job
    records = job.records
    counts = {column: getattr(records, state) for column, state in _RECORDS} if records else _NO_RECORDS
    return {
        "arn": job.arn,
        "target_id": key,
        "kind": job.kind,
        "account_id": job.account_id,
        "region": job.region,
        "status": job.status,
        "terminal": job.terminal,
        "outcome": job.outcome,
        "name": job.name,
        "model_id": job.model_id,
        "submitted_at": to_micros(job.submitted_at),
        "modified_at": to_micros(job.modified_at),
        "ended_at": to_micros(job.ended_at),
        "entries": _entries(tuple(change.entries.items())),
        "gone": change.gone,
        "missed": 0,
        **counts,
        "output_uri": None if job.terminal else job.output_uri,
    }
