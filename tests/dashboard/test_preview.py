import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from dashboard import preview
from dashboard.preview import ModelInput
from tests.dashboard.conftest import encode

SQUARE = ModelInput(224, 224, 0.875)
SIDES = st.integers(min_value=1, max_value=5_000)


def draw(
    image: Image.Image,
    original_px: tuple[int, int] | None = None,
    model_input: ModelInput = SQUARE,
) -> preview.Views:
    size = original_px or image.size
    return preview.draw_views(encode(image, "PNG"), model_input, original_px=size)


def test_the_crop_of_a_landscape_is_its_middle() -> None:
    assert preview.crop_box(512, 256, SQUARE) == pytest.approx((144, 16, 368, 240))
    assert preview.crop_box(512, 256, ModelInput(64, 64, 1.0)) == pytest.approx((128, 0, 384, 256))
    assert preview.crop_box(512, 256, ModelInput(192, 48, 1.0)) == pytest.approx((0, 64, 512, 192))


@given(SIDES, SIDES)
def test_the_crop_never_leaves_the_image(width: int, height: int) -> None:
    left, top, right, bottom = preview.crop_box(width, height, SQUARE)
    assert 0 <= left < right <= width
    assert 0 <= top < bottom <= height


def test_the_views_are_drawn_over_the_picture_that_the_service_gave() -> None:
    views = draw(Image.new("RGB", (640, 480), (10, 200, 30)), (4032, 3024))
    assert views.model_input is not None
    assert Image.open(io.BytesIO(views.model_input)).getpixel((112, 112)) == (10, 200, 30)
    assert Image.open(io.BytesIO(views.overview)).getpixel((293, 220)) == (10, 200, 30)


def test_of_a_very_long_image_the_model_saw_more_than_its_preview_has() -> None:
    assert draw(Image.new("RGB", (640, 32)), (20_000, 1000)).model_input is None
    assert draw(Image.new("RGB", (640, 32))).model_input is not None


@pytest.mark.parametrize("fit", ["squash", "letterbox"])
def test_of_a_squashed_or_letterboxed_image_nothing_is_shaded(fit: str) -> None:
    views = draw(Image.new("RGB", (640, 480), (10, 200, 30)), model_input=ModelInput(64, 64, fit=fit))

    overview = Image.open(io.BytesIO(views.overview))
    assert {overview.getpixel(corner) for corner in ((0, 0), (320, 220), (2, 437))} == {(10, 200, 30)}


def test_a_letterboxed_input_is_drawn_with_its_border_in_grey_and_large_enough_to_see() -> None:
    digits = ModelInput(28, 28, fit="letterbox", is_grey=True, pad_value=128, interpolation="box")
    views = draw(Image.new("RGB", (200, 100), "white"), model_input=digits)

    assert views.model_input is not None
    seen = Image.open(io.BytesIO(views.model_input))
    assert (seen.mode, seen.size) == ("L", (112, 112))
    assert [seen.getpixel((56, y * 4)) for y in (0, 6, 7, 20, 21, 27)] == [128, 128, 255, 255, 128, 128]


def test_the_input_of_a_model_that_is_not_antialiased_is_drawn_from_single_pixels() -> None:
    stripes = Image.new("RGB", (896, 896), "black")
    stripes.paste("white", (448, 0, 896, 896))
    for column in range(0, 448, 4):
        stripes.paste("white", (column, 0, column + 1, 896))
    drawn = draw(stripes, model_input=ModelInput(224, 224, 1.0, interpolation="bilinear", is_antialiased=False))

    assert drawn.model_input is not None
    seen = Image.open(io.BytesIO(drawn.model_input))
    assert [seen.getpixel((x, 112)) for x in (0, 50, 111, 112, 223)] == [(0,) * 3] * 3 + [(255,) * 3] * 2
