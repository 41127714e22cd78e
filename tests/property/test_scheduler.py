"""Whatever clients do, each image gets exactly one outcome, the right one."""

import asyncio
from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from bento_service.domain.requests import Priority
from bento_service.errors import DeadlineExceededError, InferenceFailedError, OutOfMemoryError
from bento_service.scheduling.scheduler import Scheduler
from bento_service.scheduling.work import Completion
from tests.fakes.clock import FakeClock
from tests.fakes.engine import PATIENCE_S, FakeInfer, expected_scores, make_costs, make_image
from tests.fakes.scheduling import run_image

MODELS = ("a", "b", "c")
POISON = frozenset(range(3, 200, 7))
LETHAL = frozenset(range(5, 200, 11)) - POISON
PLUG = 250
"""An image that only keeps a lane busy; there are at most five more after it."""

Outcome = Completion | BaseException


@dataclass(frozen=True)
class Order:
    """What one client does. `cancel_after` counts further images; `deadline_ms` runs from its arrival."""

    model: str
    cancel_after: int | None
    deadline_ms: int | None
    pause_ms: int
    priority: Priority = Priority.INTERACTIVE


orders = st.lists(
    st.builds(
        Order,
        model=st.sampled_from(MODELS),
        cancel_after=st.none() | st.integers(0, 5),
        deadline_ms=st.none() | st.integers(0, 20),
        pause_ms=st.integers(0, 5),
        priority=st.sampled_from(Priority),
    ),
    max_size=40,
)
lanes = st.integers(1, 4)
ceilings = st.fixed_dictionaries({model: st.integers(1, 9) for model in MODELS})


class World:
    """A scheduler with three models, and everything that was asked of it. The image's value is the order's number."""

    def __init__(
        self,
        ceilings: dict[str, int],
        lanes: int,
        *,
        poison: Collection[int] = POISON,
        lethal: Collection[int] = (),
        memory: int = 100,
    ) -> None:
        self.clock = FakeClock()
        self.infers = {
            model: FakeInfer(number, poison=poison, lethal=lethal, on_call=self._check_memory)
            for number, model in enumerate(MODELS)
        }
        self._memory = memory
        self._lethal = lethal
        self.tasks: list[asyncio.Task[Completion]] = []
        self.lanes = lanes
        self.ceilings = ceilings
        self.scheduler = Scheduler(
            self.infers,
            {model: make_costs(ceilings[model], is_flat=model == "b") for model in MODELS},
            lanes=lanes,
            target_ms=1000,
            clock=self.clock,
            loop=asyncio.get_running_loop(),
        )

    async def submit(self, value: int, order: Order) -> "asyncio.Task[Completion]":
        deadline_s = None if order.deadline_ms is None else self.clock() + order.deadline_ms / 1000
        submission = run_image(
            self.scheduler,
            order.model,
            make_image(value),
            deadline_s=deadline_s,
            priority=order.priority,
            clock=self.clock,
        )
        task = asyncio.create_task(submission)
        await asyncio.sleep(0)
        return task

    async def play(self, orders: list[Order]) -> list[int]:
        """Do what the clients do, in order; return whom they cancelled."""
        cancelled = []
        for now, order in enumerate(orders):
            self.tasks.append(await self.submit(now, order))
            for earlier in range(now + 1):
                if orders[earlier].cancel_after == now - earlier and self.tasks[earlier].cancel():
                    cancelled.append(earlier)
            self.clock.advance_ms(order.pause_ms)
        await asyncio.sleep(0)
        return cancelled

    async def occupy_every_lane(self) -> "list[asyncio.Task[Completion]]":
        """Return once each lane is held at a closed gate."""
        for infer in self.infers.values():
            infer.gate.clear()
        plugs = []
        for lane in range(self.lanes):
            plugs.append(await self.submit(PLUG + lane, Order("a", None, None, 0)))
            self.infers["a"].wait_for_lane()
        return plugs

    def _check_memory(self, size: int) -> None:
        if size > self._memory:
            raise OutOfMemoryError(f"no memory for {size}")

    def open_gates(self) -> None:
        for infer in self.infers.values():
            infer.gate.set()

    async def finish(self) -> list[Outcome]:
        """Close, and return what came of each order."""
        await asyncio.to_thread(self.scheduler.close, timeout_s=PATIENCE_S)
        async with asyncio.timeout(PATIENCE_S):
            return await asyncio.gather(*self.tasks, return_exceptions=True)

    def check_batches(self, orders: list[Order]) -> None:
        for model, infer in self.infers.items():
            for call in infer.calls:
                assert len(call) <= self.ceilings[model]
                assert all(value >= PLUG or orders[value].model == model for value in call)

    def check_outcome(self, value: int, order: Order, outcome: Outcome) -> None:
        if isinstance(outcome, Completion):
            assert value not in POISON
            assert value not in self._lethal
            assert np.array_equal(outcome.scores, expected_scores(value, MODELS.index(order.model)))
            assert 1 <= outcome.batch_size <= self.ceilings[order.model]
        elif isinstance(outcome, InferenceFailedError):
            assert value in POISON or value in self._lethal
        elif isinstance(outcome, DeadlineExceededError):
            assert order.deadline_ms is not None
        else:
            assert isinstance(outcome, asyncio.CancelledError)
            assert order.cancel_after is not None


