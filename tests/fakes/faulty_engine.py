"""An engine that identifies each image, takes real time, and fails on demand."""

import io
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bento_service.domain.runner import EngineMode
from bento_service.errors import OutOfMemoryError
from tests.fakes.engine import PATIENCE_S, FakeEngine, LaneKilledError

IMAGES = 1000
"""The number of images; the digits of an image's number are its red, green and blue."""
LOAD_IMAGES = 980
"""Images below are for load. The others are for single requests, unknown to caches and faults."""
_DIGIT_STEP = 25
_FIRST_LEVEL = 12
_SCORE = 0.9


def encode_numbered(number: int) -> bytes:
    """Encode the image of a number as JPEG."""
    digits = (number // 100, number // 10 % 10, number % 10)
    colour = tuple(_FIRST_LEVEL + _DIGIT_STEP * digit for digit in digits)
    encoded = io.BytesIO()
    Image.new("RGB", (16, 16), colour).save(encoded, "JPEG", quality=95, subsampling=0)
    return encoded.getvalue()


def identify(batch_nhwc: NDArray[np.uint8]) -> tuple[int, ...]:
    """Return the numbers of the images in a batch."""
    middle = batch_nhwc.shape[1] // 2
    digits = batch_nhwc[:, middle, middle, :].astype(int) // _DIGIT_STEP
    return tuple((digits @ (100, 10, 1)).tolist())


@dataclass(frozen=True)
class Run:
    """One call of the engine; `count` includes the calls before."""

    count: int
    images: tuple[int, ...]
    busy_s: float


Fault = Callable[[Run], None]
"""Delays a run or raises; called from the lanes' threads."""


class FaultyEngine(FakeEngine):
    """Gives each image its number as best class. Lanes sleep instead of computing, as beside an accelerator."""

    modes = frozenset(EngineMode)

    def __init__(self, *, fixed_ms: float = 1.0, image_ms: float = 0.25) -> None:
        """A batch takes `fixed_ms`, and `image_ms` for each image."""
        super().__init__(self.infer)
        self.faults: tuple[Fault, ...] = ()
        self.runs: Counter[int] = Counter()
        self.sizes: list[int] = []
        self.images_by_lane: Counter[int] = Counter()
        self._fixed_ms = fixed_ms
        self._image_ms = image_ms
        self._lock = threading.Lock()
        self._entered = threading.Semaphore(0)
        self._is_open = threading.Event()
        self._is_open.set()

    def duration_ms(self, size: int) -> float:
        """Return the duration of a batch without a fault."""
        return self._fixed_ms + self._image_ms * size

    def infer(self, batch_nhwc: NDArray[np.uint8], mode: EngineMode = EngineMode.THROUGHPUT) -> NDArray[np.float32]:
        images = identify(batch_nhwc)
        with self._lock:
            self.sizes.append(len(images))
            self.runs.update(images)
            self.images_by_lane[threading.get_ident()] += len(images)
            run = Run(len(self.sizes), images, self.duration_ms(len(images)) / 1000)
        self._entered.release()
        if not self._is_open.wait(PATIENCE_S):
            raise TimeoutError("nobody opened the engine again")
        time.sleep(run.busy_s)
        for fault in self.faults:
            fault(run)
        scores = np.full((len(images), IMAGES), (1 - _SCORE) / (IMAGES - 1), dtype=np.float32)
        scores[np.arange(len(images)), images] = _SCORE
        return scores

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold lanes in their runs; no lane may be at work at the start."""
        self._is_open.clear()
        while self._entered.acquire(blocking=False):
            """Those that came in before do not count."""
        try:
            yield
        finally:
            self._is_open.set()

    def wait_for_lane(self) -> None:
        """Return once one more lane is held."""
        if not self._entered.acquire(timeout=PATIENCE_S):
            raise TimeoutError("no lane came")


def _failing(is_hit: Callable[[Run], bool], error: Callable[[], BaseException]) -> Fault:
    def fault(run: Run) -> None:
        if is_hit(run):
            raise error()

    return fault


def _fail() -> BaseException:
    return RuntimeError("this run fails")


def every(count: int, error: Callable[[], BaseException] = _fail) -> Fault:
    """Fail each run whose number is a multiple of `count`."""
    return _failing(lambda run: run.count % count == 0, error)


def larger_than(size: int) -> Fault:
    """Fail the runs of more than `size` images."""
    return _failing(lambda run: len(run.images) > size, _fail)


def short_of_memory(size: int) -> Fault:
    """Have memory for `size` images."""
    return _failing(lambda run: len(run.images) > size, lambda: OutOfMemoryError("too little memory"))


def over(images: Collection[int], error: Callable[[], BaseException] = _fail) -> Fault:
    """Fail each run that has one of these images in it."""
    return _failing(lambda run: not set(images).isdisjoint(run.images), error)


def lethal(images: Collection[int]) -> Fault:
    """Kill each lane that runs one of these images."""
    return over(images, LaneKilledError)


def lethal_once(images: Collection[int]) -> Fault:
    """Kill the first lane that runs one of these images; later runs of that image succeed."""
    left = set(images)

    def fault(run: Run) -> None:
        met = left.intersection(run.images)
        if met:
            left.difference_update(met)
            raise LaneKilledError

    return fault


def slow(factor: float, *, lanes: int | None = None) -> Fault:
    """Multiply the duration by `factor`, on all lanes or on the first `lanes`."""
    slowed: set[int] = set()

    def fault(run: Run) -> None:
        lane = threading.get_ident()
        if lanes is None or len(slowed) < lanes:
            slowed.add(lane)
        if lane in slowed:
            time.sleep((factor - 1) * run.busy_s)

    return fault
