import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from dashboard import preview
from tests.dashboard.conftest import encode

SIDES = st.integers(min_value=1, max_value=5_000)


def model_input(encoded: bytes) -> Image.Image:
    views = preview.draw_views(encoded, width_px=224, height_px=224, crop_fraction=0.875)
    assert views is not None
    return Image.open(io.BytesIO(views.model_input))


def test_the_crop_of_a_landscape_is_its_middle() -> None:
    box = preview.crop_box(512, 256, width_px=224, height_px=224, crop_fraction=0.875)
    assert box == pytest.approx((144, 16, 368, 240))


@given(SIDES, SIDES)
def test_the_crop_never_leaves_the_image(width: int, height: int) -> None:
    left, top, right, bottom = preview.crop_box(width, height, width_px=224, height_px=224, crop_fraction=0.875)
    assert 0 <= left < right <= width
    assert 0 <= top < bottom <= height


def test_transparent_places_are_white() -> None:
    seen = model_input(encode(Image.new("RGBA", (300, 300), (255, 0, 0, 0)), "PNG"))
    assert seen.getpixel((112, 112)) == (255, 255, 255)


def test_a_turned_photograph_is_shown_upright(turned_photograph: bytes) -> None:
    views = preview.draw_views(turned_photograph, width_px=224, height_px=224, crop_fraction=0.875)
    assert views is not None
    overview = Image.open(io.BytesIO(views.overview))
    assert overview.height > overview.width


def test_sixteen_bits_are_scaled_and_not_clipped() -> None:
    grey = Image.fromarray(np.full((256, 256), 0x8000, dtype=np.uint16))
    assert model_input(encode(grey, "PNG")).getpixel((112, 112)) == (128, 128, 128)


@pytest.mark.parametrize("encoded", [b"", b"no image", b"\xff\xd8\xff\xe0 truncated"])
def test_bytes_that_pillow_cannot_read_have_no_preview(encoded: bytes) -> None:
    assert preview.draw_views(encoded, width_px=224, height_px=224, crop_fraction=0.875) is None


def test_an_image_with_too_many_pixels_is_not_decoded() -> None:
    huge = encode(Image.new("1", (10_000, 6_000)), "PNG")
    assert preview.draw_views(huge, width_px=224, height_px=224, crop_fraction=0.875) is None
