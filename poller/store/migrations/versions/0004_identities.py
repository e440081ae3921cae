"""Targets belong to an account, a region and a kind; their configured name is a label.

The account of a target is that of the jobs that it has recorded. Where several targets have recorded jobs of
one account, region and kind, the one that was polled last keeps its row, and gets the jobs of the others.
Where one target has recorded jobs of several accounts, because its name led to another one later, its row
stays with the newest, and each other account gets a row of its own.

Rows keep the key that they have, so a program that knows schema 0003 goes on beside one that knows this, and
both take the same lease.

Besides, a job remembers when its Get may be tried again, and statuses are counted by their first 200
characters.
"""

from collections import defaultdict

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_RECORDED = """
    SELECT t.id, t.name, t.region, t.kind, t.baselined, t.high_water, t.full_scan_at,
        t.claimed_at, j.account_id
    FROM targets t JOIN (
        SELECT target_id, account_id, max(coalesce(submitted_at, 0)) AS newest FROM jobs
        GROUP BY target_id, account_id
    ) j ON j.target_id = t.id
    ORDER BY j.newest DESC, t.id
"""
_SHORTER = (
    "DELETE FROM job_counts WHERE length(status) > 200",
    """
    INSERT INTO job_counts (account_id, region, kind, status, jobs)
    SELECT account_id, region, kind, substr(status, 1, 200), count(*) FROM jobs
    WHERE NOT gone AND length(status) > 200 GROUP BY account_id, region, kind, substr(status, 1, 200)
    """,
)
_OWN = """
    UPDATE targets SET account_id = :account, baselined = :baselined, high_water = :high_water,
    full_scan_at = :full_scan_at WHERE id = :id
"""
_ADD = "INSERT INTO targets (id, name, region, kind) VALUES (:id, :name, :region, :kind)"
_MOVE = "UPDATE jobs SET target_id = :id WHERE target_id = :before AND account_id = :account"
_DROP = "DELETE FROM targets WHERE id = :before"


def upgrade() -> None:
    """Add the columns, find the account of each target, and merge the targets of one identity."""
    op.add_column("targets", sa.Column("account_id", sa.String(length=12), nullable=True))
    op.add_column(
        "jobs", sa.Column("get_failures", sa.Integer(), server_default=sa.text("0"), nullable=False)
    )
    op.add_column("jobs", sa.Column("get_after", sa.Double(), nullable=True))
    op.create_table(
        "organizations",
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("filters", sa.Text(), nullable=False),
        sa.Column("accounts", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
    _identify(op.get_bind())
    for statement in _SHORTER:
        op.execute(statement)
    op.create_index("targets_identity", "targets", ["account_id", "region", "kind"], unique=True)


def _identify(connection: sa.Connection) -> None:
    owner: dict[str, str] = {}
    recorded = defaultdict(list)
    for row in connection.exec_driver_sql(_RECORDED):
        owner.setdefault(row.id, row.account_id)
        recorded[row.account_id, row.region, row.kind].append(row)
    for (account, region, kind), rows in recorded.items():
        own = sorted(
            (row for row in rows if owner[row.id] == account),
            key=lambda row: (row.claimed_at or 0.0, row.id),
            reverse=True,
        )
        key = own[0].id if own else f"account/{account}/{region}/{kind}"
        if not own:
            added = {"id": key, "name": rows[0].name, "region": region, "kind": kind}
            connection.execute(sa.text(_ADD), added)
        marks = [row.high_water for row in rows if row.baselined and row.high_water is not None]
        scans = [row.full_scan_at for row in rows if row.full_scan_at is not None]
        merged = {
            "account": account,
            # What any of them has recorded is known, so what is not known is new.
            "baselined": any(row.baselined for row in rows),
            "high_water": min(marks, default=None),
            "full_scan_at": min(scans, default=None),
            "id": key,
        }
        connection.execute(sa.text(_OWN), merged)
        for row in rows:
            if row.id != key:
                moved = {"id": key, "before": row.id, "account": account}
                connection.execute(sa.text(_MOVE), moved)
        for row in own[1:]:
            connection.execute(sa.text(_DROP), {"before": row.id})
