"""The tables. Alembic's versions build them; a test holds the two against each other.

Times of jobs are microseconds since the epoch, as integers: exact, and they compare the same everywhere.
Times of our own (leases, due times) are seconds since the epoch by the database's clock.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Double,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    false,
    text,
)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def to_micros(moment: datetime | None) -> int | None:
    """Microseconds since the epoch; exact, unlike `timestamp()`."""
    return None if moment is None else (moment - _EPOCH) // _MICROSECOND


def from_micros(micros: int | None) -> datetime | None:
    """The inverse of `to_micros`."""
    return None if micros is None else _EPOCH + micros * _MICROSECOND


# SQLite numbers rows by itself only for a column declared exactly INTEGER.
_Key = BigInteger().with_variant(Integer, "sqlite")

metadata = MetaData()

targets = Table(
    "targets",
    metadata,
    Column("id", String(255), primary_key=True),
    Column("name", String(128), nullable=False),
    Column("region", String(32), nullable=False),
    Column("kind", String(64), nullable=False),
    Column("baselined", Boolean, nullable=False, server_default=false()),
    Column("high_water", BigInteger),
    Column("full_scan_at", Double),
    Column("polled_at", Double),
    Column("lease_owner", String(128)),
    Column("lease_until", Double),
    Column("epoch", BigInteger, nullable=False, server_default=text("0")),
    Column("claimed_at", Double),
    Column("poll_calls", Integer),
    Column("account_id", String(12)),
    Index("targets_claimed", "claimed_at"),
    # Rows of accounts that are not known yet do not collide: a unique index takes any number of NULLs.
    Index("targets_identity", "account_id", "region", "kind", unique=True),
)

organizations = Table(
    "organizations",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("filters", Text, nullable=False),
    Column("accounts", Text, nullable=False),
)

jobs = Table(
    "jobs",
    metadata,
    Column("arn", String(255), primary_key=True),
    Column("target_id", String(255), nullable=False),
    Column("kind", String(64), nullable=False),
    Column("account_id", String(12), nullable=False),
    Column("region", String(32), nullable=False),
    Column("status", Text, nullable=False),
    Column("terminal", Boolean, nullable=False),
    Column("outcome", String(16)),
    Column("name", Text),
    Column("model_id", Text),
    Column("submitted_at", BigInteger),
    Column("modified_at", BigInteger),
    Column("ended_at", BigInteger),
    Column("entries", Text, nullable=False),
    Column("gone", Boolean, nullable=False, server_default=false()),
    Column("missed", Integer, nullable=False, server_default=text("0")),
    Column("records_total", BigInteger),
    Column("records_processed", BigInteger),
    Column("records_succeeded", BigInteger),
    Column("records_failed", BigInteger),
    Column("get_failures", Integer, nullable=False, server_default=text("0")),
    Column("get_after", Double),
    # Only of open jobs: what they write there may be heard of before their end is.
    Column("output_uri", Text),
)
# The constant columns of the partial indexes, here and below, make SQLite prefer them to whole ones.
Index(
    "jobs_open",
    jobs.c.target_id,
    jobs.c.terminal,
    jobs.c.gone,
    sqlite_where=text("terminal = 0 AND gone = 0"),
    postgresql_where=text("NOT terminal AND NOT gone"),
)
Index("jobs_submitted", jobs.c.target_id, jobs.c.submitted_at)

job_counts = Table(
    "job_counts",
    metadata,
    Column("account_id", String(12), primary_key=True),
    Column("region", String(32), primary_key=True),
    Column("kind", String(64), primary_key=True),
    Column("status", Text, primary_key=True),
    Column("jobs", BigInteger, nullable=False),
)

events = Table(
    "events",
    metadata,
    Column("seq", _Key, primary_key=True, autoincrement=True),
    Column("id", String(64), nullable=False, unique=True),
    Column("type", String(64), nullable=False),
    Column("job_arn", String(255), nullable=False),
    Column("created_at", Double, nullable=False),
    Column("body", LargeBinary, nullable=False),
    sqlite_autoincrement=True,
)
Index("events_created", events.c.created_at)

deliveries = Table(
    "deliveries",
    metadata,
    Column("id", _Key, primary_key=True, autoincrement=True),
    Column("event_id", String(64), nullable=False),
    Column("sink", String(64), nullable=False),
    Column("job_arn", String(255), nullable=False),
    Column("state", String(8), nullable=False),
    Column("attempts", Integer, nullable=False, server_default=text("0")),
    Column("created_at", Double, nullable=False),
    Column("due_at", Double, nullable=False),
    Column("lease_until", Double),
    Column("epoch", BigInteger, nullable=False, server_default=text("0")),
    Column("first_failed_at", Double),
    Column("settled_at", Double),
    Column("last_reason", String(32)),
    Column("last_error", Text),
    Column("head", Boolean, nullable=False, server_default=false()),
    UniqueConstraint("event_id", "sink", name="deliveries_once"),
    sqlite_autoincrement=True,
)
Index(
    "deliveries_pending",
    deliveries.c.sink,
    deliveries.c.job_arn,
    deliveries.c.state,
    deliveries.c.id,
    sqlite_where=text("state = 'pending'"),
    postgresql_where=text("state = 'pending'"),
)
Index(
    "deliveries_ready",
    deliveries.c.sink,
    deliveries.c.state,
    deliveries.c.head,
    text("coalesce(lease_until, due_at)"),
    deliveries.c.id,
    sqlite_where=text("state = 'pending' AND head = 1"),
    postgresql_where=text("state = 'pending' AND head"),
)
Index(
    "deliveries_dead",
    deliveries.c.sink,
    deliveries.c.state,
    deliveries.c.id,
    sqlite_where=text("state = 'dead'"),
    postgresql_where=text("state = 'dead'"),
)
Index("deliveries_settled", deliveries.c.state, deliveries.c.settled_at)

native_events = Table(
    "native_events",
    metadata,
    Column("job_arn", String(255), primary_key=True),
    Column("status", String(64), primary_key=True),
    Column("kind", String(64), nullable=False),
    Column("told_at", Double),
    Column("shown_at", Double),
)

sinks = Table(
    "sinks",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("parked_at", Double),
    Column("parked_reason", Text),
)
