import asyncio
from collections.abc import Sequence

import pytest

from bento_service.domain.models import ModelCard
from bento_service.domain.registry import CHAMPION, Canary, Deployment, LoadState, Shadow
from bento_service.domain.runner import EngineMode
from bento_service.errors import InvalidParameterError, LightboxError, ModelLoadError, UnknownModelError
from bento_service.pipeline.live_models import WarmModel
from tests.fakes.engine import FakeInfer
from tests.fakes.pipeline import RECIPE, ObservedClassifier, encode_image, fake_clock, make_warm, running

pytestmark = pytest.mark.anyio

LABELS = ("class 0", "class 1", "class 2")
OLD, NEW = "v-a", "v-new"


class Shelf:
    """The versions that can be loaded, by version; an error is raised. `opened` may hold a load."""

    def __init__(self, *, labels: tuple[str, ...] = LABELS) -> None:
        self.infer = FakeInfer(1)
        self.warm = make_warm(ModelCard("a", NEW, labels, RECIPE, "import", "MIT"), self.infer)
        self.error: Exception | None = None
        self.has_begun = asyncio.Event()
        self.may_end = asyncio.Event()
        self.may_end.set()

    async def load(self, name: str, version: str, loaded: Sequence[WarmModel], loaded_by: int) -> WarmModel:
        self.has_begun.set()
        await self.may_end.wait()
        if self.error is not None:
            raise self.error
        return self.warm


def promote(observed: ObservedClassifier, version: str, **roles: Canary | Shadow) -> None:
    observed.models.set_deployment(Deployment("a", (version,), {CHAMPION: version}, **roles))  # type: ignore[arg-type]


async def ask(observed: ObservedClassifier, value: int = 7, *, model: str | None = None, **headers: str) -> str:
    """Return the version that answers."""
    with observed.open(model=model, headers=headers) as pending:
        return (await pending.classify(encode_image(value))).receipt.model_version


async def test_a_version_is_loaded_beside_promoted_and_the_old_one_unloaded() -> None:
    shelf = Shelf()
    async with running({"a": FakeInfer()}, load_version=shelf.load) as observed:
        shelf.may_end.clear()
        load = asyncio.create_task(observed.models.load("a", NEW))
        await shelf.has_begun.wait()
        assert observed.models.states()["a", NEW].state is LoadState.LOADING
        assert await ask(observed) == OLD
        shelf.may_end.set()
        await load
        assert await ask(observed) == OLD
        assert await ask(observed, model=f"a:{NEW}") == NEW
        promote(observed, NEW)
        assert await ask(observed) == NEW
        await observed.models.unload("a", OLD)
        assert await ask(observed) == NEW
        with pytest.raises(UnknownModelError, match=f"'a:{OLD}' is served"):
            observed.open(model=f"a:{OLD}")
        assert {key: one.state for key, one in observed.models.states().items()} == {("a", NEW): LoadState.READY}
        assert [model.card.key for model in observed.models.loaded] == [f"a:{NEW}"]
        assert set(observed.queue.ceilings()) == {f"a:{NEW}"}
        observed.check_left_nothing()


async def test_a_model_is_loaded_where_none_is_left() -> None:
    shelf = Shelf()
    async with running({"b": FakeInfer()}, default_model="a", load_version=shelf.load) as observed:
        observed.models.set_deployment(Deployment("b", (), {}))
        await observed.models.unload("b", "v-b")
        with pytest.raises(UnknownModelError, match=r"'a' is served\. Served: none\."):
            await ask(observed)
        with observed.classifier.open_preview() as preview, pytest.raises(UnknownModelError):
            await preview.draw(encode_image())
        await observed.models.load("a", NEW)
        promote(observed, NEW)
        assert await ask(observed) == NEW


async def test_an_admitted_request_is_answered_by_its_version_which_stays_until_then() -> None:
    shelf, old = Shelf(), FakeInfer()
    async with running({"a": old}, load_version=shelf.load) as observed:
        await observed.models.load("a", NEW)
        with observed.open() as pending:
            promote(observed, NEW)
            unload = asyncio.create_task(observed.models.unload("a", OLD))
            await asyncio.sleep(0)
            assert observed.models.states()["a", OLD].state is LoadState.UNLOADING
            # A version in the body's fields is still one of those that served at admission.
            pending.change_parameters(model=f"a:{OLD}", top_k=1, deadline_ms=None)
            answer = await pending.classify(encode_image())
            assert not unload.done()
        await unload
    assert answer.receipt.model_version == OLD


