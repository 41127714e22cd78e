"""Keep the slowest duration of each series of a rollup. Rows that are there already keep none."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add the column."""
    op.add_column("rollups", sa.Column("slowest_ms", sa.LargeBinary()))


def downgrade() -> None:
    """Drop the column."""
    op.drop_column("rollups", "slowest_ms")
