"""The tables of journal and registry. A contract test compares them with what `migrations/` creates."""

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Double,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
)

metadata = MetaData()

receipts = Table(
    "receipts",
    metadata,
    # SQLite numbers rows only if the key's type is INTEGER.
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
    Column("request_id", Text, nullable=False),
    Column("received_at_us", BigInteger, nullable=False),
    Column("model", Text, nullable=False),
    Column("model_version", Text, nullable=False),
    Column("outcome", Text, nullable=False),
    *(Column(f"{stage}_ms", Double, nullable=False) for stage in ("receive", "decode", "queue", "inference", "total")),
    Column("top", JSON, nullable=False),
    Column("batch_size", Integer, nullable=False),
    Column("dispatch", Text, nullable=False),
    Column("image_format", Text),
    Column("image_width_px", Integer),
    Column("image_height_px", Integer),
    Column("digest", Text, nullable=False),
    Column("cached", Boolean, nullable=False),
    Column("warnings", JSON, nullable=False),
    Column("score_kind", Text, nullable=False, server_default="softmax"),
)
"""One row a request."""

Index("ix_receipts_time", receipts.c.received_at_us)
Index("ix_receipts_request_id", receipts.c.request_id)
Index("ix_receipts_model_time", receipts.c.model, receipts.c.received_at_us)
# Read from its slow end; the other filters are in the index too, so that no row is fetched and then skipped.
Index("ix_receipts_slowest", receipts.c.outcome, receipts.c.total_ms, receipts.c.received_at_us, receipts.c.model)

rollups = Table(
    "rollups",
    metadata,
    Column("resolution_s", Integer, primary_key=True, autoincrement=False),
    Column("start_s", BigInteger, primary_key=True, autoincrement=False),
    Column("model", Text, primary_key=True),
    Column("outcomes", JSON, nullable=False),
    Column("durations", LargeBinary, nullable=False),
    Column("batch_sizes", LargeBinary, nullable=False),
    Column("classes", LargeBinary, nullable=False),
    Column("slowest_ms", LargeBinary),
)
"""One row for each model and interval.

`slowest_ms` is a little-endian float64 for each of `rollups.SERIES`, or null in rows from before revision 0002; the
other binary columns are encoded `SparseHistogram`s.
"""

classes = Table(
    "classes",
    metadata,
    Column("key", Integer, primary_key=True),
    Column("class_id", Integer, nullable=False),
    Column("label", Text, nullable=False),
    UniqueConstraint("class_id", "label", name="uq_classes_class_id_label"),
)
"""The key of each class that ever was top-1; rollups count by it."""

deployments = Table(
    "deployments",
    metadata,
    Column("name", Text, primary_key=True),
    Column("versions", JSON, nullable=False),
    Column("aliases", JSON, nullable=False),
    Column("canary", JSON(none_as_null=True)),
    Column("shadow", JSON(none_as_null=True)),
    Column("former_champions", JSON, nullable=False),
    Column("revision", BigInteger, nullable=False),
)
"""One row a model: what the registry wants of it (`domain.registry.Deployment`)."""

registry_changes = Table(
    "registry_changes",
    metadata,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
    Column("changed_at_us", BigInteger, nullable=False),
    Column("model", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("version", Text, nullable=False),
    Column("actor", Text, nullable=False),
)
"""One row a change of a deployment; its id is the deployment's revision."""

Index("ix_registry_changes_model", registry_changes.c.model, registry_changes.c.id)

worker_reports = Table(
    "worker_reports",
    metadata,
    Column("worker_id", Text, primary_key=True),
    Column("host", Text, nullable=False),
    Column("applied", JSON, nullable=False),
    Column("versions", JSON, nullable=False),
    Column("reported_at_us", BigInteger, nullable=False),
)
"""One row a worker: its loaded versions, and the revision of each deployment that it follows."""

comparisons = Table(
    "comparisons",
    metadata,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
    Column("compared_at_us", BigInteger, nullable=False),
    Column("request_id", Text, nullable=False),
    Column("model", Text, nullable=False),
    Column("version", Text, nullable=False),
    Column("challenger", Text, nullable=False),
    Column("is_same_class", Boolean, nullable=False),
    Column("max_difference", Double, nullable=False),
)
"""One row for each image that ran on a shadow too."""

Index("ix_comparisons_time", comparisons.c.compared_at_us)
Index("ix_comparisons_versions", comparisons.c.model, comparisons.c.version, comparisons.c.challenger)
