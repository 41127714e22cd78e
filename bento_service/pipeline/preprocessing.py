"""From an image's bytes to its scores: a decode thread, then a lane, and only then the event loop again."""

import asyncio
import hashlib
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

from bento_service.domain.models import ModelCard
from bento_service.domain.requests import ImageInfo, PreparedImage, Priority
from bento_service.errors import DeadlineExceededError, DrainingError, InferenceFailedError, LightboxError
from bento_service.images.header import ImageHeader, read_header
from bento_service.images.prepare import ImageLimits, prepare
from bento_service.pipeline.decode_pool import DecodePool
from bento_service.pipeline.work_estimate import ImageKind, WorkEstimator
from bento_service.scheduling.scheduler import Scheduler
from bento_service.scheduling.work import Completion, WorkItem

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Preprocessor:
    """The parts that compute.

    `min_oversampling` is that of `images.prepare.prepare`. `clock` gives seconds, monotonic; `thread_clock` the seconds
    that the calling thread was on a processor.
    """

    decode_pool: DecodePool
    scheduler: Scheduler
    work_cost: WorkEstimator
    limits: ImageLimits
    min_oversampling: int | None
    clock: Callable[[], float]
    thread_clock: Callable[[], float] = time.thread_time

    def estimate_ms(self, model: ModelCard, encoded: bytes) -> float:
        """Estimate an image's work before any of it is done; in microseconds, by the file's first bytes.

        A size that cannot be told counts as the largest that is allowed, and one that will be refused as none.
        """
        header = read_header(encoded)
        max_pixels = self.limits.max_pixels
        pixels = 0 if header is None else max_pixels if header.pixels is None else header.pixels
        return self.work_cost.estimate_ms(
            model.name, len(encoded), _find_kind(header), pixels=pixels if pixels <= max_pixels else 0
        )

    def learn_decode(self, encoded: bytes, info: ImageInfo, *, decode_ms: float) -> None:
        """Take note of what decoding an image took; of no HEIC, which libde265 decodes on a thread of its own."""
        kind = _find_kind(read_header(encoded))
        if kind is ImageKind.HEIC:
            return
        self.work_cost.learn_decode(
            len(encoded),
            kind,
            decode_ms=decode_ms,
            pixels=info.width_px * info.height_px,
        )


