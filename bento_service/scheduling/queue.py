"""The queue between the event loop and the lanes."""

import threading
from collections import deque
from collections.abc import Callable, Mapping

from bento_service.errors import DrainingError
from bento_service.scheduling.policy import QueueState, choose_batch
from bento_service.scheduling.work import WorkItem


class WorkQueue:
    """Images waiting for a lane, first come, first served within a model. Thread-safe.

    Lanes pull: a free one takes its next batch itself, without a turn of the event loop in between.
    """

    def __init__(
        self,
        ceilings: Mapping[str, int],
        *,
        clock: Callable[[], float],
        on_expired: Callable[[list[WorkItem]], None],
    ) -> None:
        """Make a queue for the models that `ceilings` names.

        Args:
            ceilings: Largest batch, by model.
            clock: Seconds, monotonic; the clock of the items' times.
            on_expired: Called from a lane's thread with items whose deadline passed before a lane took them; the queue
                is locked meanwhile, so it must neither wait nor raise.
        """
        self._ceilings = ceilings
        self._clock = clock
        self._on_expired = on_expired
        self._waiting: dict[str, deque[WorkItem]] = {model: deque() for model in ceilings}
        self._idle_lanes = 0
        self._length = 0
        self._is_closed = False
        self._changed = threading.Condition()

    def __len__(self) -> int:
        return self._length

    def put(self, item: WorkItem) -> None:
        """Add an image to the end of its model's line.

        Raises:
            DrainingError: The queue is closed; no lane would ever take the image.
        """
        with self._changed:
            if self._is_closed:
                raise DrainingError("This server is shutting down and runs no more images.", retry_after_s=1.0)
            item.has_found_idle_lane = self._idle_lanes > self._length
            self._waiting[item.model].append(item)
            self._length += 1
            self._changed.notify()

    def remove(self, item: WorkItem) -> None:
        """Take an image that nobody wants any more out of its line; without effect once a lane has it.

        At once, not when its turn comes: while the lanes are busy, clients that come and hang up must not pile up.
        """
        with self._changed:
            line = self._waiting[item.model]
            if item in line:
                line.remove(item)
                self._length -= 1

    def take(self) -> list[WorkItem]:
        """Wait for work and take a batch of one model's images; empty once the queue is closed and nothing waits."""
        with self._changed:
            self._idle_lanes += 1
            try:
                while True:
                    batch = self._take_live_batch()
                    if batch or self._is_closed:
                        return batch
                    self._changed.wait()
            finally:
                self._idle_lanes -= 1

    def close(self) -> None:
        """Take no more images, and let lanes go as soon as nothing waits."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()

    def clear(self) -> list[WorkItem]:
        """Take out everything that waits, for no lane to run."""
        with self._changed:
            items = [item for line in self._waiting.values() for item in line]
            for line in self._waiting.values():
                line.clear()
            self._length = 0
            return items

    def _take_live_batch(self) -> list[WorkItem]:
        """Take batches until one has an item left that can still be in time."""
        while True:
            choice = choose_batch(self._states(), self._idle_lanes)
            if choice is None:
                return []
            line = self._waiting[choice.model]
            live: list[WorkItem] = []
            expired: list[WorkItem] = []
            while line and len(live) < choice.size:
                item = line.popleft()
                self._length -= 1
                if item.deadline_s is not None and item.deadline_s <= self._clock():
                    expired.append(item)
                else:
                    live.append(item)
            if expired:
                self._on_expired(expired)
            if live:
                return live

    def _states(self) -> list[QueueState]:
        return [
            QueueState(model, len(line), line[0].enqueued_s, self._ceilings[model])
            for model, line in self._waiting.items()
            if line
        ]
