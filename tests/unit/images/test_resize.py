import math
import tracemalloc
from dataclasses import replace
from typing import get_args

import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from PIL import Image

from bento_service.domain.models import Fit, InputRecipe, Interpolation
from bento_service.images.colour import to_grey
from bento_service.images.geometry import BY_EXIF, UPRIGHT, Orientation, plan_geometry
from bento_service.images.resize import RGBX_MODE, resize_and_crop
from tests.unit.images.encodings import RECIPE, load_photograph
from tests.unit.images.timm_reference import assert_as_timm, transform_with_timm

RECTANGULAR = replace(RECIPE, height_px=160, width_px=224)
TIGHT = replace(RECIPE, height_px=240, width_px=240, crop_fraction=1.0, interpolation="bilinear")
WIDER_THAN_ITS_RESIZE = replace(RECIPE, crop_fraction=1.25)
SQUASHED = replace(RECTANGULAR, fit="squash", interpolation="lanczos")
LETTERBOXED = replace(RECTANGULAR, fit="letterbox", interpolation="bilinear", pad_value=114)

recipes = st.builds(
    replace,
    st.just(RECIPE),
    height_px=st.integers(8, 96),
    width_px=st.integers(8, 96),
    crop_fraction=st.sampled_from([0.875, 0.9, 0.95, 1.0, 1.3]),
    interpolation=st.sampled_from(get_args(Interpolation)),
    fit=st.sampled_from(get_args(Fit)),
    pad_value=st.sampled_from([0, 114, 255]),
).map(lambda recipe: recipe if recipe.fit == "letterbox" else replace(recipe, pad_value=0))
grey_recipes = recipes.map(lambda recipe: replace(recipe, channels="grey"))


def resize(image: Image.Image, recipe: InputRecipe, turn: Orientation = UPRIGHT) -> np.ndarray:
    geometry = plan_geometry(*turn.turn_size(image.size), recipe)
    return resize_and_crop(
        image, geometry, recipe.interpolation, turn, channel_count=recipe.channel_count, fill=recipe.pad_value
    )


def has_pixels(size: tuple[int, int], recipe: InputRecipe) -> bool:
    """Whether each side of the resized image rounds to a pixel or more, without which timm fails."""
    ratio = max(size[0] / recipe.width_px, size[1] / recipe.height_px)
    return recipe.fit != "letterbox" or min(size) / ratio > 0.5


@pytest.mark.parametrize("recipe", [RECIPE, RECTANGULAR, TIGHT, WIDER_THAN_ITS_RESIZE, SQUASHED, LETTERBOXED])
@pytest.mark.parametrize(
    "photograph", ["astronaut.png", "chelsea.png", "coffee.png", "motorcycle_left.png", "rocket.jpg"]
)
def test_a_photograph_is_resized_as_by_timm(photograph: str, recipe: InputRecipe) -> None:
    image = load_photograph(photograph)
    for turned in (image, image.transpose(Image.Transpose.ROTATE_90)):
        assert_as_timm(resize(turned, recipe), turned, recipe)


@settings(max_examples=150)
@given(width_px=st.integers(1, 300), height_px=st.integers(1, 300), recipe=recipes)
@example(1, 1, RECTANGULAR)
@example(3, 90, WIDER_THAN_ITS_RESIZE)
@example(256, 256, RECIPE)
@example(240, 240, TIGHT)
def test_any_size_is_resized_as_by_timm_for_any_recipe(width_px: int, height_px: int, recipe: InputRecipe) -> None:
    assume(has_pixels((width_px, height_px), recipe))
    image = load_photograph().crop((20, 0, 20 + width_px, height_px))
    assert_as_timm(resize(image, recipe), image, recipe)


@settings(max_examples=50)
@given(width_px=st.integers(1, 300), height_px=st.integers(1, 300), recipe=grey_recipes)
def test_a_grey_models_input_is_resized_in_one_channel_as_by_timm(
    width_px: int, height_px: int, recipe: InputRecipe
) -> None:
    assume(has_pixels((width_px, height_px), recipe))
    image = load_photograph().crop((20, 0, 20 + width_px, height_px))
    assert_as_timm(resize(to_grey(image), recipe), image, recipe)


def test_a_letterbox_pads_in_the_middle_and_keeps_a_line_of_a_sliver() -> None:
    wide = resize(Image.new("RGB", (100, 51), "white"), replace(LETTERBOXED, width_px=20, height_px=21))
    sliver = resize(Image.new("RGB", (3000, 1), "white"), replace(LETTERBOXED, width_px=20, height_px=20))

    assert [int(row[0, 0]) for row in wide] == [114] * 5 + [255] * 10 + [114] * 6
    assert [int(row[0, 0]) for row in sliver] == [114] * 9 + [255] + [114] * 10


