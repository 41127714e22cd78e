"""Devices, engine modes, dispatched batches and their cost."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal


class EngineMode(StrEnum):
    """How an engine uses its compute threads, named after OpenVINO's performance hints."""

    LATENCY = "latency"
    """All threads on one batch: for a lone image."""
    THROUGHPUT = "throughput"
    """Several batches at once, one stream each: for load."""


class DispatchReason(StrEnum):
    """Why the scheduler dispatched a batch when it did."""

    LANE_FREE = "lane_free"
    """A lane was idle since the image was decoded; any queueing was for a decode thread or a CPU."""
    BACKLOG = "backlog"
    """Images waited while every lane was busy, until a lane became free."""
    HELD = "held"
    """An idle lane waited for more images, because the cost model predicted more throughput from a larger batch."""
    BISECTED = "bisected"
    """The image's batch failed, and it ran again in a smaller one to find the failing image."""
    SHRUNK = "shrunk"
    """The image's batch ran out of memory, and it ran again in a smaller one, or once more if it had been alone."""
    RECOVERED = "recovered"
    """The image's lane died, and it ran again on another."""
    CACHED = "cached"
    """Nothing was dispatched: the answer came from the cache or from an identical request in flight."""


@dataclass(frozen=True, slots=True)
class Device:
    """The hardware of an engine. `memory_bytes` is the machine's or container's for a CPU, the card's for a GPU."""

    kind: Literal["cpu", "cuda"]
    name: str
    memory_bytes: int
    cores: int = 0


@dataclass(frozen=True, slots=True)
class BatchCost:
    """The cost of a batch size in milliseconds: measured by the warm-up, and current in the cost model.

    `samples` counts the batches of about this size since the warm-up.
    """

    batch_size: int
    measured_ms: float
    current_ms: float
    samples: int


@dataclass(frozen=True, slots=True)
class ModelCost:
    """The fitted cost model of one model in one engine mode, with `batches` ascending by size.

    `speed` is relative to the warm-up: 0.5 where batches take twice as long. `ceiling` is the current largest batch.
    """

    model: str
    mode: EngineMode
    ceiling: int
    speed: float
    batches: tuple[BatchCost, ...]


@dataclass(frozen=True, slots=True)
class Dispatch:
    """A recent batch. `waiting` counts the images left in the queue, `ago_ms` is the time since its dispatch.

    `predicted_ms` is the cost model's prediction, `inference_ms` the measured time.
    """

    model: str
    mode: EngineMode
    reason: DispatchReason
    batch_size: int
    waiting: int
    predicted_ms: float
    inference_ms: float
    ago_ms: float
