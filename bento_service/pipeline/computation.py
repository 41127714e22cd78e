"""From an image's bytes to its scores: a decode thread, then a lane, and only then the event loop again."""

import asyncio
import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bento_service.domain.models import ModelCard
from bento_service.domain.requests import PreprocessedImage, Priority
from bento_service.errors import DeadlineExceededError, InferenceFailedError
from bento_service.images.header import ImageHeader
from bento_service.images.preprocessing import ImageLimits, preprocess
from bento_service.pipeline.decode_pool import DecodePool
from bento_service.pipeline.work_estimate import WorkEstimator
from bento_service.scheduling.queue import Arrival, WorkQueue
from bento_service.scheduling.work import Completion, WorkItem


@dataclass(frozen=True, slots=True)
class Runner:
    """What computes images: decode threads, and the queue to the lanes.

    `min_oversampling` is that of `images.preprocessing.preprocess`. `clock` gives seconds, monotonic.
    """

    decode_pool: DecodePool
    queue: WorkQueue
    estimator: WorkEstimator
    limits: ImageLimits
    min_oversampling: int | None
    clock: Callable[[], float]


@dataclass(slots=True, eq=False)
class Computation:
    """One image's decoding and inference. Made on the event loop, which awaits `run`.

    The thread that decodes the image hands it to the lanes itself: a turn of the event loop in between would cost as
    much as everything else that the loop does for a request.

    `digest` is the SHA-256 of `encoded` in hex, or empty: then the decode thread computes it. Once `deadline_s` on the
    runner's clock has passed, neither decoding nor inference begins. `wants_features` asks for the features of the
    completion. The fields after it are None until their step ends; `has_run` tells whether a lane ran the image,
    whatever the result.
    """

    runner: Runner
    model: ModelCard
    encoded: bytes
    header: ImageHeader | None
    digest: str
    priority: Priority
    deadline_s: float | None
    wants_features: bool = False
    preprocessed: PreprocessedImage | None = None
    completion: Completion | None = None
    decode_started_s: float | None = None
    decode_finished_s: float | None = None
    has_run: bool = False

    async def run(self) -> tuple[Completion, PreprocessedImage]:
        """Decode the image and run it. Cancelling the call spares what has not begun.

        Raises:
            LightboxError: Any of the errors of intake, scheduling and inference.
        """
        queue = self.runner.queue
        future: asyncio.Future[Completion] = asyncio.get_running_loop().create_future()
        arrival = queue.expect(self.priority)
        try:
            self.completion = await self.runner.decode_pool.run(
                lambda: self._decode(arrival, future), future, priority=self.priority
            )
        except BaseException:
            queue.withdraw(arrival)
            raise
        finally:
            is_done = future.done() and not future.cancelled()
            self.has_run = is_done and isinstance(future.exception(), InferenceFailedError | None)
        if self.preprocessed is None:
            raise RuntimeError("a lane ran an image that was not decoded")
        return self.completion, self.preprocessed

    def _decode(self, arrival: Arrival, future: "asyncio.Future[Completion]") -> None:
        """Decode the image and add it to the queue, in a decode thread."""
        runner, started_s = self.runner, self.runner.clock()
        self.decode_started_s = started_s
        if self.deadline_s is not None and self.deadline_s <= started_s:
            raise DeadlineExceededError("The deadline passed before the image was decoded; it was dropped.")
        on_processor_s = time.thread_time()
        if not self.digest:
            self.digest = hashlib.sha256(self.encoded).hexdigest()
        try:
            self.preprocessed = preprocess(
                self.encoded,
                self.model.recipe,
                runner.limits,
                min_oversampling=runner.min_oversampling,
            )
        finally:
            finished_s = self.decode_finished_s = runner.clock()
        decode_ms = (time.thread_time() - on_processor_s) * 1000
        runner.estimator.learn_decode(len(self.encoded), self.header, self.preprocessed.info, decode_ms=decode_ms)
        pixels_hwc = self.preprocessed.pixels_hwc
        item = WorkItem(
            self.model.key, pixels_hwc, finished_s, self.deadline_s, future, self.priority, self.wants_features
        )
        runner.queue.add(arrival, item)


async def run_pixels(
    runner: Runner,
    model: str,
    pixels_hwc: NDArray[np.uint8],
    *,
    priority: Priority = Priority.INTERACTIVE,
    deadline_s: float | None = None,
) -> Completion:
    """Run an image that is decoded already, by a version's key. Cancelling the call spares what has not begun.

    Raises:
        LightboxError: Any of the errors of scheduling and inference.
    """
    future: asyncio.Future[Completion] = asyncio.get_running_loop().create_future()
    arrival = runner.queue.expect(priority)
    runner.queue.add(arrival, WorkItem(model, pixels_hwc, runner.clock(), deadline_s, future, priority))
    try:
        return await future
    except BaseException:
        runner.queue.withdraw(arrival)
        raise
