import threading

import pytest

from bento_service.domain.requests import Priority
from bento_service.domain.runner import DispatchReason, EngineMode
from bento_service.errors import DrainingError
from bento_service.scheduling.cost_model import CostModel
from bento_service.scheduling.queue import Arrival, WorkQueue
from bento_service.scheduling.work import Batch, WorkItem
from tests.fakes.clock import FakeClock
from tests.fakes.engine import PATIENCE_S
from tests.fakes.scheduling import make_item


class WatchedClock(FakeClock):
    """Counts who looks at it."""

    def __init__(self) -> None:
        super().__init__()
        self.looks = threading.Semaphore(0)

    def __call__(self) -> float:
        self.looks.release()
        return super().__call__()

    def wait_for_looks(self, count: int) -> None:
        for _ in range(count):
            assert self.looks.acquire(timeout=PATIENCE_S)


class Desk:
    """A queue with a clock, and whatever expired in it. Each model is worth its ceiling.

    A batch takes `image_ms` for each image and once more. A second passes after each image that is put.
    """

    def __init__(self, *, lanes: int = 1, target_ms: float = 1e6, image_ms: float = 1.0, **ceilings: int) -> None:
        self.clock = WatchedClock()
        self.expired: list[WorkItem] = []
        costs = {
            model: {EngineMode.THROUGHPUT: CostModel({size: image_ms * (1 + size) for size in (1, ceiling)})}
            for model, ceiling in ceilings.items()
        }
        self.queue = WorkQueue(
            costs, lanes=lanes, target_ms=target_ms, clock=self.clock, on_expired=self.expired.extend
        )

    def make_item(self, *, priority: Priority = Priority.INTERACTIVE) -> WorkItem:
        return make_item(enqueued_s=self.clock.now_s, priority=priority)

    def put(
        self, model: str = "a", *, deadline_s: float | None = None, priority: Priority = Priority.INTERACTIVE
    ) -> WorkItem:
        item = make_item(model=model, enqueued_s=self.clock.now_s, deadline_s=deadline_s, priority=priority)
        self.add(item)
        self.clock.advance(1)
        return item

    def add(self, item: WorkItem) -> Arrival:
        arrival = self.queue.expect(item.priority)
        self.queue.add(arrival, item)
        return arrival

    def take_batch(self, lane: int = 0) -> Batch:
        batch = self.queue.take(lane)
        assert batch is not None
        return batch

    def take(self) -> list[WorkItem]:
        return list(self.take_batch().items)

    def lose_lane(self, batch: Batch) -> None:
        """Put the images of a batch back as those of a dead lane."""
        for item in batch.items:
            item.lanes_lost += 1
        self.queue.put_back(0, batch.items)


def test_images_of_one_model_leave_in_their_order() -> None:
    desk = Desk(a=2)
    items = [desk.put() for _ in range(5)]
    assert desk.take() + desk.take() + desk.take() == items


def test_the_model_whose_image_waited_longest_goes_next() -> None:
    desk = Desk(busy=4, rare=4)
    first = [desk.put("busy") for _ in range(4)]
    rare = desk.put("rare")
    later = [desk.put("busy") for _ in range(4)]
    assert [desk.take() for _ in range(3)] == [first, [rare], later]


def test_interactive_images_go_before_bulk_ones_of_any_model() -> None:
    desk = Desk(a=4, b=4)
    bulk = [desk.put(priority=Priority.BULK) for _ in range(2)]
    interactive = [desk.put("b"), desk.put()]
    assert [desk.take() for _ in range(3)] == [[interactive[0]], [interactive[1]], bulk]


def test_under_endless_interactive_work_one_bulk_batch_runs_per_target() -> None:
    desk = Desk(target_ms=10_000, a=1, b=1)
    for model in "ab":
        desk.put(model, priority=Priority.BULK)
    passed = []
    for _ in range(40):
        desk.put()
        [item] = desk.take()
        if item.priority is Priority.BULK:
            passed.append((item.model, desk.clock() - item.enqueued_s))
    assert passed == [("a", 10), ("b", 19)]


def test_expired_and_cancelled_images_give_their_places_to_the_next() -> None:
    desk = Desk(a=2, b=1)
    late = [desk.put(deadline_s=desk.clock() + 1), desk.put(deadline_s=desk.clock())]
    desk.put().future.cancel()
    live = [desk.put(), desk.put()]
    assert desk.take() == live
    assert desk.expired == late
    late.append(desk.put(deadline_s=desk.clock()))
    other = desk.put("b")
    assert desk.take() == [other]
    assert desk.expired == late
    assert len(desk.queue) == 0


def test_a_withdrawn_image_leaves_at_once_and_one_on_a_lane_stays() -> None:
    desk = Desk(a=1)
    taken = desk.add(desk.make_item())
    desk.take()
    gone, kept = desk.add(desk.make_item()), desk.put()
    for arrival in (gone, gone, taken):
        desk.queue.withdraw(arrival)
    assert len(desk.queue) == 1
    assert desk.queue.clear() == [kept]
    assert len(desk.queue) == 0


