import asyncio
import math
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
import pytest

from bento_service.domain.explanations import Box, Explanation, Method
from bento_service.domain.models import ModelCard
from bento_service.domain.registry import CHAMPION, Canary, Deployment
from bento_service.errors import (
    DrainingError,
    InferenceFailedError,
    InvalidParameterError,
    OverloadedError,
    UnknownModelError,
)
from bento_service.explain.explainer import Explainer, Question
from bento_service.models.class_head import ClassHead
from bento_service.pipeline.live_models import WarmModel
from tests.fakes.engine import FakeInfer, expected_features
from tests.fakes.explainer import FakeHeads
from tests.fakes.pipeline import (
    RECIPE,
    TARGET_MS,
    ObservedClassifier,
    encode_image,
    fake_clock,
    make_warm,
    running,
)

pytestmark = pytest.mark.anyio

HEAD = ClassHead(np.array([[1, 2], [0, -1], [3, 0]], np.float32), np.array([0.5, -0.5, 0], np.float32))
WHITE = encode_image(255)
"""Its class 0 has the score 1, and 128 / 255 where the first cell of the grid is covered."""
CELLS = 49
LABELS = ("class 0", "class 1", "class 2")


class Explained:
    """An observed classifier and the explainer over it."""

    def __init__(self, observed: ObservedClassifier, head: ClassHead | None) -> None:
        self.observed = observed
        self._explainer = Explainer(observed.classifier, FakeHeads(head))

    async def explain(
        self, encoded: bytes = WHITE, *, model: str | None = None, deadline_ms: float | None = None, **question: Any
    ) -> Explanation:
        asked = Question(**question)
        with self._explainer.open(
            asked, request_id="r-1", model=model, deadline_ms=deadline_ms, started_s=fake_clock()()
        ) as image:
            return await self._explainer.explain(image, encoded, asked)


@asynccontextmanager
async def explaining(
    infer: FakeInfer, head: ClassHead | None = HEAD, **options: Any
) -> AsyncIterator[tuple[Explained, ObservedClassifier]]:
    async with running({"a": infer}, **options) as observed:
        yield Explained(observed, head), observed


@asynccontextmanager
async def occluding(
    *, deadline_ms: float | None = None, **options: Any
) -> AsyncIterator[tuple[Explained, ObservedClassifier, FakeInfer, "asyncio.Task[Explanation]"]]:
    """Hold the lane in the first batch of covered copies of an image."""
    infer = FakeInfer(features=expected_features, on_call=lambda size: close_gate())

    def close_gate() -> None:
        if len(infer.calls) == 2:
            infer.gate.clear()

    async with explaining(infer, **options) as (explainer, observed):
        explanation = asyncio.create_task(explainer.explain(method="occlusion", deadline_ms=deadline_ms))
        for _ in range(2):
            await asyncio.to_thread(infer.wait_for_lane)
        yield explainer, observed, infer, explanation


async def test_one_run_of_the_model_explains_a_class_exactly() -> None:
    infer = FakeInfer(features=expected_features)
    async with explaining(infer) as (explainer, observed):
        explanation = await explainer.explain(class_id=2)
    assert (explanation.method, explanation.is_exact) == (Method.CAM, True)
    assert (explanation.explained.label, explanation.bias) == ("class 2", 0.0)
    assert explanation.grid.tolist() == (3 * expected_features(255)[0]).tolist()
    assert (infer.calls, infer.calls_with_features) == ([(255,)], 1)
    receipt = observed.receipt
    assert (receipt.outcome, receipt.model_version, receipt.top[0].label) == ("ok", "v-a", "class 0")
    observed.check_left_nothing()


async def test_a_model_without_a_class_activation_map_is_explained_by_occlusion_and_says_so() -> None:
    infer = FakeInfer()
    async with explaining(infer, head=None) as (explainer, observed):
        explanation = await explainer.explain()
    assert (explanation.method, explanation.is_exact, explanation.bias) == (Method.OCCLUSION, False, None)
    assert explanation.grid[0, 0] == pytest.approx(math.log(255 / 128))
    assert np.count_nonzero(explanation.grid) == 1
    assert sum(map(len, infer.calls)) == 1 + CELLS
    assert observed.receipt.further_runs == CELLS
    observed.check_left_nothing()


async def test_a_model_that_has_a_map_is_occluded_where_that_is_asked_for() -> None:
    infer = FakeInfer(features=expected_features)
    async with explaining(infer) as (explainer, _):
        assert (await explainer.explain(method="occlusion")).method is Method.OCCLUSION
    assert infer.calls_with_features == 0


async def test_features_without_a_head_that_explains_them_are_not_used() -> None:
    async with explaining(FakeInfer(features=expected_features), head=None) as (explainer, _):
        assert (await explainer.explain()).method is Method.OCCLUSION


@pytest.mark.parametrize(
    ("asked", "message"),
    [({"method": "cam"}, "no class activation map"), ({"class_id": 3}, "class_id is 3; a has the classes 0 to 2")],
)
async def test_what_a_model_does_not_have_is_refused_before_it_runs(asked: dict[str, Any], message: str) -> None:
    infer = FakeInfer()
    async with explaining(infer) as (explainer, observed):
        with pytest.raises(InvalidParameterError, match=message):
            await explainer.explain(**asked)
    assert observed.receipt.outcome == "invalid_parameter"
    assert infer.calls == []
    observed.check_left_nothing()


