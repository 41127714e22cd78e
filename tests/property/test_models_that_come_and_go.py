"""Whatever models are added and removed while clients ask, each image gets its one right outcome."""

import asyncio
import time
from collections.abc import Callable

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from bento_service.domain.runner import EngineMode
from bento_service.scheduling.scheduler import Scheduler
from bento_service.scheduling.work import Completion
from tests.fakes.engine import PATIENCE_S, FakeInfer, expected_scores, make_costs, make_image
from tests.fakes.scheduling import run_image

MODELS = ("a", "b")
STEPS = ("add", "ask", "ask held", "cancel", "remove", "let go")

steps = st.lists(st.tuples(st.sampled_from(STEPS), st.sampled_from(MODELS)), min_size=8, max_size=60)


class CountedInfer(FakeInfer):
    """A forward pass that knows how many runs are over."""

    ended = 0

    def __call__(
        self, batch_nhwc: NDArray[np.uint8], mode: EngineMode = EngineMode.THROUGHPUT, /
    ) -> NDArray[np.float32]:
        try:
            return super().__call__(batch_nhwc, mode)
        finally:
            self.ended += 1


class World:
    """A scheduler without models at first, and everything that was asked of it by its number."""

    def __init__(self, lanes: int) -> None:
        self.infers = {model: CountedInfer(number) for number, model in enumerate(MODELS)}
        # A real clock: a lane that waits for its batch to grow must not wait for ever.
        self.scheduler = Scheduler(
            {}, {}, lanes=lanes, target_ms=1000, clock=time.perf_counter, loop=asyncio.get_running_loop()
        )
        self.present: set[str] = set()
        self.asked: dict[int, tuple[str, asyncio.Task[Completion]]] = {}
        self.cancelled: set[int] = set()
        self._runs_when_removed: dict[str, int] = {}
        self._free_lanes = self._lanes = lanes

    async def take(self, step: str, model: str) -> None:
        if step == "add" and model not in self.present:
            self.check_removed()
            self._runs_when_removed.pop(model, None)
            self.scheduler.add_model(model, self.infers[model], make_costs(4))
            self.present.add(model)
        elif step == "remove" and model in self.present and self.scheduler.remove_model(model):
            self.present.discard(model)
            self._runs_when_removed[model] = len(self.infers[model].calls)
        elif step.startswith("ask") and model in self.present:
            await self._ask(model, is_held=step == "ask held")
        elif step == "cancel" and self.asked:
            last = max(self.asked)
            if self.asked[last][1].cancel():
                self.cancelled.add(last)
            await asyncio.sleep(0)
        elif step == "let go":
            await self.let_go()

    async def _ask(self, model: str, *, is_held: bool) -> None:
        """Return once the image is answered, on a lane at a closed gate, or in the queue where no lane is free."""
        infer, value = self.infers[model], len(self.asked)
        if is_held:
            infer.gate.clear()
        calls = len(infer.calls)
        task = asyncio.create_task(run_image(self.scheduler, model, make_image(value)))
        self.asked[value] = model, task
        await asyncio.sleep(0)
        if self._free_lanes:
            await wait_until(lambda: len(infer.calls) > calls if not infer.gate.is_set() else task.done())
            self._free_lanes -= not infer.gate.is_set()

    async def let_go(self) -> None:
        """Open every gate, and return once everything that was asked has its outcome and no model runs."""
        for infer in self.infers.values():
            infer.gate.set()
        await wait_until(lambda: all(task.done() for _, task in self.asked.values()))
        # Lanes also run images whose clients are gone.
        await wait_until(lambda: all(infer.ended == len(infer.calls) for infer in self.infers.values()))
        self._free_lanes = self._lanes

    def check_removed(self) -> None:
        """Assert that no model has run since it was removed."""
        assert {model: len(self.infers[model].calls) for model in self._runs_when_removed} == self._runs_when_removed


async def wait_until(is_true: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not is_true():  # noqa: ASYNC110 - lanes know no event loop
            await asyncio.sleep(0.001)


@given(steps=steps, lanes=st.integers(1, 3))
def test_every_image_is_answered_by_its_model_and_no_removed_model_runs(
    steps: list[tuple[str, str]], lanes: int
) -> None:
    async def scenario() -> None:
        world = World(lanes)
        for step, model in steps:
            await world.take(step, model)
        await world.let_go()
        await asyncio.to_thread(world.scheduler.close, timeout_s=PATIENCE_S)
        world.check_removed()
        for value, (model, task) in world.asked.items():
            if value not in world.cancelled:
                assert np.array_equal(task.result().scores, expected_scores(value, MODELS.index(model)))
        assert all(world.scheduler.remove_model(model) for model in world.present)

    asyncio.run(scenario())
