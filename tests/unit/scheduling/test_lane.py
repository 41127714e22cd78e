"""A lane on its own, with a queue that hands it one batch after the other and then lets it go."""

import weakref
from collections.abc import Callable, Sequence

import pytest

from bento_service.domain.runner import EngineMode
from bento_service.scheduling.cost_model import CostModel
from bento_service.scheduling.lane import Lane
from bento_service.scheduling.queue import WorkQueue
from bento_service.scheduling.work import Batch, Result, WorkItem
from tests.fakes.clock import FakeClock
from tests.fakes.engine import PATIENCE_S, FakeInfer
from tests.fakes.scheduling import make_batch, make_item


class Prepared(WorkQueue):
    """Hands out what was laid ready, and tells a test each time that a lane asks."""

    def __init__(self, batches: list[Batch], on_take: Callable[[], None]) -> None:
        super().__init__(
            {"a": {EngineMode.THROUGHPUT: CostModel({1: 1.0})}},
            lanes=1,
            target_ms=1000,
            clock=FakeClock(),
            on_expired=lambda items: None,
        )
        self._batches = batches
        self._on_take = on_take

    def take(self, lane: int) -> Batch | None:
        self._on_take()
        return self._batches.pop(0) if self._batches else None


def run_lane(
    queue: WorkQueue,
    deliver: Callable[[Sequence[Result]], None],
    *,
    infer: FakeInfer | None = None,
    on_lost: Callable[[Lane, Sequence[WorkItem]], bool] = lambda lane, items: True,
) -> None:
    """Run a lane until its thread ends."""
    lane = Lane(
        0,
        queue=queue,
        models={"a": infer or FakeInfer()},
        with_features={},
        clock=FakeClock(),
        deliver=deliver,
        on_lost=on_lost,
    )
    lane.start()
    lane.join(PATIENCE_S)
    assert not lane.is_alive()


def test_a_lane_that_waits_for_its_next_batch_keeps_no_pixels_of_the_last() -> None:
    items = [make_item(value) for value in range(4)]
    references = [weakref.ref(item.pixels_hwc) for item in items]
    alive: list[int] = []
    batches = [make_batch(items)]
    items.clear()
    queue = Prepared(batches, lambda: alive.append(sum(each() is not None for each in references)))
    run_lane(queue, lambda results: None)
    assert alive == [4, 0]
    assert len(queue.recent_dispatches()) == 1


@pytest.mark.parametrize(("has_successor", "answered"), [(True, [0]), (False, [0, 2])])
def test_a_lane_that_dies_works_on_unless_a_successor_has_taken_over(has_successor: bool, answered: list[int]) -> None:
    items = [make_item(value) for value in range(3)]
    delivered: list[WorkItem] = []
    left: list[WorkItem] = []

    def on_lost(lane: Lane, items: Sequence[WorkItem]) -> bool:
        left.extend(items)
        return has_successor

    run_lane(
        Prepared([make_batch([item]) for item in items], lambda: None),
        lambda results: delivered.extend(item for item, _ in results),
        infer=FakeInfer(lethal=[1]),
        on_lost=on_lost,
    )
    assert delivered == [items[index] for index in answered]
    assert left == [items[1]]
