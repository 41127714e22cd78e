import asyncio
import threading
from collections.abc import Iterator

import pytest

from bento_service.domain import DispatchReason
from bento_service.errors import DrainingError
from bento_service.scheduling.queue import WorkQueue
from bento_service.scheduling.work import WorkItem
from tests.fakes.clock import FakeClock
from tests.fakes.engine import PATIENCE_S, make_image


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    yield loop
    loop.close()


class Desk:
    """A queue with a clock, and whatever expired in it."""

    def __init__(self, loop: asyncio.AbstractEventLoop, **ceilings: int) -> None:
        self.clock = FakeClock()
        self.expired: list[WorkItem] = []
        self.queue = WorkQueue(ceilings, clock=self.clock, on_expired=self.expired.extend)
        self._loop = loop

    def put(self, model: str, *, deadline_s: float | None = None) -> WorkItem:
        item = WorkItem(model, make_image(0), self.clock(), deadline_s, self._loop.create_future())
        self.queue.put(item)
        self.clock.advance(1)
        return item


def test_images_of_one_model_leave_in_the_order_in_which_they_came(loop: asyncio.AbstractEventLoop) -> None:
    desk = Desk(loop, a=2)
    items = [desk.put("a") for _ in range(5)]
    assert desk.queue.take() + desk.queue.take() + desk.queue.take() == items


def test_the_model_whose_first_image_has_waited_longest_goes_next_so_that_none_starves(
    loop: asyncio.AbstractEventLoop,
) -> None:
    desk = Desk(loop, busy=4, rare=4)
    first = [desk.put("busy") for _ in range(4)]
    rare = desk.put("rare")
    later = [desk.put("busy") for _ in range(4)]
    assert [desk.queue.take() for _ in range(3)] == [first, [rare], later]


def test_an_image_whose_deadline_passed_while_it_waited_is_handed_back_and_its_place_goes_to_the_next(
    loop: asyncio.AbstractEventLoop,
) -> None:
    desk = Desk(loop, a=2)
    late = desk.put("a", deadline_s=desk.clock() + 1)
    others = [desk.put("a"), desk.put("a")]
    assert desk.queue.take() == others
    assert desk.expired == [late]


def test_a_line_of_expired_images_does_not_send_a_lane_away_empty(loop: asyncio.AbstractEventLoop) -> None:
    desk = Desk(loop, a=1, b=1)
    late = [desk.put("a", deadline_s=desk.clock()) for _ in range(3)]
    live = desk.put("b")
    assert desk.queue.take() == [live]
    assert desk.expired == late


def test_an_image_that_is_taken_out_leaves_nothing_behind(loop: asyncio.AbstractEventLoop) -> None:
    desk = Desk(loop, a=8)
    gone, kept = desk.put("a"), desk.put("a")
    desk.queue.remove(gone)
    assert len(desk.queue) == 1
    assert desk.queue.take() == [kept]


def test_taking_out_an_image_that_a_lane_has_already_is_without_effect(loop: asyncio.AbstractEventLoop) -> None:
    desk = Desk(loop, a=1)
    taken, waiting = desk.put("a"), desk.put("a")
    assert desk.queue.take() == [taken]
    desk.queue.remove(taken)
    assert len(desk.queue) == 1
    assert desk.queue.take() == [waiting]


def test_clients_that_come_and_hang_up_while_every_lane_is_busy_do_not_pile_up(
    loop: asyncio.AbstractEventLoop,
) -> None:
    desk = Desk(loop, a=1)
    for _ in range(1000):
        desk.queue.remove(desk.put("a"))
    assert desk.queue.clear() == []


def test_a_closed_queue_gives_out_what_waits_and_then_nothing(loop: asyncio.AbstractEventLoop) -> None:
    desk = Desk(loop, a=1)
    items = [desk.put("a"), desk.put("a")]
    desk.queue.close()
    assert [desk.queue.take() for _ in range(3)] == [[items[0]], [items[1]], []]


def test_a_closed_queue_refuses_an_image_that_no_lane_would_ever_take(loop: asyncio.AbstractEventLoop) -> None:
    desk = Desk(loop, a=1)
    desk.queue.close()
    with pytest.raises(DrainingError):
        desk.put("a")


def test_closing_wakes_every_waiting_lane(loop: asyncio.AbstractEventLoop) -> None:
    desk = Desk(loop, a=1)
    lanes = [threading.Thread(target=desk.queue.take, daemon=True) for _ in range(4)]
    for lane in lanes:
        lane.start()
    desk.queue.close()
    for lane in lanes:
        lane.join(PATIENCE_S)
    assert not any(lane.is_alive() for lane in lanes)


def test_an_image_that_finds_lanes_busy_is_backlog(loop: asyncio.AbstractEventLoop) -> None:
    desk = Desk(loop, a=1)
    assert desk.put("a").reason is DispatchReason.BACKLOG
