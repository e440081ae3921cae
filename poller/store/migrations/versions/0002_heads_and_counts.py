"""Find what is due, and count the jobs, without looking at everything.

`deliveries.head` marks the oldest pending delivery of each job and sink, the only one that may be claimed;
an index holds just those, by when they can be. `job_counts` holds what would otherwise be counted each time.
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add both, and fill them from what is there."""
    op.add_column("deliveries", sa.Column("head", sa.Boolean(), server_default=sa.false(), nullable=False))
    op.execute(
        """
        UPDATE deliveries SET head = (1 = 1) WHERE id IN (
            SELECT min(id) FROM deliveries WHERE state = 'pending' GROUP BY sink, job_arn
        )
        """
    )
    op.drop_index("deliveries_due", table_name="deliveries")
    op.create_index(
        "deliveries_ready",
        "deliveries",
        ["sink", "state", "head", sa.text("coalesce(lease_until, due_at)"), "id"],
        unique=False,
        sqlite_where=sa.text("state = 'pending' AND head = 1"),
        postgresql_where=sa.text("state = 'pending' AND head"),
    )
    op.create_index(
        "deliveries_dead",
        "deliveries",
        ["sink", "state", "id"],
        unique=False,
        sqlite_where=sa.text("state = 'dead'"),
        postgresql_where=sa.text("state = 'dead'"),
    )
    op.create_table(
        "job_counts",
        sa.Column("account_id", sa.String(length=12), nullable=False),
        sa.Column("region", sa.String(length=32), nullable=False),
        sa.Column("kind", sa.String(length=64), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("jobs", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("account_id", "region", "kind", "status"),
    )
    op.execute(
        """
        INSERT INTO job_counts (account_id, region, kind, status, jobs)
        SELECT account_id, region, kind, status, count(*) FROM jobs WHERE NOT gone
        GROUP BY account_id, region, kind, status
        """
    )
