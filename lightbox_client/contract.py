"""The messages of the HTTP API: the service writes them, the client and the dashboard read them.

Readers ignore unknown fields, so an older client understands a newer service.
"""

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Priority = Literal["interactive", "bulk"]
"""`interactive`, the default, for an image that a person waits for; `bulk` lets those go first."""


class WireModel(BaseModel):
    """Base of every message: immutable."""

    model_config = ConfigDict(frozen=True)


class ModelRef(WireModel):
    """A model and its version: a digest of weights and input recipe."""

    name: str
    version: str


class Prediction(WireModel):
    """One class and its softmax probability, in [0, 1]."""

    class_id: int
    label: str
    score: float


class ImageInfo(WireModel):
    """The image as it was sent: the format by its bytes, the size in pixels as a viewer shows it."""

    format: str
    width: int
    height: int


class TimingsMs(WireModel):
    """Milliseconds of a request by stage. The four stages do not overlap; their sum is at most `total`."""

    receive: float
    decode: float
    queue: float
    inference: float
    total: float


class Classification(WireModel):
    """The answer for one image; `predictions` are sorted by descending score, ties by class_id."""

    request_id: str
    model: ModelRef
    predictions: list[Prediction]
    image: ImageInfo
    warnings: list[str]
    cached: bool
    batch_size: int
    dispatch: str
    timings_ms: TimingsMs


class Problem(BaseModel):
    """An error as RFC 9457 `application/problem+json`; further members, such as a limit, are kept."""

    model_config = ConfigDict(frozen=True, extra="allow")

    type: str
    title: str
    status: int
    detail: str
    code: str
    request_id: str


class BatchItem(WireModel):
    """One file of a batch request: a result or an error."""

    index: int
    filename: str | None
    result: Classification | None = None
    error: Problem | None = None


class BatchClassification(WireModel):
    """The answers of a batch request, in the order of its files."""

    request_id: str
    results: list[BatchItem]


class InputSize(WireModel):
    """The size of a model's input, in pixels."""

    width: int
    height: int


class Parity(WireModel):
    """The difference to f32 PyTorch on timm's evaluation transform, over `crops` photographs."""

    crops: int
    top1_agreement: float
    max_probability_difference: float


class DeviceInfo(WireModel):
    """The hardware that an engine runs on."""

    kind: str
    name: str
    memory_bytes: int
    cores: int


class ModelCard(WireModel):
    """A served model: its source, its licence, its input and the engine that runs it."""

    name: str
    version: str
    is_default: bool
    labels_count: int
    input_size: InputSize
    source: str
    licence: str
    engine: str
    precision: str
    state: str
    device: DeviceInfo | None = None
    parity: Parity | None = None
    crop_fraction: float | None = Field(
        default=None, description="Share of the resized image's short side that the centre crop keeps."
    )


class ModelList(WireModel):
    """The served models, in the order of the settings."""

    models: list[ModelCard]


class Labels(WireModel):
    """A model's labels by class_id."""

    model: ModelRef
    labels: list[str]


class QuantilesMs(WireModel):
    """Nearest-rank percentiles, at most 2 % above the true ones, and the longest duration; null without answers."""

    p50: float | None = None
    p95: float | None = None
    p99: float | None = None
    max: float | None = Field(default=None, description="The longest duration, exactly.")


class ClassCount(WireModel):
    """How often a class had the highest score."""

    class_id: int
    label: str
    count: int


