"""Any bytes end in a valid image or in one of Lightbox's errors."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from PIL import Image

from bento_service.domain.requests import ImageWarning, PreprocessedImage
from bento_service.errors import LightboxError, UndecodableImageError
from bento_service.images.formats import ImageFormat
from bento_service.images.preprocessing import ImageLimits, preprocess
from tests.unit.images.encodings import RECIPE, encode, encode_every_kind, exif_with_orientation, load_photograph

# Pillow warns of odd metadata; the service silences it at start.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")

SMALL_RECIPE = replace(RECIPE, height_px=24, width_px=32)
LIMITS = ImageLimits(max_bytes=1_000_000, max_pixels=1_000_000)
KINDS = encode_every_kind()
PREFIXES = (
    b"\xff\xd8\xff",
    b"\x89PNG\r\n\x1a\n",
    b"GIF89a",
    b"BM",
    b"II*\0",
    b"MM\0*",
    b"II+\0",
    b"RIFF\0\0\0\0WEBPVP8X",
    b"RIFF\0\0\0\0WEBPVP8L",
    b"RIFF\0\0\0\0WEBPVP8 ",
    b"\0\0\0\x18ftypheic\0\0\0\0mif1heic",
    b"\0\0\0\x18ftypavif\0\0\0\0mif1avif",
)

kinds = st.sampled_from(sorted(KINDS))
edits = st.lists(
    st.tuples(
        st.floats(0, 1, exclude_max=True), st.sampled_from(["flip", "set", "cut", "insert"]), st.integers(0, 255)
    ),
    min_size=1,
    max_size=12,
)


def _damage(encoded: bytes, changes: list[tuple[float, str, int]]) -> bytes:
    """Edit bytes, more often near the start, where the headers are."""
    damaged = bytearray(encoded)
    for place, change, value in changes:
        if not damaged:
            break
        position = int(place**3 * len(damaged))
        if change == "flip":
            damaged[position] ^= 1 << value % 8
        elif change == "set":
            damaged[position] = value
        elif change == "cut":
            del damaged[position : position + 1 + value % 9]
        else:
            damaged[position:position] = bytes([value]) * (1 + value % 5)
    return bytes(damaged)


def _check(prepared: PreprocessedImage) -> None:
    assert prepared.pixels_hwc.shape == (SMALL_RECIPE.height_px, SMALL_RECIPE.width_px, 3)
    assert prepared.pixels_hwc.dtype == np.uint8
    assert prepared.pixels_hwc.flags.c_contiguous
    assert prepared.info.format in list(ImageFormat)
    assert 0 < prepared.info.width_px * prepared.info.height_px <= LIMITS.max_pixels
    assert len(set(prepared.warnings)) == len(prepared.warnings)
    assert set(prepared.warnings) <= set(ImageWarning)


def _preprocess_or_refuse(encoded: bytes) -> PreprocessedImage | LightboxError:
    try:
        prepared = preprocess(encoded, SMALL_RECIPE, LIMITS)
    except LightboxError as error:
        assert error.message
        return error
    _check(prepared)
    return prepared


@given(st.binary(max_size=400))
def test_random_bytes_are_refused(encoded: bytes) -> None:
    assert isinstance(_preprocess_or_refuse(encoded), LightboxError)


@settings(max_examples=400)
@given(st.sampled_from(PREFIXES), st.binary(max_size=200))
def test_random_bytes_after_a_signature_are_no_crash(prefix: bytes, rest: bytes) -> None:
    _preprocess_or_refuse(prefix + rest)


@settings(max_examples=3000, suppress_health_check=[HealthCheck.too_slow])
@given(kinds, edits)
def test_a_damaged_file_is_no_crash(kind: str, changes: list[tuple[float, str, int]]) -> None:
    _preprocess_or_refuse(_damage(KINDS[kind], changes))


@settings(max_examples=600)
@given(kinds, st.floats(0, 1, exclude_max=True))
def test_a_truncated_file_is_no_crash(kind: str, share: float) -> None:
    _preprocess_or_refuse(KINDS[kind][: int(share * len(KINDS[kind]))])


@settings(max_examples=300)
@given(st.sampled_from([kind for kind in sorted(KINDS) if kind.startswith(("jpeg", "png"))]), st.data())
def test_a_truncated_jpeg_or_png_is_refused(kind: str, data: st.DataObject) -> None:
    length = data.draw(st.integers(8, len(KINDS[kind]) - 1))
    assert isinstance(_preprocess_or_refuse(KINDS[kind][:length]), UndecodableImageError)


@settings(max_examples=60)
@given(st.integers(1, 90), st.integers(1, 90), st.sampled_from(["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF"]))
@example(1, 1, "JPEG")
def test_an_image_of_any_size_tells_that_size(width_px: int, height_px: int, image_format: str) -> None:
    encoded = encode(load_photograph().resize((width_px, height_px)), image_format)
    info = preprocess(encoded, SMALL_RECIPE, LIMITS).info
    assert (info.format, info.width_px, info.height_px) == (image_format, width_px, height_px)


@settings(max_examples=60)
@given(st.integers(1, 60), st.integers(1, 60), st.integers(1, 8), st.sampled_from(["PNG", "TIFF"]))
def test_turning_by_the_inverse_orientation_gives_the_image_back(
    width_px: int, height_px: int, orientation: int, image_format: str
) -> None:
    scene = load_photograph().crop((150, 100, 150 + width_px, 100 + height_px))
    inverse = {6: 8, 8: 6}.get(orientation, orientation)
    once = _turn_by_preprocess(scene, orientation, image_format)
    assert _turn_by_preprocess(once, inverse, image_format).tobytes() == scene.tobytes()


def _turn_by_preprocess(scene: Image.Image, orientation: int, image_format: str) -> Image.Image:
    """Turn an image by `preprocess` without a resize or a crop."""
    is_lying = orientation >= 5
    recipe = replace(
        RECIPE,
        width_px=scene.height if is_lying else scene.width,
        height_px=scene.width if is_lying else scene.height,
        crop_fraction=1.0,
    )
    encoded = encode(scene, image_format, exif=exif_with_orientation(orientation))
    return Image.fromarray(preprocess(encoded, recipe, LIMITS).pixels_hwc)