async def test_a_version_stays_while_a_lane_runs_an_image_that_nobody_waits_for() -> None:
    shelf, old = Shelf(), FakeInfer()
    async with running({"a": old}, load_version=shelf.load) as observed:
        await observed.models.load("a", NEW)
        promote(observed, NEW)
        promote(observed, OLD)
        gone = await observed.occupy_lane(old)
        gone.cancel()
        await asyncio.gather(gone, return_exceptions=True)
        promote(observed, NEW)
        unload = asyncio.create_task(observed.models.unload("a", OLD))
        for _ in range(5):
            await asyncio.sleep(0)
            fake_clock().advance(0.1)
        assert not unload.done()
        old.gate.set()
        while not unload.done():
            await asyncio.sleep(0)
            fake_clock().advance(0.1)
        await unload
        assert await ask(observed) == NEW


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ModelLoadError("It would not fit."), "It would not fit."),
        (RuntimeError("a library's own"), f"a:{NEW} cannot be loaded: a library's own. The server's log has more."),
    ],
)
async def test_a_load_that_fails_leaves_what_serves_and_says_why(error: Exception, reason: str) -> None:
    shelf = Shelf()
    shelf.error = error
    async with running({"a": FakeInfer()}, load_version=shelf.load) as observed:
        with pytest.raises(LightboxError):
            await observed.models.load("a", NEW)
        failed = observed.models.states()["a", NEW]
        assert (failed.state, failed.reason) == (LoadState.FAILED, reason)
        assert await ask(observed) == OLD
        shelf.error = None
        await observed.models.load("a", NEW)
        assert observed.models.states()["a", NEW].state is LoadState.READY


async def test_a_load_that_is_given_up_leaves_no_state() -> None:
    shelf = Shelf()
    shelf.may_end.clear()
    async with running({"a": FakeInfer()}, load_version=shelf.load) as observed:
        load = asyncio.create_task(observed.models.load("a", NEW))
        await shelf.has_begun.wait()
        load.cancel()
        await asyncio.gather(load, return_exceptions=True)
        assert ("a", NEW) not in observed.models.states()


async def test_a_canary_answers_its_share_of_the_images_always_the_same_ones() -> None:
    shelf = Shelf()
    async with running({"a": FakeInfer()}, load_version=shelf.load) as observed:
        await observed.models.load("a", NEW)
        promote(observed, OLD, canary=Canary(NEW, 0.5))
        versions = [await ask(observed, value) for value in range(40)]
        assert 10 < versions.count(NEW) < 30
        assert versions == [await ask(observed, value) for value in range(40)]
        assert await ask(observed, versions.index(NEW), model=f"a:{OLD}") == OLD
        assert await ask(observed, versions.index(NEW), model="a@champion") == OLD


async def test_a_canary_by_header_takes_whole_callers_and_none_without_it() -> None:
    shelf = Shelf()
    async with running({"a": FakeInfer()}, load_version=shelf.load) as observed:
        await observed.models.load("a", NEW)
        promote(observed, OLD, canary=Canary(NEW, 0.5, header="user"))
        by_user = {user: {await ask(observed, value, user=str(user)) for value in range(3)} for user in range(20)}
        assert sorted(map(len, by_user.values())) == [1] * 20
        assert set.union(*by_user.values()) == {OLD, NEW}
        promote(observed, OLD, canary=Canary(NEW, 1.0, header="user"))
        assert await ask(observed) == OLD
        assert await ask(observed, user="anybody") == NEW


async def test_a_batch_is_answered_by_what_served_when_it_began() -> None:
    shelf = Shelf()
    async with running({"a": FakeInfer()}, load_version=shelf.load) as observed:
        await observed.models.load("a", NEW)
        with observed.classifier.hold_models() as models:
            promote(observed, NEW)
            unload = asyncio.create_task(observed.models.unload("a", OLD))
            await asyncio.sleep(0)
            for model in (None, f"a:{OLD}"):
                with observed.open(models=models, model=model, continues_request=True) as pending:
                    assert (await pending.classify(encode_image())).receipt.model_version == OLD
        await unload


async def test_a_version_with_other_labels_is_no_canary() -> None:
    shelf = Shelf(labels=("other", "labels"))
    async with running({"a": FakeInfer()}, load_version=shelf.load) as observed:
        await observed.models.load("a", NEW)
        with pytest.raises(InvalidParameterError, match="other labels"):
            promote(observed, OLD, canary=Canary(NEW, 0.5))
        assert await ask(observed) == OLD


@pytest.mark.parametrize(("slower", "expected"), [(1.5, 1.0), (0.7, 1.0), (4.0, 4.0)])
async def test_a_version_about_as_fast_as_the_champion_gets_its_costs(slower: float, expected: float) -> None:
    """Else the error of each comparison would multiply with those of all changes before."""
    shelf, clock = Shelf(), fake_clock()
    old = FakeInfer(on_call=lambda size: clock.advance_ms(20 * size))
    new = FakeInfer(1, on_call=lambda size: clock.advance_ms(20 * slower * size))
    shelf.warm = make_warm(shelf.warm.card, new)
    async with running({"a": old}, load_version=shelf.load) as observed:
        await observed.models.load("a", NEW)
        champion_ms, new_ms = (
            model.costs[EngineMode.THROUGHPUT].describe()[0].measured_ms for model in observed.models.loaded
        )
    assert new_ms == pytest.approx(expected * champion_ms)
