"""The journal: `/v1/history` and `/v1/history/requests`."""

from datetime import datetime

from pydantic import Field

from lightbox_client.contract.answers import SCORE_KIND, ImageInfo, Prediction, TimingsMs
from lightbox_client.contract.wire import WireModel


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
    score_kind: str = Field(default="softmax", description=SCORE_KIND)


class HistoryRequests(WireModel):
    """Single receipts, in the order asked for."""

    requests: list[HistoryRequest]
