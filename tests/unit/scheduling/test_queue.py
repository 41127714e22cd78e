import asyncio
import threading
from collections.abc import Iterator

import pytest

from bento_service.domain.requests import Priority
from bento_service.domain.runner import DispatchReason, EngineMode
from bento_service.errors import DrainingError
from bento_service.scheduling.cost_model import CostModel
from bento_service.scheduling.queue import Announcement, WorkQueue
from bento_service.scheduling.work import Batch, WorkItem
from tests.fakes.clock import FakeClock
from tests.fakes.engine import PATIENCE_S, make_image


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    yield loop
    loop.close()


def put(queue: WorkQueue, item: WorkItem) -> Announcement:
    announcement = queue.announce(item.priority)
    queue.redeem(announcement, item)
    return announcement


class Desk:
    """A queue with a clock, and whatever expired in it. Each model is worth its ceiling."""

    def __init__(self, loop: asyncio.AbstractEventLoop, *, target_ms: float = 1e6, **ceilings: int) -> None:
        self.clock = FakeClock()
        self.expired: list[WorkItem] = []
        costs = {
            model: {EngineMode.THROUGHPUT: CostModel({size: 1 + size for size in (1, ceiling)})}
            for model, ceiling in ceilings.items()
        }
        self.queue = WorkQueue(costs, lanes=1, target_ms=target_ms, clock=self.clock, on_expired=self.expired.extend)
        self._loop = loop

    def put(
        self, model: str, *, deadline_s: float | None = None, priority: Priority = Priority.INTERACTIVE
    ) -> WorkItem:
        return self.announce_and_put(model, deadline_s=deadline_s, priority=priority)[1]

    def announce_and_put(
        self, model: str, *, deadline_s: float | None = None, priority: Priority = Priority.INTERACTIVE
    ) -> tuple[Announcement, WorkItem]:
        item = WorkItem(model, make_image(0), self.clock(), deadline_s, self._loop.create_future(), priority)
        announcement = put(self.queue, item)
        self.clock.advance(1)
        return announcement, item

    def take_batch(self) -> Batch:
        batch = self.queue.take(0)
        assert batch is not None
        return batch

    def take(self) -> list[WorkItem]:
        return list(self.take_batch().items)


def test_images_of_one_model_leave_in_the_order_in_which_they_came(loop: asyncio.AbstractEventLoop) -> None:
    desk = Desk(loop, a=2)
    items = [desk.put("a") for _ in range(5)]
    assert desk.take() + desk.take() + desk.take() == items


def test_the_model_whose_first_image_has_waited_longest_goes_next_so_that_none_starves(
    loop: asyncio.AbstractEventLoop,
) -> None:
    desk = Desk(loop, busy=4, rare=4)
    first = [desk.put("busy") for _ in range(4)]
    rare = desk.put("rare")
    later = [desk.put("busy") for _ in range(4)]
    assert [desk.take() for _ in range(3)] == [first, [rare], later]


def test_an_image_whose_deadline_passed_while_it_waited_is_handed_back_and_its_place_goes_to_the_next(
    loop: asyncio.AbstractEventLoop,
) -> None:
    desk = Desk(loop, a=2)
    late = desk.put("a", deadline_s=desk.clock() + 1)
    others = [desk.put("a"), desk.put("a")]
    assert desk.take() == others
    assert desk.expired == [late]


def test_a_line_of_expired_images_does_not_send_a_lane_away_empty(loop: asyncio.AbstractEventLoop) -> None:
    desk = Desk(loop, a=1, b=1)
    late = [desk.put("a", deadline_s=desk.clock()) for _ in range(3)]
    live = desk.put("b")
    assert desk.take() == [live]
    assert desk.expired == late


def test_an_image_that_is_taken_out_leaves_nothing_behind(loop: asyncio.AbstractEventLoop) -> None:
    desk = Desk(loop, a=8)
    (gone, _), kept = desk.announce_and_put("a"), desk.put("a")
    desk.queue.withdraw(gone)
    desk.queue.withdraw(gone)
    assert len(desk.queue) == 1
    assert desk.take() == [kept]


def test_taking_out_an_image_that_a_lane_has_already_is_without_effect(loop: asyncio.AbstractEventLoop) -> None:
    desk = Desk(loop, a=1)
    (announcement, taken), waiting = desk.announce_and_put("a"), desk.put("a")
    assert desk.take() == [taken]
    desk.queue.withdraw(announcement)
    assert len(desk.queue) == 1
    assert desk.take() == [waiting]


def test_clients_that_come_and_hang_up_while_every_lane_is_busy_do_not_pile_up(
    loop: asyncio.AbstractEventLoop,
) -> None:
    desk = Desk(loop, a=1)
    for _ in range(1000):
        desk.queue.withdraw(desk.announce_and_put("a")[0])
    assert desk.queue.clear() == []


