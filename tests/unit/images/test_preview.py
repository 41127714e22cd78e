import io

import numpy as np
import pytest
from PIL import Image

from bento_service.domain.requests import Preview
from bento_service.errors import UnsupportedFormatError
from bento_service.images.preprocessing import draw_preview
from tests.unit.images.encodings import (
    LIMITS,
    convert,
    encode,
    encode_every_kind,
    exif_with_orientation,
    load_photograph,
    read,
    read_whole,
)


def picture_of(preview: Preview) -> Image.Image:
    with Image.open(io.BytesIO(preview.png), formats=["PNG"]) as image:
        image.load()
    return image


@pytest.mark.parametrize("kind", encode_every_kind())
def test_a_preview_of_every_kind_has_the_pixels_that_a_model_gets(kind: str) -> None:
    encoded = encode_every_kind()[kind]
    preview, prepared = draw_preview(encoded, LIMITS), read(encoded)
    assert picture_of(preview).tobytes() == read_whole(encoded).tobytes()
    assert (preview.info, preview.warnings) == (prepared.info, prepared.warnings)


def test_a_tiff_whose_white_is_zero_is_not_shown_as_a_negative() -> None:
    encoded = encode(convert(load_photograph(), "I;16"), "TIFF", tiffinfo={262: 0})
    shown = np.asarray(picture_of(draw_preview(encoded, LIMITS)))[:, :, 0].astype(int)
    assert np.abs(shown - (255 - np.asarray(load_photograph().convert("L")))).mean() < 1


@pytest.mark.parametrize(("size", "expected"), [((2255, 1500), (426, 640)), ((1, 5000), (640, 1))])
def test_a_large_image_is_shown_upright_and_scaled_down(size: tuple[int, int], expected: tuple[int, int]) -> None:
    large = draw_preview(encode(load_photograph().resize(size), "JPEG", exif=exif_with_orientation(6)), LIMITS)
    assert picture_of(large).size == expected
    assert (large.info.width_px, large.info.height_px) == size[::-1]
    assert large.warnings == ("exif_orientation_applied",)


def test_what_is_refused_as_an_image_has_no_preview() -> None:
    with pytest.raises(UnsupportedFormatError):
        draw_preview(b"hello", LIMITS)
