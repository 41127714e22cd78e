"""Lanes over a queue, and their results on the event loop."""

import asyncio
import logging
import threading
from collections.abc import Callable, Mapping, Sequence

from bento_service.domain.runner import EngineMode
from bento_service.errors import DrainingError, InferenceFailedError
from bento_service.scheduling.cost_model import CostModel
from bento_service.scheduling.execution import expire
from bento_service.scheduling.lane import Lane
from bento_service.scheduling.queue import WorkQueue
from bento_service.scheduling.work import Completion, Infer, InferWithFeatures, Result, WorkItem

logger = logging.getLogger(__name__)

_MAX_LANES_LOST = 2
"""An image fails once so many lanes died over it: the second time it ran alone, so nothing else is the cause."""


class Scheduler:
    """Runs the images of `queue` on lanes. Models may come and go meanwhile.

    Each image's future gets a `Completion` or an error, on the scheduler's event loop, unless it is already done.
    """

    def __init__(
        self,
        infers: Mapping[str, Infer],
        costs: Mapping[str, Mapping[EngineMode, CostModel]],
        *,
        lanes: int,
        target_ms: float,
        clock: Callable[[], float],
        loop: asyncio.AbstractEventLoop,
        on_lane_lost: Callable[[], None] = lambda: None,
        on_out_of_memory: Callable[[], None] = lambda: None,
    ) -> None:
        """Start the lanes.

        Args:
            infers: Each model's forward pass, which all lanes may call at once.
            costs: Each model's cost models, one for each engine mode that behaves differently; `THROUGHPUT` is always
                present. Batches are never larger than the largest size that its warm-up measured.
            lanes: Batches in flight.
            target_ms: The latency target, of which each batch may take a share.
            clock: Seconds, monotonic.
            loop: Where answers are delivered.
            on_lane_lost: Called from a lane's thread when it dies.
            on_out_of_memory: Called from a lane's thread for each batch that met out-of-memory.
        """
        self._infers = dict(infers)
        self._with_features: dict[str, InferWithFeatures] = {}
        self._clock = clock
        self._loop = loop
        self._on_lane_lost = on_lane_lost
        self.queue = WorkQueue(
            costs,
            lanes=lanes,
            target_ms=target_ms,
            clock=clock,
            on_expired=self._expire,
            on_out_of_memory=on_out_of_memory,
        )
        self._lanes_changed = threading.Lock()
        self._lanes = [self._make_lane(number) for number in range(lanes)]
        for lane in self._lanes:
            lane.start()

    @property
    def has_ended(self) -> bool:
        """Whether every lane has ended, so that the engines may be closed."""
        return self._find_running() is None

    def add_model(
        self,
        name: str,
        infer: Infer,
        costs: Mapping[EngineMode, CostModel],
        infer_with_features: InferWithFeatures | None = None,
    ) -> None:
        """Run images of one more model from now on; `infer_with_features` is for those that want features.

        Raises:
            ValueError: There is a model of this name.
        """
        self._infers.setdefault(name, infer)
        if infer_with_features is not None:
            self._with_features.setdefault(name, infer_with_features)
        self.queue.add_model(name, costs)

    def remove_model(self, name: str) -> bool:
        """Forget a model of which no image comes any more; return False, and keep it, while one waits or runs."""
        is_removed = self.queue.remove_model(name)
        if is_removed:
            del self._infers[name]
            self._with_features.pop(name, None)
        return is_removed

    def close(self, *, timeout_s: float) -> None:
        """Let the lanes finish what waits, then stop them. Blocks: call it from a thread of its own.

        Args:
            timeout_s: After this long, what still waits fails with `DrainingError`; running batches are not stopped.
        """
        self.queue.close()
        give_up_s = self._clock() + timeout_s
        while lane := self._find_running():
            lane.join(max(0.0, give_up_s - self._clock()))
            if lane.is_alive():
                break
        self._deliver([(item, _shutdown_timeout(timeout_s)) for item in self.queue.clear()])

    def _find_running(self) -> Lane | None:
        # A lane that dies puts its successor into the list, under the lock, before it ends.
        with self._lanes_changed:
            return next((lane for lane in self._lanes if lane.is_alive()), None)

    def _make_lane(self, number: int) -> Lane:
        return Lane(
            number,
            queue=self.queue,
            models=self._infers,
            with_features=self._with_features,
            clock=self._clock,
            deliver=self._deliver,
            on_lost=self._replace,
        )

    def _replace(self, lost: Lane, items: Sequence[WorkItem]) -> bool:
        for item in items:
            item.lanes_lost += 1
        self.queue.put_back(lost.number, [item for item in items if item.lanes_lost < _MAX_LANES_LOST])
        self._deliver([(item, _repeated_lane_loss(item)) for item in items if item.lanes_lost >= _MAX_LANES_LOST])
        self._on_lane_lost()
        successor = self._make_lane(lost.number)
        with self._lanes_changed:
            try:
                successor.start()
            except RuntimeError:
                # A fresh thread would be better, as libraries keep state by thread; the old one is better than none.
                logger.warning("The system has no thread for a successor of lane %d; it works on.", lost.number)
                return False
            self._lanes[lost.number] = successor
        return True

    def _expire(self, items: list[WorkItem]) -> None:
        self._deliver([(item, expire()) for item in items])

    def _deliver(self, results: Sequence[Result]) -> None:
        try:
            self._loop.call_soon_threadsafe(_resolve, results)
        except RuntimeError:
            # Only a closed loop refuses a callback. The lane must survive it, since `close` joins the thread.
            logger.warning("The event loop is closed; %d results were dropped.", len(results))


def _shutdown_timeout(timeout_s: float) -> DrainingError:
    return DrainingError(
        f"This server stopped before the image's turn came: it was given {timeout_s:g} s to finish what waited.",
        retry_after_s=1.0,
    )


def _repeated_lane_loss(item: WorkItem) -> InferenceFailedError:
    return InferenceFailedError(
        f"The model {item.model} ended {item.lanes_lost} lanes over this image; it is not run again. The server's log "
        "has the cause."
    )


def _resolve(results: Sequence[Result]) -> None:
    for item, outcome in results:
        if item.future.done():
            continue
        if isinstance(outcome, Completion):
            item.future.set_result(outcome)
        else:
            item.future.set_exception(outcome)
