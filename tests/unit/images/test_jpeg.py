from dataclasses import replace

import numpy as np
import pytest
import simplejpeg

from bento_service.domain.models import Fit
from bento_service.images.jpeg import OPT_IN_OVERSAMPLING, choose_scale
from bento_service.images.preprocessing import preprocess
from tests.unit.images.encodings import LIMITS, RECIPE, decode_with_pillow, encode, load_photograph, read, read_whole
from tests.unit.images.timm_reference import assert_as_timm, transform_with_timm


@pytest.mark.parametrize("subsampling", ["444", "422", "420", "440", "411", "Gray"])
def test_a_jpeg_of_any_subsampling_is_decoded_as_by_pillow(subsampling: str) -> None:
    pixels = np.array(load_photograph())
    is_grey = subsampling == "Gray"
    source = np.ascontiguousarray(pixels[:, :, :1]) if is_grey else pixels
    encoded = simplejpeg.encode_jpeg(source, 90, "GRAY" if is_grey else "RGB", subsampling)
    assert read_whole(encoded).tobytes() == decode_with_pillow(encoded).convert("RGB").tobytes()


@pytest.mark.parametrize(
    "options", [{"progressive": True}, {"keep_rgb": True}, {"restart_marker_blocks": 3}, {"quality": 5}]
)
def test_a_jpeg_of_any_build_is_decoded_as_by_pillow(options: dict[str, object]) -> None:
    encoded = encode(load_photograph(), "JPEG", **options)
    assert read_whole(encoded).tobytes() == decode_with_pillow(encoded).convert("RGB").tobytes()
    assert read(encoded).warnings == ()


def test_of_a_file_of_several_pictures_the_first_jpeg_is_read() -> None:
    encoded = encode(load_photograph(), "MPO", save_all=True, append_images=[load_photograph().rotate(180)])
    prepared = read(encoded)
    assert prepared.info.format == "JPEG"
    assert_as_timm(prepared.pixels_hwc, decode_with_pillow(encoded), RECIPE)


def test_only_a_large_jpeg_is_scaled_while_decoding() -> None:
    large, small = (encode(load_photograph("retina.jpg").resize((side, side)), "JPEG") for side in (2822, 300))
    prepared = preprocess(large, RECIPE, LIMITS, min_oversampling=OPT_IN_OVERSAMPLING)
    assert prepared.warnings == ("scaled_decoding",)
    difference = np.abs(prepared.pixels_hwc.astype(int) - transform_with_timm(decode_with_pillow(large), RECIPE))
    assert 0 < difference.mean() < 1
    assert (prepared.info.width_px, prepared.info.height_px) == (2822, 2822)

    unscaled = preprocess(small, RECIPE, LIMITS, min_oversampling=OPT_IN_OVERSAMPLING)
    assert (unscaled.pixels_hwc == read(small).pixels_hwc).all()
    assert unscaled.warnings == ()


@pytest.mark.parametrize("fit", ["squash", "letterbox"])
def test_a_jpeg_is_scaled_while_decoding_for_every_fit(fit: Fit) -> None:
    recipe = replace(RECIPE, fit=fit, width_px=96, height_px=64, interpolation="lanczos", channels="grey")
    large = encode(load_photograph("retina.jpg").resize((1200, 700)), "JPEG")
    prepared = preprocess(large, recipe, LIMITS, min_oversampling=OPT_IN_OVERSAMPLING)
    difference = np.abs(prepared.pixels_hwc.astype(int) - transform_with_timm(decode_with_pillow(large), recipe))
    assert prepared.warnings == ("scaled_decoding",)
    assert 0 < difference.mean() < 1


def test_a_jpeg_is_decoded_in_full_where_a_reduction_does_not_average() -> None:
    recipe = replace(RECIPE, fit="squash", width_px=64, height_px=64, interpolation="nearest")
    large = encode(load_photograph("retina.jpg"), "JPEG")
    prepared = preprocess(large, recipe, LIMITS, min_oversampling=OPT_IN_OVERSAMPLING)
    assert prepared.warnings == ()
    assert_as_timm(prepared.pixels_hwc, decode_with_pillow(large), recipe)

    opencv = replace(recipe, interpolation="bicubic", is_antialiased=False)
    assert preprocess(large, opencv, LIMITS, min_oversampling=OPT_IN_OVERSAMPLING).warnings == ()


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
def test_scaled_decoding_keeps_three_times_the_resized_size(
    stored: tuple[int, int], resized: tuple[int, int], scale: int
) -> None:
    assert choose_scale(stored, resized, 3) == scale
