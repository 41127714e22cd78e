"""Keep of what kind the scores of a receipt are. Those that are there already came from a softmax."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Add the column."""
    op.add_column("receipts", sa.Column("score_kind", sa.Text(), nullable=False, server_default="softmax"))


def downgrade() -> None:
    """Drop the column."""
    op.drop_column("receipts", "score_kind")
