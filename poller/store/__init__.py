"""The durable snapshot, the events and the deliveries owed: one database, SQLite by default."""

from poller.store.database import Database
from poller.store.outbox import Outbox, Settlement
from poller.store.snapshot import Claim, Observation, Snapshot, TargetActivity
from poller.store.target_rows import OrganizationMemory

__all__ = [
    "Claim",
    "Database",
    "Observation",
    "OrganizationMemory",
    "Outbox",
    "Settlement",
    "Snapshot",
    "TargetActivity",
]
