from random import Random

import pytest

from bento_service.domain.requests import Priority
from bento_service.domain.runner import EngineMode
from bento_service.scheduling.cost_model import CostModel
from bento_service.scheduling.model_queue import ModelQueue
from bento_service.scheduling.policy import Lanes, Line, Outlook, Run, decide

LATENCY_MS = 10.0


class LoneImages:
    """Images that come one by one to a model whose latency mode took `ratio` of what the throughput mode does.

    `latency_slowdown` is how much longer it takes since.
    """

    def __init__(self, ratio: float, *, jitter: float = 0.0, latency_slowdown: float = 1.0) -> None:
        self._duration_ms = {EngineMode.LATENCY: LATENCY_MS, EngineMode.THROUGHPUT: LATENCY_MS / ratio}
        self._slowdown = {EngineMode.LATENCY: latency_slowdown, EngineMode.THROUGHPUT: 1.0}
        self._jitter = jitter
        self._random = Random(1)  # noqa: S311 (repeatable, not secret)
        costs = {mode: CostModel({1: duration_ms}) for mode, duration_ms in self._duration_ms.items()}
        self._state = ModelQueue("a", costs, target_ms=1000)

    def run(self, images: int, *, slowdown: float = 1.0) -> float:
        """Run so many and return the share of them that had every thread."""
        modes = [self._run_one(slowdown) for _ in range(images)]
        return modes.count(EngineMode.LATENCY) / images

    def _run_one(self, slowdown: float) -> EngineMode:
        line = Line("a", Priority.INTERACTIVE, 1, 0.0, 1, 1, self._state.costs)
        decision = decide([line], Lanes(1, 1, (), 0.0), Outlook(0, 0, 0.0), target_ms=1000, now_s=0.0)
        assert isinstance(decision, Run)
        noise = self._random.lognormvariate(0, self._jitter) * (3 if self._random.random() < self._jitter / 2 else 1)
        duration_ms = self._duration_ms[decision.mode] * self._slowdown[decision.mode]
        self._state.learn_run(decision.mode, 1, duration_ms * slowdown * noise, is_whole=True, now_s=0.0)
        return decision.mode


def test_what_bounds_the_ceiling_bounds_the_knee_and_a_gpus_ceiling_is_its_knee() -> None:
    gaining = CostModel({1: 2.0, 2: 2.1, 4: 2.4, 8: 4.0, 16: 8.0})
    state = ModelQueue("a", {EngineMode.THROUGHPUT: gaining}, target_ms=1000)
    assert (state.knee, state.ceiling) == (8, 16)
    state.learn_out_of_memory(8, now_s=0.0)
    assert (state.knee, state.ceiling) == (4, 4)
    buckets = CostModel(gaining.curve_ms(), bucket_sizes=gaining.sizes)
    on_gpu = ModelQueue("a", {EngineMode.THROUGHPUT: buckets}, target_ms=1000)
    assert (on_gpu.knee, on_gpu.ceiling) == (8, 8)


@pytest.mark.parametrize("jitter", [0.0, 0.06])
@pytest.mark.parametrize("slow_images", [20, 21, 22, 200])
@pytest.mark.parametrize("ratio", [0.6, 0.8, 0.88])
def test_lone_images_find_back_to_every_thread_after_a_slowdown_has_passed(
    ratio: float, slow_images: int, jitter: float
) -> None:
    images = LoneImages(ratio, jitter=jitter)
    assert images.run(200) > 0.7
    images.run(slow_images, slowdown=3)
    images.run(300)
    assert images.run(1000) > 0.7


def test_a_mode_that_has_become_slower_than_the_other_is_tried_now_and_then_and_no_more() -> None:
    images = LoneImages(0.8, latency_slowdown=2)
    images.run(200)
    assert 0 < images.run(1000) < 0.1
