from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from bento_service.domain.models import InputRecipe, ScoreKind
from bento_service.images.preprocessing import ImageLimits, preprocess
from bento_service.preparation.export import export, make_serving_graph
from bento_service.preparation.parity import classify_as_reference, measure_parity
from bento_service.preparation.sources.base import LoadedModel
from tests.unit.images.encodings import encode, load_photograph

LABELS = ("cat", "dog", "other")
COLOUR = InputRecipe(24, 32, 0.875, "bicubic", (0.4, 0.5, 0.6), (0.2, 0.25, 0.3))
GREY = InputRecipe(28, 28, 1.0, "box", (0.13,), (0.31,), fit="letterbox", channels="grey", pad_value=114)
CROPS = [encode(load_photograph().resize(size), "PNG") for size in ((90, 60), (60, 90), (40, 40))]


def load(recipe: InputRecipe, score_kind: ScoreKind = "softmax") -> LoadedModel:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(recipe.channel_count, 4, 3, stride=2), nn.ReLU(), nn.Flatten(), nn.LazyLinear(3))
    module(torch.zeros(1, recipe.channel_count, recipe.height_px, recipe.width_px))
    return LoadedModel(
        name="small",
        labels=LABELS,
        recipe=recipe,
        source="here",
        licence="none",
        score_kind=score_kind,
        module=module.eval(),
    )


@pytest.mark.parametrize("score_kind", ["softmax", "independent"])
@pytest.mark.parametrize(
    "recipe",
    [
        COLOUR,
        replace(COLOUR, channels="bgr"),
        replace(COLOUR, fit="squash", interpolation="nearest"),
        replace(COLOUR, fit="letterbox", pad_value=128),
        replace(COLOUR, channels="bgr", is_antialiased=False),
        GREY,
    ],
)
def test_the_serving_graph_does_to_pixels_what_timms_transform_does(recipe: InputRecipe, score_kind: ScoreKind) -> None:
    model = load(recipe, score_kind)
    limits = ImageLimits(max_bytes=1_000_000, max_pixels=1_000_000)
    pixels = [torch.from_numpy(preprocess(crop, recipe, limits).pixels_hwc) for crop in CROPS]

    with torch.no_grad():
        served = make_serving_graph(model.module, recipe, score_kind)(torch.stack(pixels))

    torch.testing.assert_close(served, torch.from_numpy(classify_as_reference(model, CROPS)), atol=0.002, rtol=0)


def test_a_grey_model_of_independent_scores_is_exported_and_passes_the_gate(tmp_path: Path) -> None:
    model = load(GREY, "independent")

    export(model, onnx_path=tmp_path / "model.onnx", program_path=tmp_path / "model.pt2")
    parities = measure_parity(model, tmp_path / "model.onnx", CROPS)

    assert "openvino" in parities
    assert all(parity.max_probability_difference < 1e-5 for parity in parities.values())
