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
from lightbox_client.contract.explanations import (
    Box,
    Explanation,
    ExplanationMethod,
    MethodChoice,
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
    UnservedModel,
)
from lightbox_client.contract.problems import (
    Problem,
)
from lightbox_client.contract.registry import (
    CanaryChoice,
    CanaryState,
    ModelChange,
    ModelVersions,
    NoChoice,
    ShadowChoice,
    ShadowState,
    VersionChoice,
    VersionState,
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
    "Box",
    "CanaryChoice",
    "CanaryState",
    "ClassCount",
    "Classification",
    "DeviceInfo",
    "Dispatch",
    "Explanation",
    "ExplanationMethod",
    "History",
    "HistoryBucket",
    "HistoryRequest",
    "HistoryRequests",
    "ImageInfo",
    "InputSize",
    "Labels",
    "MethodChoice",
    "ModelCard",
    "ModelChange",
    "ModelCost",
    "ModelEngine",
    "ModelList",
    "ModelRef",
    "ModelVersions",
    "NoChoice",
    "Parity",
    "Prediction",
    "Priority",
    "Problem",
    "QuantilesMs",
    "ShadowChoice",
    "ShadowState",
    "Status",
    "TimingsMs",
    "UnservedModel",
    "Version",
    "VersionChoice",
    "VersionState",
    "WireModel",
]
