from dataclasses import replace

import numpy as np
import pytest
import simplejpeg

from bento_service.errors import UndecodableImageError
from bento_service.images.jpeg import OPT_IN_OVERSAMPLING, choose_scale
from bento_service.images.preprocessing import preprocess
from tests.unit.images.encodings import LIMITS, RECIPE, decode_with_pillow, encode, load_photograph
from tests.unit.images.timm_reference import assert_as_timm, transform_with_timm


@pytest.mark.parametrize("subsampling", ["444", "422", "420", "440", "411", "Gray"])
@pytest.mark.parametrize("photograph", ["chelsea.png", "coffee.png", "rocket.jpg"])
def test_a_jpeg_of_any_subsampling_is_decoded_as_by_pillow_and_resized_as_by_timm(
    photograph: str, subsampling: str
) -> None:
    pixels = np.array(load_photograph(photograph))
    is_grey = subsampling == "Gray"
    source = np.ascontiguousarray(pixels[:, :, :1]) if is_grey else pixels
    encoded = simplejpeg.encode_jpeg(source, 90, "GRAY" if is_grey else "RGB", subsampling)
    prepared = preprocess(encoded, RECIPE, LIMITS)
    assert_as_timm(prepared.pixels_hwc, decode_with_pillow(encoded), RECIPE)
    assert prepared.warnings == (("greyscale_converted",) if is_grey else ())


@pytest.mark.parametrize(
    "options", [{"progressive": True}, {"keep_rgb": True}, {"restart_marker_blocks": 3}, {"quality": 5}]
)
def test_a_jpeg_of_any_build_is_decoded_as_by_pillow_and_resized_as_by_timm(options: dict[str, object]) -> None:
    encoded = encode(load_photograph(), "JPEG", **options)
    prepared = preprocess(encoded, RECIPE, LIMITS)
    assert_as_timm(prepared.pixels_hwc, decode_with_pillow(encoded), RECIPE)
    assert prepared.warnings == ()


def test_a_file_of_several_pictures_is_read_as_the_jpeg_that_it_begins_with() -> None:
    first = load_photograph()
    encoded = encode(first, "MPO", save_all=True, append_images=[first.rotate(180)])
    prepared = preprocess(encoded, RECIPE, LIMITS)
    assert prepared.info.format == "JPEG"
    assert_as_timm(prepared.pixels_hwc, decode_with_pillow(encoded), RECIPE)


def test_a_large_jpeg_is_scaled_while_decoding_on_request_with_a_warning() -> None:
    encoded = encode(load_photograph("retina.jpg").resize((2822, 2822)), "JPEG", quality=90)
    prepared = preprocess(encoded, RECIPE, LIMITS, min_oversampling=OPT_IN_OVERSAMPLING)
    assert prepared.warnings == ("scaled_decoding",)
    difference = np.abs(
        prepared.pixels_hwc.astype(int) - transform_with_timm(decode_with_pillow(encoded), RECIPE).astype(int)
    )
    assert 0 < difference.mean() < 1
    assert (prepared.info.width_px, prepared.info.height_px) == (2822, 2822)


@pytest.mark.parametrize(
    ("stored", "resized", "scale"),
    [
        ((4000, 3000), (341, 256), 2),
        ((8000, 6000), (341, 256), 4),
        ((8500, 6400), (341, 256), 8),
        ((1535, 1535), (256, 256), 2),
        ((1534, 1534), (256, 256), 1),
        ((30_000, 700), (341, 256), 1),
        ((100, 100), (256, 256), 1),
    ],
)
def test_scaled_decoding_keeps_the_oversampling_that_is_asked_for(
    stored: tuple[int, int], resized: tuple[int, int], scale: int
) -> None:
    assert choose_scale(stored, resized, 3) == scale
    assert scale == 1 or min(-(-stored[0] // scale) / resized[0], -(-stored[1] // scale) / resized[1]) >= 3


def test_a_jpeg_that_is_not_large_is_never_scaled_and_no_answer_says_so() -> None:
    encoded = encode(load_photograph(), "JPEG")
    scaled = preprocess(encoded, RECIPE, LIMITS, min_oversampling=OPT_IN_OVERSAMPLING)
    assert (scaled.pixels_hwc == preprocess(encoded, RECIPE, LIMITS).pixels_hwc).all()
    assert scaled.warnings == ()


@pytest.mark.parametrize("subsampling", ["444", "422", "420", "440", "411", "Gray"])
def test_a_jpeg_that_is_not_resized_equals_pillows_to_the_bit(subsampling: str) -> None:
    pixels = np.array(load_photograph())
    is_grey = subsampling == "Gray"
    source = np.ascontiguousarray(pixels[:, :, :1]) if is_grey else pixels
    encoded = simplejpeg.encode_jpeg(source, 90, "GRAY" if is_grey else "RGB", subsampling)
    height_px, width_px = pixels.shape[:2]
    unresized = replace(RECIPE, height_px=height_px, width_px=width_px, crop_fraction=1.0)
    expected = np.array(decode_with_pillow(encoded).convert("RGB"))
    assert (preprocess(encoded, unresized, LIMITS).pixels_hwc == expected).all()


def test_a_sequential_jpeg_with_more_scans_than_it_has_use_for_is_refused() -> None:
    encoded = encode(load_photograph(), "JPEG")
    first_scan = encoded.index(b"\xff\xda")
    repeated = encoded[:-2] + encoded[first_scan:-2] * 300 + encoded[-2:]
    with pytest.raises(UndecodableImageError):
        preprocess(repeated, RECIPE, LIMITS)
