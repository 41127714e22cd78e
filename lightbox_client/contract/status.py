"""The worker that answers: `/v1/status` and `/version`."""

from typing import Any

from pydantic import Field

from lightbox_client.contract.models import DeviceInfo
from lightbox_client.contract.wire import WireModel


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
