import struct

import numpy as np
import pytest

from bento_service.errors import ImageTooLargeError, MissingImageError, TooManyPixelsError
from bento_service.images.preprocessing import ImageLimits, preprocess
from tests.unit.images.encodings import LIMITS, RECIPE, encode, encode_every_kind, encode_png, load_photograph, read
from tests.unit.images.tiffs import Layout, encode_tiff


def declare(image_format: str, side_px: int) -> bytes:
    """Return a small file whose header declares a square of this size."""
    if image_format == "PNG":
        return encode_png(8, 2, b"", side_px=side_px)
    if image_format == "TIFF":
        return encode_tiff(np.zeros((1, 1, 1), np.uint8), Layout(tags={256: (side_px,), 257: (side_px,)}))
    if image_format == "WEBP":
        return b"RIFF\x16\0\0\0WEBPVP8X\x0a\0\0\0\0\0\0\0" + 2 * (side_px - 1).to_bytes(3, "little")
    encoded = bytearray(encode(load_photograph(), image_format))
    place, code = {"JPEG": (encoded.find(b"\xff\xc0") + 5, ">HH"), "GIF": (6, "<HH"), "BMP": (18, "<ii")}[image_format]
    struct.pack_into(code, encoded, place, side_px, side_px)
    return bytes(encoded)


def test_no_bytes_are_a_missing_image() -> None:
    with pytest.raises(MissingImageError):
        read(b"")


def test_one_byte_more_than_allowed_is_too_large() -> None:
    encoded = encode(load_photograph(), "JPEG")
    preprocess(encoded, RECIPE, ImageLimits(max_bytes=len(encoded), max_pixels=LIMITS.max_pixels))
    with pytest.raises(ImageTooLargeError) as caught:
        preprocess(encoded, RECIPE, ImageLimits(max_bytes=len(encoded) - 1, max_pixels=LIMITS.max_pixels))
    assert caught.value.details == {"bytes": len(encoded), "max_bytes": len(encoded) - 1}


@pytest.mark.parametrize("kind", encode_every_kind())
def test_one_pixel_more_than_allowed_is_too_many_in_each_format(kind: str) -> None:
    encoded = encode_every_kind()[kind]
    read(encoded, max_pixels=48 * 41)
    with pytest.raises(TooManyPixelsError) as caught:
        read(encoded, max_pixels=48 * 41 - 1)
    assert caught.value.details == {"pixels": 48 * 41, "max_pixels": 48 * 41 - 1}


@pytest.mark.parametrize("image_format", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF"])
def test_too_many_pixels_in_the_header_are_refused(image_format: str) -> None:
    with pytest.raises(TooManyPixelsError, match=r"65000 x 65000 = 4,225,000,000 pixels; 50,000,000 are allowed"):
        read(declare(image_format, 65_000))


def test_a_giant_tile_in_a_small_tiff_counts() -> None:
    layout = Layout(tile_px=16, tags={322: (60_000,), 323: (60_000,)})
    with pytest.raises(TooManyPixelsError):
        read(encode_tiff(np.zeros((16, 16, 1), np.uint8), layout))


def test_a_limit_above_pillows_own_is_obeyed(recwarn: pytest.WarningsRecorder) -> None:
    side_px = 13_400  # 179.6 megapixels, where Pillow's own limit raises
    encoded = encode(load_photograph().convert("1").resize((side_px, side_px)), "PNG")
    prepared = read(encoded, max_pixels=200_000_000)
    assert prepared.info.width_px == side_px
    assert not recwarn.list