@settings(max_examples=50)
@given(width_px=st.integers(1, 300), height_px=st.integers(1, 300), recipe=recipes)
def test_grey_is_resized_alike_in_one_channel_and_in_three(width_px: int, height_px: int, recipe: InputRecipe) -> None:
    grey = load_photograph().convert("L").crop((20, 0, 20 + width_px, height_px))
    assert (resize(grey, recipe) == resize(grey.convert("RGB"), recipe)).all()


@settings(max_examples=25)
@given(
    height_px=st.integers(700, 2500),
    aspect=st.floats(0.25, 4),
    recipe=st.sampled_from([RECIPE, RECTANGULAR, TIGHT, SQUASHED, LETTERBOXED]),
)
def test_a_large_image_is_resized_as_by_timm(height_px: int, aspect: float, recipe: InputRecipe) -> None:
    image = load_photograph().resize((math.ceil(height_px * aspect), height_px))
    assert_as_timm(resize(image, recipe), image, recipe)


@settings(max_examples=60)
@given(
    width_px=st.integers(1, 400),
    height_px=st.integers(1, 400),
    recipe=recipes,
    orientation=st.sampled_from(range(1, 9)),
)
def test_turning_after_the_resize_equals_turning_before_it(
    width_px: int, height_px: int, recipe: InputRecipe, orientation: int
) -> None:
    stored = load_photograph().resize((width_px, height_px))
    turn = BY_EXIF[orientation]
    upright = Image.fromarray(np.ascontiguousarray(turn.turn(np.asarray(stored))))
    assume(has_pixels(upright.size, recipe))
    assert_as_timm(resize(stored, recipe, turn), upright, recipe)


@settings(max_examples=50)
@given(width_px=st.integers(1, 451), height_px=st.integers(1, 300), recipe=recipes)
def test_a_fourth_byte_a_pixel_changes_nothing(width_px: int, height_px: int, recipe: InputRecipe) -> None:
    image = load_photograph().crop((0, 0, width_px, height_px))
    padded = np.dstack([np.asarray(image), np.full((height_px, width_px), 7, np.uint8)])
    four = Image.frombuffer(RGBX_MODE, image.size, padded, "raw", RGBX_MODE, 0, 1)
    assert (resize(four, recipe) == resize(image, recipe)).all()
    grey = replace(recipe, channels="grey")
    assert (resize(to_grey(four), grey) == resize(image.convert("L"), grey)).all()


@pytest.mark.parametrize("size", [(3, 2000), (2000, 3), (240, 9503), (9503, 240)])
@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_a_very_long_image_is_enlarged_nearly_as_by_timm(
    size: tuple[int, int], orientation: int, interpolation: Interpolation
) -> None:
    recipe, turn = replace(RECIPE, interpolation=interpolation), BY_EXIF[orientation]
    stored = np.random.default_rng(3).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    upright = Image.fromarray(np.ascontiguousarray(turn.turn(stored)))
    pixels = resize_and_crop(Image.fromarray(stored), plan_geometry(*upright.size, recipe), interpolation, turn)

    difference = np.abs(pixels.astype(int) - transform_with_timm(upright, recipe))
    assert difference.max() <= 1
    assert difference.mean() < 0.001


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_very_long_image_is_turned_without_a_full_copy(orientation: int) -> None:
    turn = BY_EXIF[orientation]
    stored = Image.new("RGB", (255, 40_000))
    upright = stored.size[::-1] if turn.is_transposed else stored.size

    tracemalloc.start()
    resize_and_crop(stored, plan_geometry(*upright, RECIPE), "bicubic", turn)
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert peak_bytes < 3_000_000  # the whole takes ten times as much


@pytest.mark.parametrize("size", [(1, 65_500), (65_500, 1), (1, 50_000_000)])
@pytest.mark.parametrize("recipe", [RECIPE, RECTANGULAR, WIDER_THAN_ITS_RESIZE])
def test_an_image_one_pixel_wide_is_not_enlarged_in_full(size: tuple[int, int], recipe: InputRecipe) -> None:
    pixels = resize(Image.new("RGB", size, (10, 20, 30)), recipe)
    assert pixels.shape == (recipe.height_px, recipe.width_px, 3)
    assert tuple(pixels[recipe.height_px // 2, recipe.width_px // 2]) == (10, 20, 30)


def test_the_crop_beyond_the_image_is_black() -> None:
    pixels = resize(Image.new("RGB", (100, 100), "white"), WIDER_THAN_ITS_RESIZE)
    assert pixels.flags.c_contiguous
    assert pixels.flags.writeable
    assert (pixels[0] == 0).all()
    assert (pixels[112, 112] == 255).all()
