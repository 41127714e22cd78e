import numpy as np
import pytest
from PIL import ImageOps

from bento_service.images.preprocessing import preprocess
from tests.unit.images.encodings import (
    LIMITS,
    RECIPE,
    decode_with_pillow,
    encode,
    exif_with_orientation,
    load_photograph,
    read,
)
from tests.unit.images.timm_reference import assert_as_timm, transform_with_timm

FORMATS = ("JPEG", "PNG", "WEBP", "TIFF")


@pytest.mark.parametrize("image_format", FORMATS)
@pytest.mark.parametrize("orientation", range(2, 9))
def test_each_orientation_is_applied_as_by_pillow(image_format: str, orientation: int) -> None:
    encoded = encode(load_photograph(), image_format, exif=exif_with_orientation(orientation))
    prepared = read(encoded)
    upright = ImageOps.exif_transpose(decode_with_pillow(encoded))
    assert_as_timm(prepared.pixels_hwc, upright, RECIPE)
    assert prepared.warnings == ("exif_orientation_applied",)
    assert (prepared.info.width_px, prepared.info.height_px) == upright.size


@pytest.mark.parametrize("orientation", [0, 1, 9, 65_535])
@pytest.mark.parametrize("image_format", FORMATS)
def test_an_upright_or_invalid_orientation_changes_nothing(image_format: str, orientation: int) -> None:
    encoded = encode(load_photograph(), image_format, exif=exif_with_orientation(orientation))
    prepared = read(encoded)
    assert_as_timm(prepared.pixels_hwc, decode_with_pillow(encoded), RECIPE)
    assert prepared.warnings == ()


def test_an_orientation_in_xmp_counts_where_exif_has_none() -> None:
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf tiff:Orientation="3"/></x:xmpmeta>'
    assert read(encode(load_photograph(), "JPEG", xmp=xmp)).warnings == ("exif_orientation_applied",)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_jpeg_scaled_while_decoding_is_turned_too(orientation: int) -> None:
    stored = load_photograph().resize((2706, 1800))
    exif = exif_with_orientation(orientation)
    upright = ImageOps.exif_transpose(decode_with_pillow(encode(stored, "PNG", exif=exif)))
    encoded = encode(stored, "JPEG", quality=95, exif=exif)
    prepared = preprocess(encoded, RECIPE, LIMITS, min_oversampling=3)
    difference = np.abs(prepared.pixels_hwc.astype(int) - transform_with_timm(upright.convert("RGB"), RECIPE))
    assert "scaled_decoding" in prepared.warnings
    assert difference.mean() < 1.5
    assert (prepared.info.width_px, prepared.info.height_px) == upright.size
