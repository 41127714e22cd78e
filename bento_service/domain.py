"""The values that the parts of Lightbox hand each other. Immutable, and free of any library but numpy."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Interpolation = Literal["bilinear", "bicubic"]


@dataclass(frozen=True, slots=True)
class InputRecipe:
    """How a model wants its images: timm's evaluation transform, as data (timm/data/config.py).

    The short side is resized to `floor(size / crop_fraction)`, then the centre is cropped to `height_px` x `width_px`.
    `mean` and `std` apply to RGB in [0, 1]; the engine's graph applies them, not the intake.
    """

    height_px: int
    width_px: int
    crop_fraction: float
    interpolation: Interpolation
    mean: tuple[float, float, float]
    std: tuple[float, float, float]


MIN_TOP1_AGREEMENT = 0.995
MAX_PROBABILITY_DIFFERENCE = 0.02
"""The parity gate: what a path has to keep to if it is to serve without being asked for."""

INEXACT_MODEL = "inexact_model"
"""The warning in every answer of a model that failed the parity gate and is served all the same."""


@dataclass(frozen=True, slots=True)
class Parity:
    """How far a serving path's answers lie from f32 PyTorch on timm's evaluation transform.

    `top1_agreement` is a share in [0, 1]; `max_probability_difference` the largest move of any class probability.
    """

    crops: int
    top1_agreement: float
    max_probability_difference: float

    @property
    def passes_gate(self) -> bool:
        """Whether the path may serve without being asked for."""
        return (
            self.top1_agreement >= MIN_TOP1_AGREEMENT and self.max_probability_difference <= MAX_PROBABILITY_DIFFERENCE
        )


@dataclass(frozen=True, slots=True)
class ModelCard:
    """What a model is and where it comes from.

    `version` is a digest of weights and input recipe, so equal versions give equal answers.
    """

    name: str
    version: str
    labels: tuple[str, ...]
    recipe: InputRecipe
    source: str
    licence: str
    parity: Parity | None = None

    @property
    def warnings(self) -> tuple[str, ...]:
        """What every answer of this model has to warn of."""
        return () if self.parity is None or self.parity.passes_gate else (INEXACT_MODEL,)


@dataclass(frozen=True, slots=True)
class Prediction:
    """One class and its softmax probability in [0, 1]."""

    class_id: int
    label: str
    score: float


@dataclass(frozen=True, slots=True)
class ImageInfo:
    """An image as it arrived: its format by its bytes (`JPEG`, `PNG`, ...) and its size as a viewer shows it."""

    format: str
    width_px: int
    height_px: int


@dataclass(frozen=True, slots=True)
class PreparedImage:
    """An image ready for a model.

    `pixels_hwc` is RGB, uint8, 0-255, shape (recipe.height_px, recipe.width_px, 3), C-contiguous. `warnings` names each
    conversion that was made, in the order in which it was made.
    """

    pixels_hwc: NDArray[np.uint8]
    info: ImageInfo
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Preview:
    """A picture of what the intake made of an image: the whole of it, upright, over white, at most 640 px a side.

    `png` is RGB with 8 bits. `info` and `warnings` are those of `PreparedImage`.
    """

    png: bytes
    info: ImageInfo
    warnings: tuple[str, ...]


class Priority(StrEnum):
    """Whose image goes first. Interactive images pass bulk ones wherever work waits."""

    INTERACTIVE = "interactive"
    """Somebody waits for the answer; the default."""
    BULK = "bulk"
    """Nobody does: it takes what interactive work leaves over."""


class EngineMode(StrEnum):
    """How an engine spreads one batch over its compute threads; the words are OpenVINO's performance hints."""

    LATENCY = "latency"
    """All threads on one batch: for a lone image."""
    THROUGHPUT = "throughput"
    """One stream a batch, several batches at once: for load."""


class DispatchReason(StrEnum):
    """Why the scheduler let a batch go when it did."""

    LANE_FREE = "lane_free"
    """A lane was idle from when the image was decoded until it ran: what it queued for was a decode thread or a CPU."""
    BACKLOG = "backlog"
    """Images waited while every lane was busy; a lane came free and took them."""
    HELD = "held"
    """A lane was idle and waited for more images, since the cost model said that a larger batch gains throughput."""
    BISECTED = "bisected"
    """The image's batch failed; it ran again in a smaller one to find the culprit."""
    SHRUNK = "shrunk"
    """The image's batch met out-of-memory; it ran again in a smaller one, or once more if it had been alone."""
    RECOVERED = "recovered"
    """The lane that had taken the image died; it ran again on another."""
    CACHED = "cached"
    """Nothing was dispatched: the answer came from the cache, or from an identical request in flight."""


