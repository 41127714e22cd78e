import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from bento_service.images.formats import ImageFormat
from bento_service.images.header import ImageHeader, read_header
from tests.unit.images import encodings

PIXELS = 70 * 40


def encode(image_format: str, mode: str = "RGB", **options: object) -> bytes:
    return encodings.encode(Image.new(mode, (70, 40)), image_format, **options)


@pytest.mark.parametrize(
    ("image_format", "mode", "options"),
    [
        ("JPEG", "RGB", {}),
        ("JPEG", "L", {"exif": b"Exif\0\0" + bytes(5000), "icc_profile": bytes(200_000)}),
        ("PNG", "RGBA", {}),
        ("WEBP", "RGB", {}),
        ("WEBP", "RGB", {"lossless": True}),
        ("WEBP", "RGBA", {"exif": b"Exif\0\0" + bytes(10)}),
        ("GIF", "P", {"comment": b"a comment" * 100}),
        ("GIF", "L", {"transparency": 0}),
        ("BMP", "RGB", {}),
        ("TIFF", "RGB", {}),
        ("TIFF", "1", {"compression": "group4"}),
        ("TIFF", "RGB", {"big_tiff": True}),
        ("AVIF", "RGBA", {"exif": b"Exif\0\0MM\0*\0\0\0\x08\0\0"}),
    ],
)
def test_each_format_says_its_size_up_front(image_format: str, mode: str, options: dict[str, object]) -> None:
    assert read_header(encode(image_format, mode, **options)) == ImageHeader(ImageFormat(image_format), PIXELS)


def test_a_progressive_jpeg_is_told_from_a_sequential_one() -> None:
    assert read_header(encode("JPEG", progressive=True)) == ImageHeader(ImageFormat.JPEG, PIXELS, is_progressive=True)


def test_a_gif_whose_first_frame_exceeds_its_screen_has_the_larger_size() -> None:
    encoded = bytearray(encode("GIF", "P"))
    encoded[6:10] = b"\x01\0\x01\0"
    assert read_header(bytes(encoded)) == ImageHeader(ImageFormat.GIF, PIXELS)


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF"])
def test_a_header_that_is_cut_off_leaves_the_size_open(image_format: str) -> None:
    cut = 9 if image_format == "GIF" else 13
    assert read_header(encode(image_format)[:cut]) == ImageHeader(ImageFormat(image_format), None)


@pytest.mark.parametrize("filling", [b"\xff\xfe\0\x02", b"\xff"], ids=["comments", "fill bytes"])
def test_a_jpeg_is_not_searched_to_the_end(filling: bytes) -> None:
    encoded = encode("JPEG")
    assert read_header(encoded[:2] + filling * 100_000 + encoded[2:]) == ImageHeader(ImageFormat.JPEG, None)


def test_a_bmp_of_os2_or_from_the_top_down_has_its_size() -> None:
    encoded = encode("BMP")
    for file in (b"BM" + bytes(12) + struct.pack("<IHH", 12, 70, 40), encoded[:22] + struct.pack("<i", -40)):
        assert read_header(file) == ImageHeader(ImageFormat.BMP, PIXELS)


def test_what_is_no_image_has_no_header() -> None:
    assert read_header(b"hello") is None


HEIC = b"\0\0\0\x10ftypheic"
STARTS = [
    b"\xff\xd8\xff",
    b"\x89PNG\r\n\x1a\n",
    b"GIF89a",
    b"BM",
    b"II*\0",
    b"MM\0+",
    b"RIFF1234WEBP",
    b"\0\0\0\x10ftypheic",
]


@given(start=st.sampled_from(STARTS), rest=st.binary(max_size=200))
def test_a_header_is_read_without_an_error_from_any_bytes(start: bytes, rest: bytes) -> None:
    header = read_header(start + rest)
    assert header is not None
    assert header.pixels is None or header.pixels > 0
