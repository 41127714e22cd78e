import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from bento_service.domain.requests import Preview
from bento_service.errors import TooManyPixelsError, UnsupportedFormatError
from bento_service.images.preprocessing import ImageLimits, draw_preview, preprocess
from tests.unit.images.encodings import (
    LIMITS,
    RECIPE,
    convert,
    encode,
    encode_every_kind,
    exif_with_orientation,
    load_photograph,
)


def picture_of(preview: Preview) -> Image.Image:
    with Image.open(io.BytesIO(preview.png), formats=["PNG"]) as image:
        image.load()
    return image


@pytest.mark.parametrize("kind", encode_every_kind())
def test_a_preview_of_every_kind_has_the_pixels_that_a_model_gets(kind: str) -> None:
    encoded = encode_every_kind()[kind]
    preview = draw_preview(encoded, LIMITS)
    recipe = replace(RECIPE, width_px=preview.info.width_px, height_px=preview.info.height_px, crop_fraction=1.0)
    prepared = preprocess(encoded, recipe, LIMITS)
    np.testing.assert_array_equal(np.asarray(picture_of(preview)), prepared.pixels_hwc)
    assert (preview.info, preview.warnings) == (prepared.info, prepared.warnings)


def test_a_tiff_whose_white_is_zero_is_not_shown_as_a_negative() -> None:
    deep = convert(load_photograph(), "I;16")
    encoded = encode(deep, "TIFF", tiffinfo={262: 0})
    shown = np.asarray(picture_of(draw_preview(encoded, LIMITS)))[:, :, 0].astype(int)
    assert np.abs(shown - (255 - np.asarray(load_photograph().convert("L")))).mean() < 1


def test_a_small_image_is_shown_as_it_is_and_a_large_one_scaled_down() -> None:
    photograph = load_photograph()
    small = draw_preview(encode(photograph, "PNG"), LIMITS)
    assert picture_of(small).tobytes() == photograph.tobytes()
    large = draw_preview(encode(photograph.resize((2255, 1500)), "JPEG", exif=exif_with_orientation(6)), LIMITS)
    assert picture_of(large).size == (426, 640)
    assert (large.info.format, large.info.width_px, large.info.height_px) == ("JPEG", 1500, 2255)
    assert large.warnings == ("exif_orientation_applied",)


def test_a_preview_of_a_very_long_image_is_at_least_one_pixel_high() -> None:
    assert picture_of(draw_preview(encode(Image.new("RGB", (5000, 1)), "PNG"), LIMITS)).size == (640, 1)


def test_what_is_refused_as_an_image_has_no_preview() -> None:
    with pytest.raises(UnsupportedFormatError):
        draw_preview(b"hello", LIMITS)
    with pytest.raises(TooManyPixelsError):
        draw_preview(encode(load_photograph(), "PNG"), ImageLimits(LIMITS.max_bytes, 1000))
