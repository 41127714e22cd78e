"""From an image's bytes to its scores: a decode thread, then a lane, and only then the event loop again."""

import asyncio
import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass

from bento_service.domain.models import ModelCard
from bento_service.domain.requests import ImageInfo, PreprocessedImage, Priority
from bento_service.errors import DeadlineExceededError, InferenceFailedError
from bento_service.images.header import ImageHeader
from bento_service.images.preprocessing import ImageLimits, preprocess
from bento_service.pipeline.decode_pool import DecodePool
from bento_service.pipeline.work_estimate import ImageKind, WorkEstimator
from bento_service.scheduling.queue import Announcement, WorkQueue
from bento_service.scheduling.work import Completion, WorkItem


@dataclass(frozen=True, slots=True)
class Preprocessor:
    """What decodes images and hands them to the lanes.

    `min_oversampling` is that of `preprocess`. `clock` gives seconds, monotonic; `thread_clock` the seconds
    that the calling thread was on a processor.
    """

    decode_pool: DecodePool
    queue: WorkQueue
    estimator: WorkEstimator
    limits: ImageLimits
    min_oversampling: int | None
    clock: Callable[[], float]
    thread_clock: Callable[[], float] = time.thread_time

    def estimate_ms(self, model: ModelCard, encoded_bytes: int, header: ImageHeader | None) -> float:
        """Estimate an image's work from its header.

        A size that cannot be told counts as the largest that is allowed, and one that will be refused as none.
        """
        max_pixels = self.limits.max_pixels
        pixels = 0 if header is None else max_pixels if header.pixels is None else header.pixels
        return self.estimator.estimate_ms(
            model.name, encoded_bytes, _kind_of_decoding(header), pixels=pixels if pixels <= max_pixels else 0
        )

    def learn_decode(
        self, encoded_bytes: int, header: ImageHeader | None, info: ImageInfo, *, decode_ms: float
    ) -> None:
        """Learn from one image's decoding time; not from HEIC, which libde265 decodes on a thread of its own."""
        kind = _kind_of_decoding(header)
        if kind is not ImageKind.HEIC:
            pixels = info.width_px * info.height_px
            self.estimator.learn_decode(encoded_bytes, kind, decode_ms=decode_ms, pixels=pixels)


class Preprocessing:
    """One image in the decode threads and lanes. Made on the event loop, which awaits `run`.

    The thread that decodes the image hands it to the lanes itself: a turn of the event loop in between would cost as
    much as everything else that the loop does for a request. `digest`, `prepared` and `completion` are set as far as
    the image came.
    """

    def __init__(
        self,
        preprocessor: Preprocessor,
        model: ModelCard,
        encoded: bytes,
        *,
        header: ImageHeader | None,
        digest: str,
        priority: Priority,
        deadline_s: float | None,
    ) -> None:
        """Describe the work.

        Args:
            preprocessor: Does it.
            model: Gives recipe and name.
            encoded: The file.
            header: What `read_header` returned for it.
            digest: Its SHA-256 in hex if that is known, else empty: the decode thread computes it.
            priority: Interactive images are decoded and run before bulk ones.
            deadline_s: On the preprocessor's clock; once it has passed, neither decoding nor inference begins.
        """
        self.digest = digest
        self.prepared: PreprocessedImage | None = None
        self._decode_started_s: float | None = None
        self._decode_finished_s: float | None = None
        self.completion: Completion | None = None
        self._preprocessor = preprocessor
        self._model = model
        self._encoded = encoded
        self._header = header
        self._priority = priority
        self._deadline_s = deadline_s
        self._future: asyncio.Future[Completion] = asyncio.get_running_loop().create_future()

    @property
    def has_run(self) -> bool:
        """Whether a lane ran the image, whatever the result."""
        if not self._future.done() or self._future.cancelled():
            return False
        error = self._future.exception()
        return error is None or isinstance(error, InferenceFailedError)

    def time_stages(self, received_s: float) -> tuple[float, float]:
        """Return the milliseconds of decoding and of waiting for thread and lane, as far as the image came.

        Args:
            received_s: When the image had been received.
        """
        started_s, finished_s = self._decode_started_s, self._decode_finished_s
        if started_s is None or finished_s is None:
            return 0.0, 0.0
        lane_ms = self.completion.queue_ms if self.completion else 0.0
        return (finished_s - started_s) * 1000, (started_s - received_s) * 1000 + lane_ms

    async def run(self) -> tuple[Completion, PreprocessedImage]:
        """Decode the image and run it. Cancelling the call spares what has not begun.

        Raises:
            LightboxError: Any of the errors of intake, scheduling and inference.
        """
        queue = self._preprocessor.queue
        announcement = queue.announce(self._priority)
        try:
            self.completion = await self._preprocessor.decode_pool.run(
                lambda: self._decode(announcement), self._future, priority=self._priority
            )
        except BaseException:
            queue.withdraw(announcement)
            raise
        if self.prepared is None:
            raise RuntimeError("a lane ran an image that was not decoded")
        return self.completion, self.prepared

    def _decode(self, announcement: Announcement) -> None:
        """Decode and redeem, in a decode thread."""
        preprocessor, started_s = self._preprocessor, self._preprocessor.clock()
        self._decode_started_s = started_s
        if self._deadline_s is not None and self._deadline_s <= started_s:
            raise DeadlineExceededError("The deadline passed before the image was decoded; it was dropped.")
        on_processor_s = preprocessor.thread_clock()
        if not self.digest:
            self.digest = hashlib.sha256(self._encoded).hexdigest()
        try:
            prepared = preprocess(
                self._encoded,
                self._model.recipe,
                preprocessor.limits,
                header=self._header,
                min_oversampling=preprocessor.min_oversampling,
            )
        finally:
            finished_s = self._decode_finished_s = preprocessor.clock()
        self.prepared = prepared
        decode_ms = (preprocessor.thread_clock() - on_processor_s) * 1000
        preprocessor.learn_decode(len(self._encoded), self._header, prepared.info, decode_ms=decode_ms)
        item = WorkItem(
            self._model.name, prepared.pixels_hwc, finished_s, self._deadline_s, self._future, self._priority
        )
        preprocessor.queue.redeem(announcement, item)


def _kind_of_decoding(header: ImageHeader | None) -> ImageKind:
    """Return the kind by which decoding time is learnt; any kind will do for bytes that are no image."""
    if header is None:
        return ImageKind.JPEG
    return ImageKind.PROGRESSIVE_JPEG if header.is_progressive else ImageKind(header.format.value)
