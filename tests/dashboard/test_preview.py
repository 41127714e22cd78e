import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from dashboard import preview
from tests.dashboard.conftest import encode

SIDES = st.integers(min_value=1, max_value=5_000)


def draw(image: Image.Image, original_px: tuple[int, int] | None = None) -> preview.Views:
    size = original_px or image.size
    png = encode(image, "PNG")
    return preview.draw_views(png, original_px=size, width_px=224, height_px=224, crop_fraction=0.875)


def test_the_crop_of_a_landscape_is_its_middle() -> None:
    box = preview.crop_box(512, 256, width_px=224, height_px=224, crop_fraction=0.875)
    assert box == pytest.approx((144, 16, 368, 240))


@given(SIDES, SIDES)
def test_the_crop_never_leaves_the_image(width: int, height: int) -> None:
    left, top, right, bottom = preview.crop_box(width, height, width_px=224, height_px=224, crop_fraction=0.875)
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
