"""The durable snapshot, the events and the deliveries owed: one database, SQLite by default."""

from poller.store.database import Database
from poller.store.leases import Claim, Leases, TargetActivity
from poller.store.native_events import Ending, NativeEvents
from poller.store.outbox import Outbox, Settlement
from poller.store.snapshot import Observation, OpenOutput, Snapshot
from poller.store.target_rows import OrganizationMemory

__all__ = [
    "Claim",
    "Database",
    "Ending",
    "Leases",
    "NativeEvents",
    "Observation",
    "OpenOutput",
    "OrganizationMemory",
    "Outbox",
    "Settlement",
    "Snapshot",
    "TargetActivity",
]
