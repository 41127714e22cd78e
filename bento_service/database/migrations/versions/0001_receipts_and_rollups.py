"""Create receipts, rollups and classes."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Create the tables and their indexes."""
    op.create_table(
        "receipts",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), primary_key=True),
        sa.Column("request_id", sa.Text(), nullable=False),
        sa.Column("received_at_us", sa.BigInteger(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("model_version", sa.Text(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("receive_ms", sa.Double(), nullable=False),
        sa.Column("decode_ms", sa.Double(), nullable=False),
        sa.Column("queue_ms", sa.Double(), nullable=False),
        sa.Column("inference_ms", sa.Double(), nullable=False),
        sa.Column("total_ms", sa.Double(), nullable=False),
        sa.Column("top", sa.JSON(), nullable=False),
        sa.Column("batch_size", sa.Integer(), nullable=False),
        sa.Column("dispatch", sa.Text(), nullable=False),
        sa.Column("image_format", sa.Text()),
        sa.Column("image_width_px", sa.Integer()),
        sa.Column("image_height_px", sa.Integer()),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("cached", sa.Boolean(), nullable=False),
        sa.Column("warnings", sa.JSON(), nullable=False),
    )
    op.create_index("ix_receipts_time", "receipts", ["received_at_us"])
    op.create_index("ix_receipts_model_time", "receipts", ["model", "received_at_us"])
    op.create_index("ix_receipts_slowest", "receipts", ["outcome", "total_ms", "received_at_us", "model"])
    op.create_table(
        "rollups",
        sa.Column("resolution_s", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("start_s", sa.BigInteger(), primary_key=True, autoincrement=False),
        sa.Column("model", sa.Text(), primary_key=True),
        sa.Column("outcomes", sa.JSON(), nullable=False),
        sa.Column("durations", sa.LargeBinary(), nullable=False),
        sa.Column("batch_sizes", sa.LargeBinary(), nullable=False),
        sa.Column("classes", sa.LargeBinary(), nullable=False),
    )
    op.create_table(
        "classes",
        sa.Column("key", sa.Integer(), primary_key=True),
        sa.Column("class_id", sa.Integer(), nullable=False),
        sa.Column("label", sa.Text(), nullable=False),
        sa.UniqueConstraint("class_id", "label", name="uq_classes_class_id_label"),
    )


def downgrade() -> None:
    """Drop the tables."""
    op.drop_table("classes")
    op.drop_table("rollups")
    op.drop_table("receipts")
