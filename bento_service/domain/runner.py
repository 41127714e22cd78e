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
    """A lane was idle when the image was decoded."""
    BACKLOG = "backlog"
    """Every lane was busy when the image was decoded."""
    HELD = "held"
    """An idle lane waited for more images: the cost model predicted more throughput from a larger batch."""
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
    """The cost of a batch size: `measured_ms` at warm-up, `current_ms` after `samples` batches of about that size."""

    batch_size: int
    measured_ms: float
    current_ms: float
    samples: int


@dataclass(frozen=True, slots=True)
class ModelCost:
    """The cost model of one model in one engine mode, with `batches` ascending by size.

    `speed` is relative to the warm-up: 0.5 where batches take twice as long. `ceiling` is the largest batch now.
    """

    model: str
    mode: EngineMode
    ceiling: int
    speed: float
    batches: tuple[BatchCost, ...]


@dataclass(frozen=True, slots=True)
class Dispatch:
    """A recent batch, dispatched `ago_ms` ago; `waiting` images stayed in the queue."""

    model: str
    mode: EngineMode
    reason: DispatchReason
    batch_size: int
    waiting: int
    predicted_ms: float
    inference_ms: float
    ago_ms: float
