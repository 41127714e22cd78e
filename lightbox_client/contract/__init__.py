"""The messages of the HTTP API: the service writes them, the client and the dashboard read them.

A module a resource. Readers ignore unknown fields, so an older client understands a newer service.
"""

from lightbox_client.contract.answers import (
    BatchClassification,
    BatchItem,
    Classification,
    ImageInfo,
    ModelRef,
    Prediction,
    TimingsMs,
)
from lightbox_client.contract.history import (
    ClassCount,
    History,
    HistoryBucket,
    HistoryRequest,
    HistoryRequests,
    QuantilesMs,
)
from lightbox_client.contract.models import (
    DeviceInfo,
    InputSize,
    Labels,
    ModelCard,
    ModelList,
    Parity,
)
from lightbox_client.contract.problems import (
    Problem,
)
from lightbox_client.contract.status import (
    BatchCost,
    Dispatch,
    ModelCost,
    ModelEngine,
    Status,
    Version,
)
from lightbox_client.contract.wire import (
    Priority,
    WireModel,
)

__all__ = [
    "BatchClassification",
    "BatchCost",
    "BatchItem",
    "ClassCount",
    "Classification",
    "DeviceInfo",
    "Dispatch",
    "History",
    "HistoryBucket",
    "HistoryRequest",
    "HistoryRequests",
    "ImageInfo",
    "InputSize",
    "Labels",
    "ModelCard",
    "ModelCost",
    "ModelEngine",
    "ModelList",
    "ModelRef",
    "Parity",
    "Prediction",
    "Priority",
    "Problem",
    "QuantilesMs",
    "Status",
    "TimingsMs",
    "Version",
    "WireModel",
]
