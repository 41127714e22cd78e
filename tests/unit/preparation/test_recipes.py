import math

import pytest
import timm
from hypothesis import given
from hypothesis import strategies as st
from timm.models import PretrainedCfg
from torchvision.transforms import InterpolationMode
from torchvision.transforms._presets import ImageClassification, SemanticSegmentation

from bento_service.domain.models import InputRecipe
from bento_service.errors import ModelLoadError
from bento_service.preparation.sources.recipes import crop_fraction, recipe_of_timm, recipe_of_torchvision


@given(crop_px=st.integers(1, 1024), margin_px=st.integers(0, 1024))
def test_the_crop_fraction_gives_the_resize_exactly(crop_px: int, margin_px: int) -> None:
    resize_px = crop_px + margin_px

    assert math.floor(crop_px / crop_fraction(crop_px, resize_px)) == resize_px


def test_the_lite_models_are_scaled_to_plus_minus_one() -> None:
    cfg = timm.get_pretrained_cfg("tf_efficientnet_lite0")
    assert cfg is not None

    recipe = recipe_of_timm("efficientnet_lite0", cfg)

    assert recipe == InputRecipe(224, 224, 0.875, "bicubic", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


def test_timms_crop_modes_and_grey_models_become_recipes() -> None:
    squash = PretrainedCfg(crop_mode="squash", crop_pct=1.0, interpolation="lanczos")
    border = PretrainedCfg(crop_mode="border", crop_pct=1.0, input_size=(1, 32, 64), mean=(0.5,), std=(0.25,))

    assert (recipe_of_timm("timm/wide", squash).fit, recipe_of_timm("timm/wide", squash).interpolation) == (
        "squash",
        "lanczos",
    )
    assert recipe_of_timm("timm/digits", border) == InputRecipe(
        32, 64, 1.0, "bicubic", (0.5,), (0.25,), fit="letterbox", channels="grey", pad_value=128
    )


def test_a_torchvision_preset_becomes_a_recipe() -> None:
    recipe = recipe_of_torchvision("torchvision/resnet50", ImageClassification(crop_size=224, resize_size=232))

    assert (recipe.height_px, recipe.width_px, recipe.interpolation) == (224, 224, "bilinear")
    assert math.floor(224 / recipe.crop_fraction) == 232
    assert recipe.mean == (0.485, 0.456, 0.406)


@pytest.mark.parametrize(
    ("cfg", "what"),
    [
        (PretrainedCfg(crop_mode="random"), "crop mode"),
        (PretrainedCfg(crop_mode="squash", crop_pct=0.9), "crop fraction"),
        (PretrainedCfg(crop_mode="border", crop_pct=1.0), "border's colour"),
        (PretrainedCfg(interpolation="hamming"), "interpolation"),
        (PretrainedCfg(input_size=(4, 224, 224)), "number of channels"),
        (PretrainedCfg(input_size=(1, 224, 224)), "normalisation"),
    ],
)
def test_a_timm_model_of_another_recipe_is_refused(cfg: PretrainedCfg, what: str) -> None:
    with pytest.raises(ModelLoadError, match=f"'timm/odd' cannot be served: its {what}"):
        recipe_of_timm("timm/odd", cfg)


def test_a_torchvision_model_of_another_recipe_is_refused() -> None:
    hamming = ImageClassification(crop_size=224, interpolation=InterpolationMode.HAMMING)
    for transform in (hamming, SemanticSegmentation(resize_size=224)):
        with pytest.raises(ModelLoadError, match="'torchvision/odd' cannot be served"):
            recipe_of_torchvision("torchvision/odd", transform)
