"""Remember what a poll of a target costs, so that replicas keep one budget of calls together.

Only adds, so a program that knows schema 0005 goes on beside one that knows this.
"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column."""
    op.add_column("targets", sa.Column("poll_calls", sa.Integer(), nullable=True))
