"""Whatever models are added and removed while clients ask, each image gets its one right outcome."""

import asyncio

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from bento_service.scheduling.scheduler import Scheduler
from bento_service.scheduling.work import Completion
from tests.fakes.clock import FakeClock
from tests.fakes.engine import PATIENCE_S, FakeInfer, expected_scores, make_costs, make_image
from tests.fakes.scheduling import run_image

MODELS = ("a", "b", "c")

steps = st.lists(
    st.tuples(
        st.sampled_from(["ask", "ask", "ask", "cancel", "add", "remove", "hold", "let go"]), st.sampled_from(MODELS)
    ),
    max_size=60,
)


@given(steps=steps, lanes=st.integers(1, 3))
def test_every_image_is_answered_by_its_model_and_no_removed_model_runs(
    steps: list[tuple[str, str]], lanes: int
) -> None:
    async def scenario() -> None:
        infers = {model: FakeInfer(number) for number, model in enumerate(MODELS)}
        scheduler = Scheduler({}, {}, lanes=lanes, target_ms=1000, clock=FakeClock(), loop=asyncio.get_running_loop())
        present: set[str] = set()
        runs_when_removed: dict[str, int] = {}
        asked: dict[int, tuple[str, asyncio.Task[Completion]]] = {}
        cancelled: set[int] = set()

        def check_removed() -> None:
            assert {model: len(infers[model].calls) for model in runs_when_removed} == runs_when_removed

        for value, (step, model) in enumerate(steps):
            if step == "add" and model not in present:
                check_removed()
                runs_when_removed.pop(model, None)
                scheduler.add_model(model, infers[model], make_costs(4))
                present.add(model)
            elif step == "remove" and model in present and scheduler.remove_model(model):
                present.discard(model)
                runs_when_removed[model] = len(infers[model].calls)
            elif step == "ask" and model in present:
                asked[value] = model, asyncio.create_task(run_image(scheduler, model, make_image(value)))
                await asyncio.sleep(0)
            elif step == "cancel" and asked:
                last = max(asked)
                if asked[last][1].cancel():
                    cancelled.add(last)
                await asyncio.sleep(0)
            elif step in ("hold", "let go"):
                (infers[model].gate.clear if step == "hold" else infers[model].gate.set)()
        for infer in infers.values():
            infer.gate.set()
        await asyncio.to_thread(scheduler.close, timeout_s=PATIENCE_S)
        outcomes = await asyncio.gather(*[task for _, task in asked.values()], return_exceptions=True)
        check_removed()
        for (value, (model, _)), outcome in zip(asked.items(), outcomes, strict=True):
            if isinstance(outcome, Completion):
                assert np.array_equal(outcome.scores, expected_scores(value, MODELS.index(model)))
            else:
                assert value in cancelled
        assert all(scheduler.remove_model(model) for model in present)

    asyncio.run(scenario())