@given(orders=orders, lanes=lanes, ceilings=ceilings)
def test_whatever_meets_busy_lanes_gets_its_one_possible_outcome(
    orders: list[Order], lanes: int, ceilings: dict[str, int]
) -> None:
    async def scenario() -> None:
        world = World(ceilings, lanes)
        plugs = await world.occupy_every_lane()
        started_s = world.clock()
        cancelled = await world.play(orders)
        arrived_s = started_s
        expired = set()
        for value, order in enumerate(orders):
            if order.deadline_ms is not None and arrived_s + order.deadline_ms / 1000 <= world.clock():
                expired.add(value)
            arrived_s += order.pause_ms / 1000
        assert len(world.scheduler.queue) == len(orders) - len(cancelled)
        world.open_gates()
        outcomes = await world.finish()
        assert all(isinstance(plug.result(), Completion) for plug in plugs)
        world.check_batches(orders)
        computed = {value for infer in world.infers.values() for value in infer.computed}
        assert computed.isdisjoint(cancelled)
        assert computed.isdisjoint(expired)
        for value, (order, outcome) in enumerate(zip(orders, outcomes, strict=True)):
            world.check_outcome(value, order, outcome)
            assert isinstance(outcome, asyncio.CancelledError) == (value in cancelled)
            assert isinstance(outcome, DeadlineExceededError) == (value in expired and value not in cancelled)

    asyncio.run(scenario())


@settings(max_examples=200)
@given(
    orders=orders,
    lanes=lanes,
    ceilings=ceilings,
    lethal=st.sampled_from([frozenset[int](), LETHAL]),
    memory=st.just(100) | st.integers(1, 9),
)
def test_whatever_races_with_lanes_that_die_or_lack_memory_gets_one_true_outcome(
    orders: list[Order], lanes: int, ceilings: dict[str, int], lethal: frozenset[int], memory: int
) -> None:
    async def scenario() -> None:
        world = World(ceilings, lanes, lethal=lethal, memory=memory)
        await world.play(orders)
        outcomes = await world.finish()
        world.check_batches(orders)
        for value, (order, outcome) in enumerate(zip(orders, outcomes, strict=True)):
            world.check_outcome(value, order, outcome)
        assert len(world.scheduler.queue) == 0

    asyncio.run(scenario())


@settings(max_examples=50)
@given(models=st.lists(st.tuples(st.sampled_from(MODELS), st.sampled_from(Priority)), max_size=40), ceilings=ceilings)
def test_images_of_one_model_start_in_order_interactive_ones_first(
    models: list[tuple[str, Priority]], ceilings: dict[str, int]
) -> None:
    async def scenario() -> None:
        world = World(ceilings, lanes=1, poison=())
        await world.occupy_every_lane()
        await world.play([Order(model, None, None, 1, priority) for model, priority in models])
        world.open_gates()
        await world.finish()
        for infer in world.infers.values():
            started = [value for call in infer.calls for value in call if value < PLUG]
            assert started == sorted(started, key=lambda value: (models[value][1] is Priority.BULK, value))

    asyncio.run(scenario())
