import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from bento_service.errors import UndecodableImageError
from bento_service.images.formats import ImageFormat
from bento_service.images.header import ImageHeader, read_header
from bento_service.images.preprocessing import preprocess
from tests.unit.images.encodings import LIMITS, RECIPE, encode_every_kind

WIDTH_PX, HEIGHT_PX = 70, 40
PIXELS = WIDTH_PX * HEIGHT_PX


def encode(image_format: str, mode: str = "RGB", **options: object) -> bytes:
    file = io.BytesIO()
    Image.new(mode, (WIDTH_PX, HEIGHT_PX)).save(file, image_format, **options)
    return file.getvalue()


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
    assert read_header(encode(image_format)[:13]) == ImageHeader(ImageFormat(image_format), None)


@pytest.mark.parametrize("filling", [b"\xff\xfe\0\x02", b"\xff"], ids=["comments", "fill bytes"])
def test_a_jpeg_with_very_much_before_its_frame_is_not_searched_to_the_end(filling: bytes) -> None:
    encoded = encode("JPEG")
    assert read_header(encoded[:2] + filling * 100_000 + encoded[2:]) == ImageHeader(ImageFormat.JPEG, None)


@pytest.mark.parametrize("kind", encode_every_kind())
def test_an_image_is_prepared_alike_with_the_header_and_without(kind: str) -> None:
    encoded = encode_every_kind()[kind]
    alone = preprocess(encoded, RECIPE, LIMITS)
    with_header = preprocess(encoded, RECIPE, LIMITS, header=read_header(encoded))
    assert (with_header.pixels_hwc == alone.pixels_hwc).all()
    assert (with_header.info, with_header.warnings) == (alone.info, alone.warnings)


def test_a_header_that_the_caller_has_read_is_not_read_again() -> None:
    small, large = (encode_every_kind(side_px)["tiff RGB None"] for side_px in (20, 48))
    with pytest.raises(UndecodableImageError):
        preprocess(large, RECIPE, LIMITS, header=ImageHeader(ImageFormat.PNG, 1))
    assert preprocess(large, RECIPE, LIMITS, header=read_header(small)).info.width_px == 20


def test_what_is_no_image_has_no_header() -> None:
    assert read_header(b"hello") is None


@given(
    start=st.sampled_from(
        [
            b"\xff\xd8\xff",
            b"\x89PNG\r\n\x1a\n",
            b"GIF89a",
            b"BM",
            b"II*\0",
            b"MM\0+",
            b"RIFF1234WEBP",
            b"\0\0\0\x10ftypheic",
        ]
    ),
    rest=st.binary(max_size=200),
)
def test_a_header_is_read_without_an_error_from_any_bytes(start: bytes, rest: bytes) -> None:
    header = read_header(start + rest)
    assert header is not None
    assert header.pixels is None or header.pixels >= 0