class WatchedClock(FakeClock):
    """Counts who looks at it."""

    def __init__(self) -> None:
        super().__init__()
        self.looks = threading.Semaphore(0)

    def __call__(self) -> float:
        self.looks.release()
        return super().__call__()


def test_an_image_that_comes_after_a_held_one_was_taken_out_has_not_been_held(
    loop: asyncio.AbstractEventLoop,
) -> None:
    clock = WatchedClock()
    costs = {"a": {EngineMode.THROUGHPUT: CostModel({1: 1e6})}}
    queue = WorkQueue(costs, lanes=2, target_ms=1e6, clock=clock, on_expired=lambda items: None)
    held, later = (
        WorkItem("a", make_image(0), FakeClock()(), None, loop.create_future(), Priority.BULK) for _ in range(2)
    )
    batches: list[Batch | None] = []

    def take() -> None:
        batches.extend(queue.take(lane) for lane in (0, 1))

    put(queue, WorkItem("a", make_image(0), FakeClock()(), None, loop.create_future()))
    coming = queue.announce(Priority.INTERACTIVE)
    waiting = put(queue, held)
    lane = threading.Thread(target=take, daemon=True)
    lane.start()
    # Two looks in each `take`, the queue locked from the first until it lets go or holds.
    for _ in range(4):
        assert clock.looks.acquire(timeout=PATIENCE_S)
    queue.withdraw(waiting)
    queue.withdraw(coming)
    put(queue, later)
    lane.join(PATIENCE_S)
    assert [batch and (batch.items, batch.reason) for batch in batches[1:]] == [((later,), DispatchReason.LANE_FREE)]


def test_an_image_whose_idle_lane_takes_another_image_first_is_backlog(loop: asyncio.AbstractEventLoop) -> None:
    clock = WatchedClock()
    costs = {"a": {EngineMode.THROUGHPUT: CostModel({1: 1e6})}}
    queue = WorkQueue(costs, lanes=2, target_ms=1e6, clock=clock, on_expired=lambda items: None)
    batches: list[Batch | None] = []
    lane = threading.Thread(target=lambda: batches.extend(queue.take(0) for _ in range(2)), daemon=True)

    def make_item(priority: Priority) -> WorkItem:
        return WorkItem("a", make_image(0), FakeClock.__call__(clock), None, loop.create_future(), priority)

    lane.start()
    # Two looks at the clock until the lane waits for work, and a third until it holds the bulk image.
    for _ in range(2):
        assert clock.looks.acquire(timeout=PATIENCE_S)
    coming = queue.announce(Priority.INTERACTIVE)
    bulk = make_item(Priority.BULK)
    put(queue, bulk)
    assert clock.looks.acquire(timeout=PATIENCE_S)
    clock.advance(1)
    interactive = make_item(Priority.INTERACTIVE)
    queue.redeem(coming, interactive)
    lane.join(PATIENCE_S)
    assert bulk.has_found_idle_lane
    assert [batch and (batch.items, batch.reason) for batch in batches] == [
        ((interactive,), DispatchReason.BACKLOG),
        ((bulk,), DispatchReason.BACKLOG),
    ]


def test_a_closed_queue_gives_out_what_waits_and_then_nothing(loop: asyncio.AbstractEventLoop) -> None:
    desk = Desk(loop, a=1)
    items = [desk.put("a"), desk.put("a")]
    desk.queue.close()
    assert [desk.take(), desk.take()] == [[items[0]], [items[1]]]
    assert desk.queue.take(0) is None


def test_a_closed_queue_refuses_an_image_that_no_lane_would_ever_take(loop: asyncio.AbstractEventLoop) -> None:
    desk = Desk(loop, a=1)
    desk.queue.close()
    with pytest.raises(DrainingError):
        desk.put("a")


def test_closing_wakes_every_waiting_lane(loop: asyncio.AbstractEventLoop) -> None:
    desk = Desk(loop, a=1)
    lanes = [threading.Thread(target=desk.queue.take, args=(0,), daemon=True) for _ in range(4)]
    for lane in lanes:
        lane.start()
    desk.queue.close()
    for lane in lanes:
        lane.join(PATIENCE_S)
    assert not any(lane.is_alive() for lane in lanes)


def test_an_image_that_finds_lanes_busy_is_backlog(loop: asyncio.AbstractEventLoop) -> None:
    desk = Desk(loop, a=1)
    assert desk.put("a").reason is DispatchReason.BACKLOG


