"""How models run: devices, engine modes, batches and what they cost."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal


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
