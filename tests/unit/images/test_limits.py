import struct
from collections.abc import Callable

import numpy as np
import pytest

from bento_service.errors import ImageTooLargeError, MissingImageError, TooManyPixelsError
from bento_service.images.preprocessing import ImageLimits, preprocess
from tests.unit.images.encodings import LIMITS, RECIPE, encode, encode_every_kind, load_photograph, png_chunk, read
from tests.unit.images.tiffs import Layout, encode_tiff, pack_directory


def _png(width_px: int, height_px: int) -> bytes:
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", width_px, height_px, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + png_chunk(b"IDAT", b"")


def _jpeg(width_px: int, height_px: int) -> bytes:
    encoded = encode(load_photograph(), "JPEG")
    size_at = encoded.index(b"\xff\xc0") + 5
    return encoded[:size_at] + struct.pack(">HH", height_px, width_px) + encoded[size_at + 4 :]


def _webp(width_px: int, height_px: int) -> bytes:
    size = (width_px - 1).to_bytes(3, "little") + (height_px - 1).to_bytes(3, "little")
    return b"RIFF" + struct.pack("<I", 22) + b"WEBPVP8X" + struct.pack("<I", 10) + b"\0\0\0\0" + size


def _gif(width_px: int, height_px: int) -> bytes:
    encoded = encode(load_photograph(), "GIF")
    return encoded[:6] + struct.pack("<HH", width_px, height_px) + encoded[10:]


def _bmp(width_px: int, height_px: int) -> bytes:
    encoded = encode(load_photograph(), "BMP")
    return encoded[:18] + struct.pack("<ii", width_px, height_px) + encoded[26:]


def _tiff(width_px: int, height_px: int) -> bytes:
    tags = {256: width_px, 257: height_px, 258: 8, 262: 1, 273: 8, 277: 1, 278: height_px, 279: 1}
    return b"II*\0" + struct.pack("<I", 8) + pack_directory({tag: (value,) for tag, value in tags.items()}, "<", 8)


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


@pytest.mark.parametrize("declare", [_png, _jpeg, _webp, _gif, _bmp, _tiff])
def test_too_many_pixels_in_the_header_are_refused(declare: Callable[[int, int], bytes]) -> None:
    with pytest.raises(TooManyPixelsError, match=r"65000 x 65000 = 4,225,000,000 pixels; 50,000,000 are allowed"):
        read(declare(65_000, 65_000))


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
