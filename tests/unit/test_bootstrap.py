import threading
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from bento_service.bootstrap import open_pipeline
from bento_service.errors import JournalUrlError, ModelLoadError
from bento_service.observability.metrics import Metrics
from bento_service.settings import Settings

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


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
        await open_pipeline(settings, Metrics(CollectorRegistry()))

    assert own_threads() == set()


async def test_models_that_load_side_by_side_stand_in_the_order_asked_for(tmp_path: Path, bentoml_home: Path) -> None:
    names = ("efficientnet_lite2", "efficientnet_lite0", "efficientnet_lite1")
    settings = Settings(data_dir=tmp_path, engine="openvino", device="cpu", models=names)

    lightbox = await open_pipeline(settings, Metrics(CollectorRegistry()))

    try:
        models = lightbox.classifier.models()
        assert tuple(model.card.name for model in models) == names
        assert [model.card.recipe.height_px for model in models] == [260, 224, 240]
        assert set(lightbox.status().batch_ceiling) == set(names)
    finally:
        await lightbox.close(drain_s=1)
    assert own_threads() == set()