def test_an_expected_image_counts_until_it_is_added_or_withdrawn() -> None:
    desk = Desk(a=1)
    added, gone, late = [desk.queue.expect() for _ in range(3)]
    desk.queue.add(added, desk.make_item())
    assert (len(desk.queue), desk.queue.expected) == (1, 2)
    for _ in range(2):
        desk.queue.withdraw(gone)
    desk.queue.add(gone, desk.make_item())
    assert (len(desk.queue), desk.queue.expected) == (1, 1)
    desk.queue.close()
    with pytest.raises(DrainingError):
        desk.queue.add(late, desk.make_item())
    assert (len(desk.queue), desk.queue.expected) == (1, 0)


def test_an_image_after_a_withdrawn_held_one_has_not_been_held() -> None:
    desk = Desk(lanes=2, image_ms=1e6, a=1)
    held, later = (desk.make_item(priority=Priority.BULK) for _ in range(2))
    batches: list[Batch] = []
    desk.add(desk.make_item())
    coming = desk.queue.expect(Priority.INTERACTIVE)
    waiting = desk.add(held)
    lane = threading.Thread(target=lambda: batches.extend(map(desk.take_batch, (0, 1))), daemon=True)
    lane.start()
    # Two looks in each `take`, the queue locked from the first until it lets go or holds.
    desk.clock.wait_for_looks(4)
    desk.queue.withdraw(waiting)
    desk.queue.withdraw(coming)
    desk.add(later)
    lane.join(PATIENCE_S)
    assert [(batch.items, batch.reason) for batch in batches[1:]] == [((later,), DispatchReason.LANE_FREE)]


@pytest.mark.parametrize("comes", [True, False])
def test_bulk_work_is_held_for_an_expected_image_until_that_comes_or_is_withdrawn(*, comes: bool) -> None:
    desk = Desk(lanes=2, image_ms=1e6, a=1)
    batches: list[Batch] = []
    lane = threading.Thread(target=lambda: batches.extend(desk.take_batch() for _ in range(1 + comes)), daemon=True)
    lane.start()
    # Two looks at the clock until the lane waits for work, and a third until it holds the bulk image.
    desk.clock.wait_for_looks(2)
    coming = desk.queue.expect(Priority.INTERACTIVE)
    bulk = desk.make_item(priority=Priority.BULK)
    desk.add(bulk)
    desk.clock.wait_for_looks(1)
    assert bulk.has_found_idle_lane
    if comes:
        desk.clock.advance(1)
        interactive = desk.make_item()
        desk.queue.add(coming, interactive)
        expected = [((interactive,), DispatchReason.BACKLOG), ((bulk,), DispatchReason.BACKLOG)]
    else:
        desk.queue.withdraw(coming)
        expected = [((bulk,), DispatchReason.HELD)]
    lane.join(PATIENCE_S)
    assert [(batch.items, batch.reason) for batch in batches] == expected


def test_a_batch_has_its_reason_and_the_number_of_images_left() -> None:
    desk = Desk(a=2, b=1)
    for model in "aaab":
        desk.put(model)
    batch = desk.take_batch()
    assert (batch.reason, batch.waiting) == (DispatchReason.BACKLOG, 2)


def test_a_closed_queue_gives_out_what_waits_and_refuses_the_rest() -> None:
    desk = Desk(a=1)
    items = [desk.put(), desk.put()]
    desk.queue.close()
    with pytest.raises(DrainingError):
        desk.put()
    batch = desk.take_batch()
    desk.lose_lane(batch)
    assert [desk.take(), desk.take()] == [[items[0]], [items[1]]]
    assert desk.queue.take(0) is None


def test_closing_wakes_every_waiting_lane() -> None:
    desk = Desk(a=1)
    lanes = [threading.Thread(target=desk.queue.take, args=(0,), daemon=True) for _ in range(4)]
    for lane in lanes:
        lane.start()
    desk.queue.close()
    for lane in lanes:
        lane.join(PATIENCE_S)
    assert not any(lane.is_alive() for lane in lanes)


def test_images_of_a_dead_lane_go_first_and_each_alone() -> None:
    desk = Desk(a=4)
    first = [desk.put(), desk.put()]
    taken = desk.take_batch()
    later = desk.put()
    desk.lose_lane(taken)
    batches = [desk.take_batch() for _ in range(3)]
    assert [list(batch.items) for batch in batches] == [[first[0]], [first[1]], [later]]
    assert [batch.reason for batch in batches[:2]] == [DispatchReason.RECOVERED] * 2


def test_images_of_two_dead_lanes_keep_their_order() -> None:
    desk = Desk(a=1)
    batches = []
    for _ in range(2):
        desk.put()
        batches.append(desk.take_batch())
    for batch in batches:
        desk.lose_lane(batch)
    assert [desk.take() for _ in range(2)] == [list(batch.items) for batch in batches]


def test_out_of_memory_halves_the_ceiling_and_time_brings_it_back() -> None:
    desk = Desk(a=8)
    for _ in range(8):
        desk.put()
    batch = desk.take_batch()

    def run_half() -> dict[str, int]:
        now_s = desk.clock()
        desk.queue.note_run(batch, 4, DispatchReason.SHRUNK, started_s=now_s - 0.005, finished_s=now_s)
        return desk.queue.ceilings()

    desk.queue.note_out_of_memory(batch, 8)
    assert run_half() == {"a": 4}
    desk.clock.advance(1)
    assert run_half() == {"a": 8}
