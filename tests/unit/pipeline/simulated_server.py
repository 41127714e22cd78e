"""A server in simulated time: lanes, batches and clients that come back as soon as they are answered."""

import heapq
import math
from dataclasses import dataclass
from itertools import count
from random import Random

from bento_service.domain.requests import Priority
from bento_service.pipeline.wait_predictor import WaitPredictor
from tests.fakes.clock import FakeClock

_IMAGE_MS = 1.0


@dataclass(frozen=True)
class Server:
    """`batch_ms` is the duration of a full batch on one lane, whatever its size; `jitter` a share of it."""

    lanes: int = 2
    ceiling: int = 1
    batch_ms: float = 20.0
    jitter: float = 0.0

    @property
    def capacity(self) -> int:
        return self.lanes * self.ceiling

    @property
    def interval_ms(self) -> float:
        """Time between answers at full load."""
        return self.batch_ms / self.capacity


class Simulation:
    """Clients in a closed loop against a server that rejects what is predicted to wait longer than the target.

    A rejected client comes back at once.
    """

    def __init__(self, server: Server, *, initial_interval_ms: float, target_ms: float = 1000.0) -> None:
        self.clock = FakeClock(0.0)
        self.predictor = WaitPredictor(initial_slowdown=initial_interval_ms, capacity=server.capacity, clock=self.clock)
        self.rejections = 0
        self.interval_ms_after: list[float] = []
        self._server = server
        self._target_ms = target_ms
        self._events: list[tuple[float, int, int]] = []
        self._order = count()
        self._random = Random(1)  # noqa: S311 (repeatable, not secret)

    def run(self, *, clients: int, answers: int) -> None:
        """Serve until so many are answered; `interval_ms_after` holds what the predictor believed after each."""
        away, waiting, idle_lanes = clients, 0, self._server.lanes
        goal = len(self.interval_ms_after) + answers
        while len(self.interval_ms_after) < goal:
            while away and self._admit():
                away, waiting = away - 1, waiting + 1
            while waiting and idle_lanes:
                size = min(self._server.ceiling, math.ceil(waiting / idle_lanes))
                waiting, idle_lanes = waiting - size, idle_lanes - 1
                self._start(size)
            self.clock.now_s, _, size = heapq.heappop(self._events)
            idle_lanes += 1
            away += size
            for _ in range(size):
                self._answer()
        self._finish_all()

    def _admit(self) -> bool:
        if self.predictor.predict_wait_ms() > self._target_ms:
            self.rejections += 1
            return False
        self.predictor.start(_IMAGE_MS, Priority.INTERACTIVE)
        return True

    def _start(self, size: int) -> None:
        factor = 1 + self._server.jitter * self._random.uniform(-1, 1)
        ends_s = self.clock.now_s + factor * self._server.batch_ms / 1000
        heapq.heappush(self._events, (ends_s, next(self._order), size))

    def _answer(self) -> None:
        self.predictor.finish(_IMAGE_MS, Priority.INTERACTIVE, has_run=True)
        ahead = self.predictor.count_ahead()
        interval_ms = self.predictor.predict_wait_ms() / ahead if ahead else math.nan
        self.interval_ms_after.append(interval_ms)

    def _finish_all(self) -> None:
        """Let everyone who is still in hang up."""
        self._events.clear()
        for _ in range(self.predictor.count_ahead()):
            self.predictor.finish(_IMAGE_MS, Priority.INTERACTIVE, has_run=False)