def test_interactive_images_pass_bulk_ones_of_any_model(loop: asyncio.AbstractEventLoop) -> None:
    desk = Desk(loop, a=4, b=4)
    bulk = [desk.put("a", priority=Priority.BULK), desk.put("a", priority=Priority.BULK)]
    interactive = [desk.put("b"), desk.put("a")]
    assert [desk.take() for _ in range(3)] == [[interactive[0]], [interactive[1]], bulk]


def test_bulk_images_under_endless_interactive_work_get_one_batch_in_for_each_time_the_target_passes(
    loop: asyncio.AbstractEventLoop,
) -> None:
    desk = Desk(loop, target_ms=10_000, a=1, b=1)
    for model in "ab":
        desk.put(model, priority=Priority.BULK)
    passed = []
    for _ in range(40):
        desk.put("a")
        [item] = desk.take()
        if item.priority is Priority.BULK:
            passed.append((item.model, desk.clock() - item.enqueued_s))
    assert passed == [("a", 10), ("b", 19)]


def test_an_image_whose_caller_has_hung_up_is_not_taken(loop: asyncio.AbstractEventLoop) -> None:
    desk = Desk(loop, a=4)
    gone, kept = desk.put("a"), desk.put("a")
    gone.future.cancel()
    assert desk.take() == [kept]
    assert len(desk.queue) == 0


def test_images_of_a_lane_that_died_go_first_and_each_alone(loop: asyncio.AbstractEventLoop) -> None:
    desk = Desk(loop, a=4)
    first = [desk.put("a"), desk.put("a")]
    taken = desk.take_batch()
    later = desk.put("a")
    for item in taken.items:
        item.lanes_lost += 1
    desk.queue.put_back(taken.items)
    batches = [desk.take_batch() for _ in range(3)]
    assert [list(batch.items) for batch in batches] == [[first[0]], [first[1]], [later]]
    assert [batch.reason for batch in batches[:2]] == [DispatchReason.RECOVERED] * 2


def test_images_of_two_lanes_that_died_go_in_the_order_in_which_they_came(loop: asyncio.AbstractEventLoop) -> None:
    desk = Desk(loop, a=1)
    batches = []
    for _ in range(2):
        desk.put("a")
        desk.clock.advance(0.001)
        batches.append(desk.take_batch())
    for batch in batches:
        batch.items[0].lanes_lost += 1
        desk.queue.put_back(batch.items)
    assert [desk.take() for _ in range(2)] == [list(batch.items) for batch in batches]


def test_a_closed_queue_takes_back_what_a_dying_lane_leaves(loop: asyncio.AbstractEventLoop) -> None:
    desk = Desk(loop, a=4)
    desk.put("a")
    batch = desk.take_batch()
    desk.queue.close()
    desk.queue.put_back(batch.items)
    assert desk.take() == list(batch.items)


def test_out_of_memory_halves_the_ceiling_and_time_brings_it_back(loop: asyncio.AbstractEventLoop) -> None:
    desk = Desk(loop, a=8)
    for _ in range(8):
        desk.put("a")
    batch = desk.take_batch()

    def run_half() -> None:
        now_s = desk.clock()
        desk.queue.note_run(batch, 4, DispatchReason.SHRUNK, started_s=now_s - 0.005, finished_s=now_s)

    desk.queue.note_out_of_memory(batch, 8)
    assert desk.queue.ceilings() == {"a": 4}
    run_half()
    assert desk.queue.ceilings() == {"a": 4}
    desk.clock.advance(1)
    run_half()
    assert desk.queue.ceilings() == {"a": 8}


def test_an_announcement_counts_until_it_is_redeemed_even_by_a_closed_queue(loop: asyncio.AbstractEventLoop) -> None:
    desk = Desk(loop, a=1)
    announcements = [desk.queue.announce() for _ in range(2)]
    item = WorkItem("a", make_image(0), desk.clock(), None, loop.create_future())
    desk.queue.redeem(announcements[0], item)
    assert desk.queue.announced == 1
    desk.queue.close()
    with pytest.raises(DrainingError):
        desk.queue.redeem(announcements[1], item)
    assert desk.queue.announced == 0


def test_an_image_that_was_withdrawn_while_it_was_decoded_does_not_join(loop: asyncio.AbstractEventLoop) -> None:
    desk = Desk(loop, a=1)
    announcement = desk.queue.announce()
    desk.queue.withdraw(announcement)
    desk.queue.withdraw(announcement)
    assert desk.queue.announced == 0
    desk.queue.redeem(announcement, WorkItem("a", make_image(0), desk.clock(), None, loop.create_future()))
    assert (len(desk.queue), desk.queue.announced) == (0, 0)


def test_a_batch_says_how_many_images_it_left_waiting(loop: asyncio.AbstractEventLoop) -> None:
    desk = Desk(loop, a=2, b=1)
    for model in "aaab":
        desk.put(model)
    assert desk.take_batch().waiting == 2
