import asyncio
import shutil
import threading
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

import pytest
from prometheus_client import CollectorRegistry

from bento_service.bootstrap import open_pipeline
from bento_service.domain.models import StoredModel
from bento_service.domain.registry import CHAMPION, Deployment
from bento_service.errors import ModelLoadError
from bento_service.loading.begun_load import BegunLoad
from bento_service.loading.model_loader import ModelLoader
from bento_service.models.store import BentoModelStore
from bento_service.observability.metrics import Metrics
from bento_service.pipeline.wiring import Pipeline
from bento_service.settings import Settings

pytestmark = pytest.mark.anyio

NAME, SECOND = "efficientnet_lite0", "5ec0d5ec0d00"
SAMPLE = Path(__file__).parents[3] / "dashboard" / "samples" / "chelsea.png"


def store_second(folder: Path, original: StoredModel) -> None:
    """Store a second version of a model, with the same files."""

    def write_model(onnx_path: Path, program_path: Path) -> None:
        shutil.copy(original.onnx_path, onnx_path)

    card = replace(original.card, version=SECOND)
    BentoModelStore(folder).save(card, write_model=write_model, measure=lambda path: original.parities)


@pytest.fixture
def settings(tmp_path: Path, bentoml_home: Path) -> Settings:
    original = BentoModelStore().load(NAME)
    store_second(tmp_path / "store", original)
    return Settings(
        data_dir=tmp_path / "data",
        model_store=tmp_path / "store",
        engine="openvino",
        device="cpu",
        models=(original.card.key,),
        workers=2,
        lanes=2,
    )


async def test_a_load_that_would_not_fit_is_refused_with_the_figures(settings: Settings) -> None:
    loader = ModelLoader(settings, read_available=lambda: 150_000_000)
    needs = r"needs 111 MB \(estimated as 6 times its file\) in each of 2 workers"
    with pytest.raises(ModelLoadError, match=needs) as refused:
        await loader.load_beside(NAME, SECOND, (), 0)
    assert "150 MB are available" in refused.value.message
    assert refused.value.details["available_bytes"] == 150_000_000


async def test_a_worker_that_loads_what_the_others_have_asks_for_its_own_memory_only(settings: Settings) -> None:
    loader = ModelLoader(settings, read_available=lambda: 100_000_000)
    with pytest.raises(ModelLoadError, match=r"times its file\), and 100 MB are available"):
        await loader.load_beside(NAME, SECOND, (), 1)


async def test_a_load_that_hangs_is_given_up(settings: Settings) -> None:
    may_end = threading.Event()

    def hang(*arguments: object) -> NoReturn:
        may_end.wait()
        raise ModelLoadError("too late")

    loader = ModelLoader(settings, hang, load_timeout_s=0.05)
    with pytest.raises(ModelLoadError, match=rf"{SECOND} was not loaded within 0\.05 s"):
        await loader.load_beside(NAME, SECOND, (), 0)
    may_end.set()


async def test_a_begun_load_that_fails_says_why_when_it_is_waited_for(settings: Settings) -> None:
    begun = BegunLoad(ModelLoader(settings), [f"{NAME}:beef"])
    with pytest.raises(ModelLoadError, match="beef"):
        await begun.wait()


async def test_a_begun_load_ends_quietly_where_nobody_waits_any_more(settings: Settings) -> None:
    may_end, failures = threading.Event(), list[BaseException | None]()

    def hang(*arguments: object) -> NoReturn:
        may_end.wait()
        raise ModelLoadError("too late")

    begun = BegunLoad(ModelLoader(settings, hang), settings.models)
    [thread] = [one for one in threading.enumerate() if one.name == "lightbox-load"]
    waiting = asyncio.create_task(begun.wait())
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait([waiting])
    hook, threading.excepthook = threading.excepthook, lambda failed: failures.append(failed.exc_value)
    try:
        may_end.set()
        await asyncio.to_thread(thread.join)
    finally:
        threading.excepthook = hook
    assert failures == []


async def test_one_version_named_twice_is_loaded_once(settings: Settings) -> None:
    version = settings.models[0].partition(":")[2]
    loader = ModelLoader(settings.model_copy(update={"workers": 1}))
    first = loader.load_first((f"{NAME}:{version[:4]}", f"{NAME}:{version}"))
    for model in first.models:
        model.engine.close()
    assert [model.card.version for model in first.models] == [version]


async def test_a_version_is_loaded_beside_and_answers_as_the_first_one_does(settings: Settings) -> None:
    async with open_pipeline(settings, Metrics(CollectorRegistry())) as pipeline:
        [first] = pipeline.classifier.models()
        before = await classify(pipeline)
        await pipeline.models.load(NAME, SECOND)
        pipeline.models.set_deployment(Deployment(NAME, (SECOND,), {CHAMPION: SECOND}))
        await pipeline.models.unload(NAME, first.card.version)
        after = await classify(pipeline)
        status = pipeline.status()

    assert (before[0], after[0]) == (first.card.version, SECOND)
    assert before[1] == after[1]
    assert set(status.engines) == set(status.batch_ceiling) == {NAME}


async def classify(pipeline: Pipeline) -> tuple[str, tuple[object, ...]]:
    image = pipeline.classifier.open(
        request_id="r", model=None, top_k=3, deadline_ms=None, started_s=asyncio.get_running_loop().time()
    )
    with image:
        answer = await image.classify(SAMPLE.read_bytes())
    return answer.receipt.model_version, answer.predictions
