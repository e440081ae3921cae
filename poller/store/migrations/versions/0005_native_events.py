"""Remember which endings Bedrock's own events told of, and where open jobs write their output.

Only adds, so a program that knows schema 0004 goes on beside one that knows this. Jobs that were open before
have no output location until their status changes.
"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column and the table."""
    op.add_column("jobs", sa.Column("output_uri", sa.Text(), nullable=True))
    op.create_table(
        "native_events",
        sa.Column("job_arn", sa.String(length=255), nullable=False),
        sa.Column("status", sa.String(length=64), nullable=False),
        sa.Column("kind", sa.String(length=64), nullable=False),
        sa.Column("told_at", sa.Double(), nullable=True),
        sa.Column("shown_at", sa.Double(), nullable=True),
        sa.PrimaryKeyConstraint("job_arn", "status"),
    )