async def test_an_unknown_model_is_refused_with_a_receipt() -> None:
    async with explaining(FakeInfer()) as (explainer, observed):
        with pytest.raises(UnknownModelError):
            await explainer.explain(model="b")
    assert observed.receipt.outcome == "unknown_model"


async def test_the_grid_lies_on_the_upright_photograph() -> None:
    async with explaining(FakeInfer(features=expected_features)) as (explainer, _):
        explanation = await explainer.explain(encode_image(width_px=40, height_px=10))
    assert explanation.box == Box(left_px=15, top_px=0, width_px=10, height_px=10)


async def test_a_picture_comes_with_the_explanation_that_asks_for_one() -> None:
    async with explaining(FakeInfer(features=expected_features)) as (explainer, _):
        explanation = await explainer.explain(picture_opacity=0.5)
    assert explanation.png is not None
    assert explanation.png.startswith(b"\x89PNG")


async def test_interactive_images_go_before_covered_copies_and_are_admitted_beside_them() -> None:
    async with occluding() as (_, observed, infer, explanation):
        answer = await observed.start_and_queue(encode_image(9))
        assert observed.classifier.predicted_wait_ms < TARGET_MS / 3
        infer.gate.set()
        await answer
        await explanation
    assert 9 in infer.calls[2]
    assert len(infer.calls) > 3


async def test_occlusion_is_admitted_as_bulk_work_and_a_map_as_a_classification() -> None:
    async with occluding(max_queued=4) as (explainer, observed, infer, explanation):
        with pytest.raises(OverloadedError, match="bulk images wait"):
            await explainer.explain(method="occlusion")
        mapped = asyncio.create_task(explainer.explain(encode_image(9)))
        await asyncio.sleep(0)
        assert observed.classifier.in_flight == 2
        infer.gate.set()
        assert [one.method for one in await asyncio.gather(explanation, mapped)] == [Method.OCCLUSION, Method.CAM]
    assert observed.observer.rejections == ["queue_full"]


async def test_all_copies_count_from_the_start_so_that_a_burst_of_occlusions_is_bounded() -> None:
    async with explaining(FakeInfer(), head=None, max_queued=2 * (1 + CELLS)) as (explainer, observed):
        first, second = await asyncio.gather(explainer.explain(), explainer.explain(), return_exceptions=True)
    assert isinstance(first, Explanation)
    assert isinstance(second, OverloadedError)
    observed.check_left_nothing()


@pytest.mark.parametrize("is_deadline", [True, False])
async def test_an_occlusion_that_ends_early_leaves_no_copy_behind(*, is_deadline: bool) -> None:
    async with occluding(deadline_ms=30) as (_, observed, infer, explanation):
        if is_deadline:
            fake_clock().advance_ms(31)
        else:
            explanation.cancel()
        await asyncio.wait([explanation])
        assert len(observed.queue) == 0
        infer.gate.set()
        observed.check_left_nothing()
    assert observed.receipt.outcome == ("deadline_exceeded" if is_deadline else "cancelled")
    assert sum(map(len, infer.calls)) < CELLS


async def test_a_copy_that_fails_fails_the_explanation() -> None:
    infer = FakeInfer(poison=[128])
    async with explaining(infer, head=None) as (explainer, observed):
        with pytest.raises(InferenceFailedError):
            await explainer.explain()
    assert observed.receipt.outcome == "inference_failed"
    observed.check_left_nothing()


async def test_the_time_of_the_copies_counts_as_queue_and_inference() -> None:
    async with occluding() as (_, _, infer, explanation):
        fake_clock().advance_ms(40)
        infer.gate.set()
        timings = (await explanation).answer.receipt.timings
    assert timings.inference_ms == pytest.approx(40)
    assert timings.queue_ms == 0
    assert timings.total_ms == pytest.approx(40)


async def test_the_canary_explains_the_images_that_it_would_classify() -> None:
    canary = make_warm(ModelCard("a", "v-new", LABELS, RECIPE, "import", "MIT"), FakeInfer(1))

    async def load(name: str, version: str, loaded: Sequence[WarmModel], loaded_by: int) -> WarmModel:
        return canary

    async with explaining(FakeInfer(features=expected_features), load_version=load) as (explainer, observed):
        await observed.models.load("a", "v-new")
        observed.models.set_deployment(Deployment("a", ("v-a",), {CHAMPION: "v-a"}, canary=Canary("v-new", 0.5)))
        for value in range(8):
            encoded = encode_image(value)
            explanation = await explainer.explain(encoded)
            answer = await observed.classify(encoded)
            assert explanation.answer.receipt.model_version == answer.receipt.model_version
            assert explanation.is_exact == (answer.receipt.model_version == "v-a")


async def test_an_admitted_explanation_is_finished_in_a_drain() -> None:
    async with occluding() as (explainer, observed, infer, explanation):
        drain = asyncio.create_task(observed.classifier.drain(timeout_s=5))
        await asyncio.sleep(0)
        with pytest.raises(DrainingError):
            await explainer.explain()
        infer.gate.set()
        assert await drain == 0
        assert explanation.done()
