"""Images that are not antialiased, against recorded values of OpenCV and a plain formula."""

import tracemalloc
from dataclasses import replace
from typing import get_args

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

from bento_service.domain.models import Fit, InputRecipe, Interpolation
from bento_service.images.geometry import BY_EXIF, UPRIGHT, Axis, Geometry, Orientation, plan_geometry
from bento_service.images.resize import RGBX_MODE, resize_and_crop
from bento_service.preparation.opencv_reference import resize_by_formula
from tests.unit.images.encodings import RECIPE, load_photograph

OPENCV = replace(RECIPE, is_antialiased=False)
PATTERN = (np.arange(77).reshape(7, 11) * 37 % 256).astype(np.uint8)
RECORDED: dict[Interpolation, tuple[list[list[int]], list[list[int]]]] = {
    "nearest": (
        [[0, 74, 185, 40], [46, 120, 231, 86], [92, 166, 21, 132]],
        [[0, 0, 37, 37, 74], [0, 0, 37, 37, 74], [151, 151, 188, 188, 225], [151, 151, 188, 188, 225]],
    ),
    "bilinear": (
        [[133, 64, 134, 161], [229, 75, 177, 23], [91, 118, 188, 119]],
        [[0, 15, 37, 59, 74], [38, 52, 75, 97, 112], [113, 128, 150, 172, 187], [151, 166, 188, 210, 225]],
    ),
    "bicubic": (
        [[146, 31, 151, 177], [246, 74, 178, 6], [75, 101, 221, 106]],
        [[0, 0, 21, 46, 62], [31, 46, 71, 97, 112], [113, 129, 154, 179, 194], [163, 179, 204, 229, 244]],
    ),
    "lanczos": (
        [[153, 19, 164, 171], [246, 85, 167, 6], [81, 88, 233, 98]],
        [[0, 0, 20, 47, 59], [31, 43, 70, 96, 109], [116, 128, 155, 182, 194], [165, 178, 205, 231, 244]],
    ),
}
"""What cv2.resize of OpenCV 5.0 makes of `PATTERN` in 4 x 3 pixels, and of its first 3 x 2 in 5 x 4, without IPP."""

recipes = st.builds(
    replace,
    st.just(OPENCV),
    height_px=st.integers(8, 96),
    width_px=st.integers(8, 96),
    crop_fraction=st.sampled_from([0.875, 1.0, 1.3]),
    interpolation=st.sampled_from(sorted(RECORDED)),
    fit=st.sampled_from(get_args(Fit)),
    pad_value=st.sampled_from([0, 114]),
    channels=st.sampled_from(["rgb", "grey"]),
)


def resize(image: Image.Image, recipe: InputRecipe, turn: Orientation = UPRIGHT) -> np.ndarray:
    return resize_and_crop(
        image,
        plan_geometry(*turn.turn_size(image.size), recipe),
        recipe.interpolation,
        turn,
        channel_count=recipe.channel_count,
        fill=recipe.pad_value,
        is_antialiased=recipe.is_antialiased,
    )


@pytest.mark.parametrize("interpolation", RECORDED)
def test_values_are_those_of_opencv(interpolation: Interpolation) -> None:
    reduced, enlarged = RECORDED[interpolation]
    for pixels, expected in ((PATTERN, reduced), (PATTERN[:2, :3], enlarged)):
        geometry = Geometry(Axis(len(expected[0]), 0, len(expected[0])), Axis(len(expected), 0, len(expected)))
        resized = resize_and_crop(
            Image.fromarray(pixels), geometry, interpolation, channel_count=1, is_antialiased=False
        )
        assert resized[:, :, 0].tolist() == expected


@settings(max_examples=50)
@given(
    width_px=st.integers(1, 300),
    height_px=st.integers(1, 300),
    recipe=recipes,
    orientation=st.sampled_from(range(1, 9)),
)
@example(1, 1, OPENCV, 1)
@example(256, 256, OPENCV, 6)
def test_any_image_recipe_and_orientation_is_resized_as_by_the_formula(
    width_px: int, height_px: int, recipe: InputRecipe, orientation: int
) -> None:
    turn = BY_EXIF[orientation]
    stored = load_photograph().crop((20, 0, 20 + width_px, height_px))
    stored = stored.convert("L" if recipe.channels == "grey" else "RGB")
    upright = np.ascontiguousarray(turn.turn(np.asarray(stored)))
    across, down = plan_geometry(upright.shape[1], upright.shape[0], recipe)
    whole = resize_by_formula(upright, (across.resized_px, down.resized_px), recipe.interpolation)
    framed = Image.new(stored.mode, (across.crop_px, down.crop_px), (recipe.pad_value,) * recipe.channel_count)
    framed.paste(Image.fromarray(whole), (-across.start_px, -down.start_px))

    difference = np.abs(resize(stored, recipe, turn).astype(int) - np.asarray(framed).reshape(recipe.shape_hwc))

    assert difference.max() <= (0 if recipe.interpolation == "nearest" else 1)
    # OpenCV's bilinear rounds down twice on the way.
    assert difference.mean() < (0.4 if recipe.interpolation == "bilinear" or min(stored.size) < 64 else 0.02)


@settings(max_examples=25)
@given(width_px=st.integers(1, 90), height_px=st.integers(1, 90), interpolation=st.sampled_from(sorted(RECORDED)))
def test_a_fourth_byte_a_pixel_and_grey_in_three_channels_change_nothing(
    width_px: int, height_px: int, interpolation: Interpolation
) -> None:
    recipe = replace(OPENCV, interpolation=interpolation)
    image = load_photograph().crop((20, 0, 20 + width_px, height_px))
    padded = np.dstack([np.asarray(image), np.full((height_px, width_px), 7, np.uint8)])
    four = Image.frombuffer(RGBX_MODE, image.size, padded, "raw", RGBX_MODE, 0, 1)
    grey = image.convert("L")

    assert (resize(four, recipe) == resize(image, recipe)).all()
    assert (resize(grey, recipe) == resize(grey.convert("RGB"), recipe)).all()


@pytest.mark.parametrize("size", [(4000, 3000), (1, 1_000_000)])
@pytest.mark.parametrize("fit", ["crop", "squash"])
def test_a_large_image_is_not_copied(size: tuple[int, int], fit: Fit) -> None:
    image = Image.new("L" if min(size) == 1 else "RGB", size, "white")
    recipe = replace(OPENCV, interpolation="lanczos", fit=fit)

    tracemalloc.start()
    pixels = resize(image, recipe)
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert (pixels == 255).all()
    assert peak_bytes < 30_000_000  # a copy in floats takes 144 MB


def test_a_crop_is_placed_as_by_code_around_opencv() -> None:
    square = replace(OPENCV, height_px=224, width_px=224, crop_fraction=0.875)

    assert plan_geometry(500, 375, square) == Geometry(Axis(341, 58, 224), Axis(256, 16, 224))
    assert plan_geometry(500, 333, square) == Geometry(Axis(384, 80, 224), Axis(256, 16, 224))
    assert plan_geometry(333, 502, square) == Geometry(Axis(256, 16, 224), Axis(386, 81, 224))
    assert plan_geometry(333, 502, replace(square, is_antialiased=True)).down == Axis(385, 80, 224)