@dataclass(frozen=True, slots=True)
class Timings:
    """Where a request's milliseconds went. The four stages do not overlap and add up to at most `total_ms`.

    `receive_ms`: from the request's headers to its last byte. `decode_ms`: bytes to tensor, in a decode thread.
    `queue_ms`: waiting, for a decode thread and for a lane. `inference_ms`: the engine's run of the request's batch.
    """

    receive_ms: float = 0.0
    decode_ms: float = 0.0
    queue_ms: float = 0.0
    inference_ms: float = 0.0
    total_ms: float = 0.0


OUTCOME_OK = "ok"


@dataclass(frozen=True, slots=True)
class Receipt:
    """What one request cost and gave: a row of the journal, and the source of its answer.

    `outcome` is `ok` or the error's code. `model` is a served model's name, or empty where the request named none that
    is. `top` holds up to five predictions, best first. `digest` is the SHA-256 of the encoded bytes in hex, or empty
    where they were not all received; the image itself is never kept. `received_at` is in UTC.
    """

    request_id: str
    received_at: datetime
    model: str
    model_version: str
    outcome: str
    timings: Timings
    top: tuple[Prediction, ...] = ()
    batch_size: int = 0
    dispatch: str = ""
    image: ImageInfo | None = None
    digest: str = ""
    cached: bool = False
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Answer:
    """A classified image. `predictions` is sorted by descending score, ties by class_id, `top_k` long."""

    receipt: Receipt
    predictions: tuple[Prediction, ...]
    image: ImageInfo
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Device:
    """The hardware that an engine runs on. `memory_bytes` is the machine's for a CPU, the card's for a GPU."""

    kind: Literal["cpu", "cuda"]
    name: str
    memory_bytes: int
    cores: int = 0


@dataclass(frozen=True, slots=True)
class BatchCost:
    """What a batch of one size costs, in milliseconds: as warm-up measured it, and as the cost model has it now.

    `samples` counts the batches of about this size that the model has learnt from since.
    """

    batch_size: int
    measured_ms: float
    current_ms: float
    samples: int


@dataclass(frozen=True, slots=True)
class ModelCost:
    """The fitted cost model of one model in one engine mode, ascending by batch size.

    `speed` is the current speed as a share of warm-up's: 0.5 where batches take twice as long. `ceiling` is the largest
    batch at this moment.
    """

    model: str
    mode: EngineMode
    ceiling: int
    speed: float
    batches: tuple[BatchCost, ...]


@dataclass(frozen=True, slots=True)
class Dispatch:
    """One batch that a lane ran lately, and why it went when it did. `waiting` counts the images left in the queue.

    `ago_ms` is the time since it was dispatched; `predicted_ms` and `inference_ms` are the cost model's word before it
    and what it took.
    """

    model: str
    mode: EngineMode
    reason: DispatchReason
    batch_size: int
    waiting: int
    predicted_ms: float
    inference_ms: float
    ago_ms: float


@dataclass(frozen=True, slots=True)
class Quantiles:
    """Percentiles of a set of durations and the longest of them, in milliseconds; None where the set is empty."""

    p50: float | None = None
    p95: float | None = None
    p99: float | None = None
    max: float | None = None


@dataclass(frozen=True, slots=True)
class HistoryBucket:
    """What happened in one stretch of time, `[start, start + width)`.

    `outcomes` counts requests by outcome, `cached` those answered (`ok`) from the cache; the other answers were
    computed. `stages` maps `total`, `receive`, `decode`, `queue` and `inference` to the percentiles of computed
    answers, `cached_total` has those of the whole time of cached ones. `batch_sizes` counts computed answers by the
    size of their batch, `top_classes` all answers by top-1 `(class_id, label)`, most frequent first, at most ten.
    """

    start: datetime
    outcomes: Mapping[str, int] = field(default_factory=dict)
    cached: int = 0
    cached_total: Quantiles = field(default_factory=Quantiles)
    stages: Mapping[str, Quantiles] = field(default_factory=dict)
    batch_sizes: Mapping[int, int] = field(default_factory=dict)
    top_classes: tuple[tuple[int, str, int], ...] = ()


@dataclass(frozen=True, slots=True)
class History:
    """Aggregates of the journal: a bucket for each stretch of `bucket_s` seconds, and `total` over the whole window.

    `until` may lie within the last bucket, which is then not over yet.
    """

    since: datetime
    until: datetime
    bucket_s: float
    buckets: tuple[HistoryBucket, ...]
    total: HistoryBucket
