"""Create the registry: deployments, their changes, the workers' reports and the shadows' comparisons."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Create the tables and their indexes."""
    op.create_table(
        "deployments",
        sa.Column("name", sa.Text(), primary_key=True),
        sa.Column("versions", sa.JSON(), nullable=False),
        sa.Column("aliases", sa.JSON(), nullable=False),
        sa.Column("canary", sa.JSON()),
        sa.Column("shadow", sa.JSON()),
        sa.Column("former_champions", sa.JSON(), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
    )
    op.create_table(
        "registry_changes",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), primary_key=True),
        sa.Column("changed_at_us", sa.BigInteger(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("version", sa.Text(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
    )
    op.create_index("ix_registry_changes_model", "registry_changes", ["model", "id"])
    op.create_table(
        "worker_reports",
        sa.Column("worker_id", sa.Text(), primary_key=True),
        sa.Column("host", sa.Text(), nullable=False),
        sa.Column("applied", sa.JSON(), nullable=False),
        sa.Column("versions", sa.JSON(), nullable=False),
        sa.Column("reported_at_us", sa.BigInteger(), nullable=False),
    )
    op.create_table(
        "comparisons",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), primary_key=True),
        sa.Column("compared_at_us", sa.BigInteger(), nullable=False),
        sa.Column("request_id", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("version", sa.Text(), nullable=False),
        sa.Column("challenger", sa.Text(), nullable=False),
        sa.Column("is_same_class", sa.Boolean(), nullable=False),
        sa.Column("max_difference", sa.Double(), nullable=False),
    )
    op.create_index("ix_comparisons_time", "comparisons", ["compared_at_us"])
    op.create_index("ix_comparisons_versions", "comparisons", ["model", "version", "challenger"])


def downgrade() -> None:
    """Drop the tables."""
    for name in ("comparisons", "worker_reports", "registry_changes", "deployments"):
        op.drop_table(name)
