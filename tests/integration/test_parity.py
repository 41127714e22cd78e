"""The parity gate: encoded photographs through intake and engine, against timm's own transform and f32 PyTorch."""

import io
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from numpy.typing import NDArray
from PIL import Image

from bench.large_photographs import make_large_jpegs
from bento_service.engines.factory import EngineKind, create_engine
from bento_service.models.bundled import BundledSource
from bento_service.models.catalogue import Catalogue
from bento_service.models.names import BUNDLED_NAMES
from bento_service.models.parity import compare
from bento_service.parity_gate import CROPS, classify_as_reference, classify_as_served, make_crops


@pytest.fixture(scope="module")
def crops(photographs: tuple[Path, ...]) -> list[bytes]:
    return list(make_crops(photographs, CROPS, seed=1))


@pytest.fixture(scope="module", params=BUNDLED_NAMES)
def model_name(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture(scope="module")
def timms_answers(model_name: str, crops: list[bytes]) -> NDArray[np.float32]:
    """What timm answers, asked in no way that Lightbox has a part in but for the weights."""
    module = BundledSource().load(model_name).module
    transform = timm.data.create_transform(**timm.data.resolve_model_data_config(module), is_training=False)
    images = (transform(Image.open(io.BytesIO(crop)).convert("RGB")) for crop in crops)
    with torch.inference_mode():
        return np.concatenate([module(image[None]).softmax(dim=1).numpy() for image in images])


@pytest.mark.parametrize("kind", ["openvino", "torch"])
def test_a_bundled_model_answers_as_timm_does(
    kind: EngineKind, model_name: str, crops: list[bytes], timms_answers: NDArray[np.float32], bentoml_home: Path
) -> None:
    stored = Catalogue().load(model_name)
    engine = create_engine(kind, "cpu", stored, lanes=1, threads=2)
    try:
        parity = compare(timms_answers, classify_as_served(engine, stored.card.recipe, crops))
    finally:
        engine.close()

    print(f"{model_name} on {kind}: {parity}")
    assert parity.crops >= 200
    assert parity.passes_gate, parity


def test_the_reference_of_the_cards_is_timms_own(
    model_name: str, crops: list[bytes], timms_answers: NDArray[np.float32]
) -> None:
    reference = classify_as_reference(BundledSource().load(model_name), crops[:20])

    np.testing.assert_allclose(reference, timms_answers[:20], atol=1e-5)


def test_large_jpegs_are_answered_as_timm_does(bentoml_home: Path) -> None:
    large = list(make_large_jpegs(48, seed=1))
    stored = Catalogue().load("efficientnet_lite0")
    reference = classify_as_reference(BundledSource().load("efficientnet_lite0"), large)
    engine = create_engine("openvino", "cpu", stored, lanes=1, threads=2)
    try:
        parity = compare(reference, classify_as_served(engine, stored.card.recipe, large))
    finally:
        engine.close()

    print(f"large JPEGs: {parity}")
    assert parity.passes_gate, parity
