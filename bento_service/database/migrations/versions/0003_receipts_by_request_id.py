"""An index to find a receipt by its request's id."""

from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Create the index."""
    op.create_index("ix_receipts_request_id", "receipts", ["request_id"])


def downgrade() -> None:
    """Drop the index."""
    op.drop_index("ix_receipts_request_id", "receipts")
