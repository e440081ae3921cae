"""Remember when a target was claimed, so that several replicas do not poll it twice in an interval.

Only adds, so a program that knows schema 0002 goes on beside one that knows this.
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column, and an index for what was claimed of late."""
    op.add_column("targets", sa.Column("claimed_at", sa.Double(), nullable=True))
    op.create_index("targets_claimed", "targets", ["claimed_at"])