class Preprocessing:
    """One image on its way through a decode thread and a lane; made on the event loop, which awaits `run`.

    The thread that decodes hands the image to the lanes itself: a turn of the event loop in between would cost as much
    as everything else that the loop does for a request. `prepared` and the times are there as far as the image came;
    they are in seconds on the workshop's clock.
    """

    def __init__(
        self,
        workshop: Preprocessor,
        model: ModelCard,
        encoded: bytes,
        *,
        digest: str,
        priority: Priority,
        deadline_s: float | None,
    ) -> None:
        """Describe the work.

        Args:
            workshop: Who does it.
            model: Which model.
            encoded: The file.
            digest: Its SHA-256 in hex if that is known, else empty: the decode thread computes it.
            priority: Interactive images are decoded and run before bulk ones.
            deadline_s: On the workshop's clock; once it has passed, neither decoding nor inference begins.
        """
        self.digest = digest
        self.prepared: PreparedImage | None = None
        self.decode_started_s: float | None = None
        self.decode_finished_s: float | None = None
        self._workshop = workshop
        self._model = model
        self._encoded = encoded
        self._priority = priority
        self._deadline_s = deadline_s
        self._loop = asyncio.get_running_loop()
        self._future: asyncio.Future[Completion] = self._loop.create_future()
        self._item: WorkItem | None = None

    @property
    def has_run(self) -> bool:
        """Whether a lane ran the image, whatever came of it."""
        return self._future.done() and not self._future.cancelled() and self._has_left_queue()

    async def run(self) -> Completion:
        """Compute. Cancelling the call spares whatever has not begun.

        Raises:
            LightboxError: Any of the errors of intake, scheduling and inference.
        """
        self._workshop.scheduler.expect(1, self._priority)
        try:
            ticket = self._workshop.decode_pool.submit(
                self._decode, priority=self._priority, on_dropped=self._note_dropped
            )
        except RuntimeError:
            self._workshop.scheduler.expect(-1, self._priority)
            raise refuse_as_draining() from None
        try:
            return await self._future
        except asyncio.CancelledError:
            if ticket.cancel():
                self._workshop.scheduler.expect(-1, self._priority)
            elif self._item is not None:
                self._workshop.scheduler.remove(self._item)
            raise

    def require_prepared(self) -> PreparedImage:
        """Return the decoded image of a computation that has run."""
        if self.prepared is None:
            raise RuntimeError("the image is not decoded yet")
        return self.prepared

    def _has_left_queue(self) -> bool:
        error = self._future.exception()
        return error is None or isinstance(error, InferenceFailedError)

    def _decode(self) -> None:
        """Decode and enqueue, in a decode thread; whatever goes wrong becomes the future's error."""
        self.decode_started_s = self._workshop.clock()
        try:
            item = self._item = self._prepare()
        # Whoever waits for the image has to hear of a defect as well, even where that is no `Exception`: a library that
        # calls `sys.exit`, or a panic in Rust. The thread goes on to the next image.
        except BaseException as error:
            self._workshop.scheduler.expect(-1, self._priority)
            if not isinstance(error, LightboxError):
                logger.exception("Decoding an image for %s failed", self._model.name)
            self._fail(error if isinstance(error, Exception) else contain(error))
            return
        if self._future.cancelled():
            self._workshop.scheduler.expect(-1, self._priority)
            return
        try:
            self._workshop.scheduler.enqueue(item, was_expected=True)
        except LightboxError as error:
            self._fail(error)

    def _prepare(self) -> WorkItem:
        workshop, started_s = self._workshop, self.decode_started_s
        if started_s is not None and self._deadline_s is not None and self._deadline_s <= started_s:
            raise DeadlineExceededError("The deadline passed before the image was decoded; it was dropped.")
        on_processor_s = workshop.thread_clock()
        if not self.digest:
            self.digest = hashlib.sha256(self._encoded).hexdigest()
        try:
            self.prepared = prepare(
                self._encoded, self._model.recipe, workshop.limits, min_oversampling=workshop.min_oversampling
            )
        finally:
            self.decode_finished_s = workshop.clock()
        workshop.learn_decode(
            self._encoded, self.prepared.info, decode_ms=(workshop.thread_clock() - on_processor_s) * 1000
        )
        return WorkItem(
            self._model.name,
            self.prepared.pixels_hwc,
            self.decode_finished_s,
            self._deadline_s,
            self._future,
            self._priority,
        )

    def _note_dropped(self) -> None:
        self._workshop.scheduler.expect(-1, self._priority)
        self._fail(refuse_as_draining())

    def _fail(self, error: Exception) -> None:
        try:
            self._loop.call_soon_threadsafe(self._set_error, error)
        except RuntimeError:
            logger.warning("The event loop is closed; an image that failed had nobody to be told.")

    def _set_error(self, error: Exception) -> None:
        if not self._future.done():
            self._future.set_exception(error)


def refuse_as_draining() -> DrainingError:
    """Return the error for an image that no decode thread took before the process ended."""
    return DrainingError("This server shut down before the image was decoded. Try again.", retry_after_s=1.0)


def contain(error: BaseException) -> RuntimeError:
    """Return an error that ends the one request; raised on the event loop, the original would end that."""
    contained = RuntimeError(f"decoding an image ended with {type(error).__name__}")
    contained.__cause__ = error
    return contained


def _find_kind(header: ImageHeader | None) -> ImageKind:
    """Tell what decoding costs by; what is no image is refused, and costs next to nothing as any kind."""
    if header is None:
        return ImageKind.JPEG
    return ImageKind.PROGRESSIVE_JPEG if header.is_progressive else ImageKind(header.format.value)
