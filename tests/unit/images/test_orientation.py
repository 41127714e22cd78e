import numpy as np
import pytest
from PIL import Image, ImageOps

from bento_service.images.preprocessing import preprocess
from tests.unit.images.encodings import (
    LIMITS,
    RECIPE,
    decode_with_pillow,
    encode,
    exif_with_orientation,
    load_photograph,
)
from tests.unit.images.timm_reference import assert_as_timm, transform_with_timm

FORMATS = ("JPEG", "PNG", "WEBP", "TIFF")
STORED_AS = {
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}
"""How a camera that writes the orientation stores an upright scene."""


@pytest.mark.parametrize("image_format", FORMATS)
@pytest.mark.parametrize("orientation", range(2, 9))
def test_each_orientation_is_turned_as_by_pillow_and_resized_as_by_timm(image_format: str, orientation: int) -> None:
    encoded = encode(load_photograph(), image_format, exif=exif_with_orientation(orientation))
    prepared = preprocess(encoded, RECIPE, LIMITS)
    upright = ImageOps.exif_transpose(decode_with_pillow(encoded))
    assert_as_timm(prepared.pixels_hwc, upright, RECIPE)
    assert prepared.warnings == ("exif_orientation_applied",)
    assert (prepared.info.width_px, prepared.info.height_px) == upright.size


@pytest.mark.parametrize("image_format", ["PNG", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_of_the_same_scene_gives_the_same_pixels(image_format: str, orientation: int) -> None:
    scene = load_photograph()
    transposition = STORED_AS[orientation]
    stored = scene if transposition is None else scene.transpose(transposition)
    encoded = encode(stored, image_format, exif=exif_with_orientation(orientation))
    prepared = preprocess(encoded, RECIPE, LIMITS)
    assert_as_timm(prepared.pixels_hwc, scene, RECIPE)
    assert (prepared.info.width_px, prepared.info.height_px) == scene.size


@pytest.mark.parametrize("orientation", [0, 1, 9, 65_535])
@pytest.mark.parametrize("image_format", FORMATS)
def test_an_upright_or_invalid_orientation_changes_nothing(image_format: str, orientation: int) -> None:
    encoded = encode(load_photograph(), image_format, exif=exif_with_orientation(orientation))
    prepared = preprocess(encoded, RECIPE, LIMITS)
    assert_as_timm(prepared.pixels_hwc, decode_with_pillow(encoded), RECIPE)
    assert prepared.warnings == ()


def test_an_orientation_in_xmp_counts_where_exif_has_none() -> None:
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf tiff:Orientation="3"/></x:xmpmeta>'
    prepared = preprocess(encode(load_photograph(), "JPEG", xmp=xmp), RECIPE, LIMITS)
    assert prepared.warnings == ("exif_orientation_applied",)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_jpeg_scaled_while_decoding_is_turned_too(orientation: int) -> None:
    scene = load_photograph().resize((2706, 1800))
    transposition = STORED_AS[orientation]
    stored = scene if transposition is None else scene.transpose(transposition)
    encoded = encode(stored, "JPEG", quality=95, exif=exif_with_orientation(orientation))
    prepared = preprocess(encoded, RECIPE, LIMITS, min_oversampling=3)
    difference = np.abs(prepared.pixels_hwc.astype(int) - transform_with_timm(scene, RECIPE))
    assert "scaled_decoding" in prepared.warnings
    assert difference.mean() < 1.5
    assert (prepared.info.width_px, prepared.info.height_px) == scene.size