class HistoryBucket(WireModel):
    """One interval of time. Answers are either computed or come from the cache; the two are timed separately.

    `count` is the sum of answers, `client_errors`, `failures`, `shed` and requests whose client disconnected
    (`cancelled` among the outcomes). Fields are null where the service is older than they are.
    """

    start: datetime
    count: int = Field(description="All requests, answered or not.")
    errors: int = Field(description="`client_errors` and `failures`.")
    client_errors: int | None = Field(
        default=None, description="Requests with a mistake of the client's: a bad file, an unknown model (HTTP 4xx)."
    )
    failures: int | None = Field(
        default=None,
        description="Requests that the service failed to answer: a defect, a missed deadline, a restart (HTTP 5xx).",
    )
    shed: int = Field(description="Requests rejected for overload (`overloaded`).")
    outcomes: dict[str, int] = Field(description="Requests by outcome: `ok` or an error's code.")
    cached: int | None = Field(default=None, description="Requests answered from the cache.")
    total_ms: QuantilesMs = Field(description="From headers to answer, of computed answers.")
    cached_ms: QuantilesMs = Field(
        default=QuantilesMs(), description="From headers to answer, of answers from the cache."
    )
    stages_ms: dict[str, QuantilesMs] = Field(description="Each stage of computed answers.")
    batch_sizes: dict[int, int] = Field(description="Computed answers by batch size.")
    top_classes: list[ClassCount] = Field(description="The most frequent best classes, cached answers included.")


class History(WireModel):
    """Aggregates over a window, of all clients.

    Several buckets begin at multiples of `bucket_s` since 1970, so that they stay the same between two reads. `until`
    is the end of the last one, or now if that is earlier.
    """

    since: datetime
    until: datetime
    model: str | None
    bucket_s: float
    buckets: list[HistoryBucket]
    total: HistoryBucket


class HistoryRequest(WireModel):
    """One receipt of the journal. `outcome` is `ok` or an error code; there are up to five predictions."""

    request_id: str
    received_at: datetime
    model: str
    model_version: str
    outcome: str
    predictions: list[Prediction]
    image: ImageInfo | None
    digest: str
    warnings: list[str]
    cached: bool
    batch_size: int
    dispatch: str
    timings_ms: TimingsMs


class HistoryRequests(WireModel):
    """Single receipts, in the order asked for."""

    requests: list[HistoryRequest]


class BatchCost(WireModel):
    """The duration of a batch of one size: measured at warm-up, and by the cost model now."""

    batch_size: int
    measured_ms: float
    current_ms: float
    samples: int = Field(description="Batches of about this size since warm-up.")


class ModelCost(WireModel):
    """The fitted cost model of one model in one engine mode."""

    model: str
    mode: str = Field(description="latency (all threads on one image) or throughput (a stream a batch)")
    ceiling: int = Field(description="Largest batch at this moment.")
    speed: float = Field(description="Current speed as a share of what warm-up measured.")
    batches: list[BatchCost]


class Dispatch(WireModel):
    """One recent batch, and the reason for its start."""

    model: str
    mode: str
    reason: str
    batch_size: int
    waiting: int = Field(description="Images left in the queue.")
    predicted_ms: float
    inference_ms: float
    ago_ms: float


class ModelEngine(WireModel):
    """What runs a model."""

    engine: str
    precision: str
    device: DeviceInfo


class Status(WireModel):
    """The state of the worker that answers."""

    state: str = Field(description="loading, ready, draining or failed")
    device: DeviceInfo | None = Field(description="That of the first model; null until it is loaded.")
    engine: str = Field(description="That of the first model.")
    engines: dict[str, ModelEngine] = Field(default={}, description="Engine, arithmetic and device of each model.")
    workers: int
    lanes: int
    decode_threads: int
    queue_depth: int = Field(description="Images admitted and not yet answered.")
    batch_ceiling: dict[str, int] = Field(description="Largest batch, by model.")
    predicted_wait_ms: float
    target_p99_ms: float
    uptime_s: float
    journal: dict[str, Any] = Field(description="Rows waiting, written and dropped.")
    cost: list[ModelCost] = Field(default=[], description="The fitted cost model, by model and engine mode.")
    recent_dispatches: list[Dispatch] = Field(default=[], description="The last batches, newest first.")
    cache: dict[str, float] = Field(
        default={}, description="Hits, misses, shared requests, entries and bytes; empty if it is off."
    )


class Version(WireModel):
    """The versions of Lightbox, its libraries and its models."""

    lightbox: str
    python: str
    libraries: dict[str, str]
    models: dict[str, str]
