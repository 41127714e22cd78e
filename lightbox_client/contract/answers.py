"""Answers to images: `/v1/classify` and `/v1/classify/batch`."""

from pydantic import Field

from lightbox_client.contract.problems import Problem
from lightbox_client.contract.wire import WireModel


class ModelRef(WireModel):
    """A model and its version: a digest of weights and input recipe."""

    name: str
    version: str


class Prediction(WireModel):
    """One class and its probability, in [0, 1]."""

    class_id: int
    label: str
    score: float


SCORE_KIND = (
    "`softmax`: the scores of all classes sum to 1. `independent`: each class has a probability of its own (sigmoid, "
    "multi-label)."
)


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
    score_kind: str = Field(default="softmax", description=SCORE_KIND)


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
