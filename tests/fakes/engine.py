"""A fake forward pass and engine: scores identify the image; failures and waiting on demand."""

import threading
from collections.abc import Callable, Collection

import numpy as np
from numpy.typing import NDArray

from bento_service.domain.models import Parity
from bento_service.domain.runner import Device, EngineMode
from bento_service.engines.base import explain_no_features
from bento_service.scheduling.cost_model import CostModel

PATIENCE_S = 60.0
"""Longest wait of a fake before the test fails."""


def make_image(value: int, side_px: int = 1) -> NDArray[np.uint8]:
    """Return an image of one colour, by which `FakeInfer` identifies it."""
    return np.full((side_px, side_px, 3), value, dtype=np.uint8)


def expected_scores(value: int, model: int = 0) -> NDArray[np.float32]:
    """Return the scores of `FakeInfer` for `make_image(value)`, unique to image and model."""
    return np.array([value / 255, 1 - value / 255, model], dtype=np.float32)


def expected_features(value: int) -> NDArray[np.float32]:
    """Return the features of `FakeInfer` for `make_image(value)`: two channels of two rows and three columns."""
    return value + np.arange(12, dtype=np.float32).reshape(2, 2, 3)


class LaneKilledError(BaseException):
    """Ends the lane that runs the batch."""


def make_costs(
    ceiling: int = 8, *, has_latency_mode: bool = False, is_flat: bool = False
) -> dict[EngineMode, CostModel]:
    """Make costs for which batches up to `ceiling` pay off, or none if `is_flat`."""
    fixed_ms = 0.0 if is_flat else 0.5
    costs = {EngineMode.THROUGHPUT: CostModel({size: fixed_ms + (1 - fixed_ms) * size for size in (1, ceiling)})}
    if has_latency_mode:
        costs[EngineMode.LATENCY] = CostModel({1: 0.5})
    return costs


class FakeInfer:
    """A forward pass that fails for each batch with an image of `poison`, and kills its lane for one of `lethal`.

    `calls` holds the images' values by batch, `modes` their modes. Lanes wait while the gate is closed. `features`
    returns those of an image by its value; without it the model has none.
    """

    def __init__(
        self,
        model: int = 0,
        *,
        poison: Collection[int] = (),
        lethal: Collection[int] = (),
        error: Callable[[], BaseException] = lambda: RuntimeError("poison"),
        on_call: Callable[[int], None] = lambda size: None,
        features: Callable[[int], NDArray[np.float32]] | None = None,
    ) -> None:
        self.calls: list[tuple[int, ...]] = []
        self.modes: list[EngineMode] = []
        self.features = features
        self.calls_with_features = 0
        self.entered = threading.Semaphore(0)
        self.gate = threading.Event()
        self.gate.set()
        self._model = model
        self._poison = frozenset(poison)
        self._lethal = frozenset(lethal)
        self._error = error
        self._on_call = on_call

    def __call__(
        self, batch_nhwc: NDArray[np.uint8], mode: EngineMode = EngineMode.THROUGHPUT, /
    ) -> NDArray[np.float32]:
        values = tuple(int(value) for value in batch_nhwc[:, 0, 0, 0])
        self.calls.append(values)
        self.modes.append(mode)
        self._on_call(len(values))
        self.entered.release()
        if not self.gate.wait(PATIENCE_S):
            raise TimeoutError("nobody opened the gate")
        if self._lethal.intersection(values):
            raise LaneKilledError
        if self._poison.intersection(values):
            raise self._error()
        return np.stack([expected_scores(value, self._model) for value in values])

    def with_features(
        self, batch_nhwc: NDArray[np.uint8], mode: EngineMode = EngineMode.THROUGHPUT, /
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return the scores and the features."""
        if self.features is None:
            raise explain_no_features()
        self.calls_with_features += 1
        scores = self(batch_nhwc, mode)
        return scores, np.stack([self.features(value) for value in self.calls[-1]])

    @property
    def computed(self) -> set[int]:
        """Every image of any batch."""
        return {value for call in self.calls for value in call}

    def forget_lanes(self) -> None:
        """Let `wait_for_lane` wait for a lane that comes from now on."""
        while self.entered.acquire(blocking=False):
            """One that came before."""

    def wait_for_lane(self) -> None:
        """Return once one more lane has called."""
        if not self.entered.acquire(timeout=PATIENCE_S):
            raise TimeoutError("no lane took the image")


class FakeEngine:
    """An engine around a function; it has features where that is a `FakeInfer` with some."""

    name = "fake"
    library = "fake 1.0"
    precision = "f32"
    device = Device(kind="cpu", name="fake", memory_bytes=0)
    modes = frozenset({EngineMode.THROUGHPUT})
    bucket_sizes: tuple[int, ...] = ()
    parity: Parity | None = None

    def __init__(self, infer: Callable[[NDArray[np.uint8]], NDArray[np.float32]]) -> None:
        self._infer = infer
        self.has_features = isinstance(infer, FakeInfer) and infer.features is not None

    def infer(self, batch_nhwc: NDArray[np.uint8], mode: EngineMode = EngineMode.THROUGHPUT) -> NDArray[np.float32]:
        return self._infer(batch_nhwc)

    def infer_with_features(
        self, batch_nhwc: NDArray[np.uint8], mode: EngineMode = EngineMode.THROUGHPUT
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        if not isinstance(self._infer, FakeInfer):
            raise explain_no_features()
        return self._infer.with_features(batch_nhwc, mode)

    def close(self) -> None:
        pass
