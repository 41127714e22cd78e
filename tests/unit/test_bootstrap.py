import asyncio
import threading
from pathlib import Path

import pytest
from httpx2 import ASGITransport, AsyncClient
from prometheus_client import CollectorRegistry

from bento_service.bootstrap import open_pipeline
from bento_service.cache.memory import MemoryStore
from bento_service.domain.models import StoredModel
from bento_service.engines.choice import Choice, EngineKind
from bento_service.engines.openvino_engine import OpenVINOEngine
from bento_service.errors import JournalUrlError, ModelLoadError
from bento_service.explain.explainer import Explainer
from bento_service.explain.heads import ClassHeads
from bento_service.http.app import create_app
from bento_service.http.requests.body import ByteBudget
from bento_service.http.state import AppState
from bento_service.journal.base import JournalCounts
from bento_service.models.store import BentoModelStore
from bento_service.observability.metrics import Metrics
from bento_service.scheduling.scheduler import Scheduler
from bento_service.settings import Settings
from tests.unit.journal.receipts import make_receipt

pytestmark = pytest.mark.anyio

SAMPLES = Path(__file__).parents[2] / "dashboard" / "samples"
CATS = {"tabby", "tiger cat", "Egyptian cat"}


def own_threads() -> set[str]:
    return {thread.name for thread in threading.enumerate() if thread.name.startswith(("journal", "lightbox"))}


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"models": ("efficientnet_lite0", "no_such_model")}, ModelLoadError),
        ({"models": ("efficientnet_lite0",), "journal_url": "mysql://db/lightbox"}, JournalUrlError),
    ],
    ids=["second model is missing", "journal is none"],
)
async def test_a_start_that_fails_leaves_nothing_open(
    changes: dict[str, object], error: type[Exception], tmp_path: Path, bentoml_home: Path
) -> None:
    settings = Settings.model_validate({"data_dir": tmp_path, "engine": "openvino", "device": "cpu"} | changes)

    with pytest.raises(error):
        async with open_pipeline(settings, Metrics(CollectorRegistry())):
            """It fails before this."""

    assert own_threads() == set()


async def test_models_are_served_in_the_order_of_the_settings(tmp_path: Path, bentoml_home: Path) -> None:
    names = ("efficientnet_lite2", "efficientnet_lite0", "efficientnet_lite1")
    settings = Settings(data_dir=tmp_path, engine="openvino", device="cpu", models=names)

    async with open_pipeline(settings, Metrics(CollectorRegistry())) as pipeline:
        models = pipeline.classifier.models()
        assert tuple(model.card.name for model in models) == names
        assert [model.card.recipe.height_px for model in models] == [260, 224, 240]
        assert set(pipeline.status().batch_ceiling) == set(names)
    assert own_threads() == set()


async def test_two_models_are_served_at_once_on_two_engines(tmp_path: Path, bentoml_home: Path) -> None:
    engines: dict[str, EngineKind] = {"efficientnet_lite0": "openvino", "efficientnet_lite1": "onnxruntime"}

    def choose(kind: object, device: object, model: StoredModel) -> Choice:
        return Choice(engines[model.card.name], "cpu")

    settings = Settings(data_dir=tmp_path, models=tuple(engines))
    image = (SAMPLES / "chelsea.png").read_bytes()
    async with open_pipeline(settings, Metrics(CollectorRegistry()), choose) as pipeline:
        explainer = Explainer(pipeline.classifier, ClassHeads(BentoModelStore()))
        budget = ByteBudget(settings.max_inflight_bytes)
        state = AppState(pipeline.classifier, pipeline.journal.reader, settings, budget, explainer)
        app = create_app(lambda: state, provide_status=pipeline.status)
        async with AsyncClient(transport=ASGITransport(app), base_url="http://service") as client:
            answers = await asyncio.gather(
                *[client.post(f"/v1/classify?model={name}", content=image) for name in engines for _ in range(4)]
            )
            cards = (await client.get("/v1/models")).json()["models"]
            status = (await client.get("/v1/status")).json()

    assert {answer.json()["model"]["name"] for answer in answers} == set(engines)
    assert {answer.json()["predictions"][0]["label"] for answer in answers} <= CATS
    assert {card["name"]: card["engine"] for card in cards} == engines
    assert {name: one["engine"] for name, one in status["engines"].items()} == engines
    assert {card["device"]["kind"] for card in cards} == {"cpu"}
    assert status["engine"] == "openvino"


def lite0(data_dir: Path, **changes: object) -> Settings:
    one = {"data_dir": data_dir, "engine": "openvino", "device": "cpu", "models": ("efficientnet_lite0",)}
    return Settings.model_validate(one | changes)


async def test_a_cache_that_fails_to_close_keeps_nothing_else_open(
    tmp_path: Path, bentoml_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(store: MemoryStore) -> None:
        raise OSError("the connection broke")

    monkeypatch.setattr(MemoryStore, "close", fail)
    with pytest.raises(OSError, match="the connection broke"):
        async with open_pipeline(lite0(tmp_path), Metrics(CollectorRegistry())):
            assert own_threads() != set()

    assert own_threads() == set()


async def test_a_lane_that_does_not_end_keeps_only_its_model_open(
    tmp_path: Path, bentoml_home: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    closed: list[str] = []
    monkeypatch.setattr(Scheduler, "has_ended", False)
    monkeypatch.setattr(OpenVINOEngine, "close", lambda engine: closed.append("engine"))
    async with open_pipeline(lite0(tmp_path), Metrics(CollectorRegistry())):
        """Nothing is asked."""

    assert closed == []
    assert "A lane is still at work" in caplog.text
    assert own_threads() == set()


async def test_receipts_of_the_last_requests_are_written(tmp_path: Path, bentoml_home: Path) -> None:
    async with open_pipeline(lite0(tmp_path), Metrics(CollectorRegistry())) as pipeline:
        pipeline.journal.record(make_receipt())

    assert pipeline.journal.counts() == JournalCounts(waiting=0, written=1, dropped=0)
