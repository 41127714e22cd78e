import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageCms

from bento_service.domain.requests import PreprocessedImage
from bento_service.images.preprocessing import preprocess
from tests.unit.images.encodings import (
    LIMITS,
    RECIPE,
    convert,
    decode_with_pillow,
    encode,
    encode_every_kind,
    load_photograph,
    png_chunk,
)
from tests.unit.images.timm_reference import assert_as_timm, transform_with_timm

ONE_PIXEL = (1, 1)


def _preprocess(encoded: bytes) -> PreprocessedImage:
    return preprocess(encoded, RECIPE, LIMITS)


def _centre(encoded: bytes) -> tuple[int, ...]:
    """The colour that a file of one colour ends as."""
    return tuple(int(value) for value in _preprocess(encoded).pixels_hwc[112, 112])


@pytest.mark.parametrize(
    ("mode", "image_format", "expected"),
    [
        ("RGB", "PNG", ()),
        ("RGB", "WEBP", ()),
        ("RGB", "BMP", ()),
        ("RGB", "TIFF", ()),
        ("YCbCr", "TIFF", ()),
        ("1", "PNG", ("greyscale_converted",)),
        ("1", "TIFF", ("greyscale_converted",)),
        ("L", "BMP", ("greyscale_converted",)),
        ("P", "PNG", ("palette_converted",)),
        ("P", "GIF", ("palette_converted",)),
        ("P", "BMP", ("palette_converted",)),
        ("CMYK", "TIFF", ("cmyk_converted",)),
        ("CMYK", "JPEG", ("cmyk_converted",)),
    ],
)
def test_a_mode_that_pillow_converts_faithfully_equals_timm_and_is_named(
    mode: str, image_format: str, expected: tuple[str, ...]
) -> None:
    encoded = encode(convert(load_photograph(), mode), image_format)
    prepared = _preprocess(encoded)
    assert_as_timm(prepared.pixels_hwc, decode_with_pillow(encoded), RECIPE)
    assert prepared.warnings == expected


@pytest.mark.parametrize("transform", [0, 2])
@pytest.mark.parametrize("marker", ["whole", "cut short", "missing", "JFIF's instead"])
def test_cmyk_and_ycck_jpegs_are_inverted_with_or_without_adobes_marker(marker: str, transform: int) -> None:
    original = encode(load_photograph().convert("CMYK"), "JPEG", quality=95)
    prepared = _preprocess(_with_adobe_marker(original, marker, transform))
    twin = original if marker != "whole" else _with_adobe_marker(original, "whole", transform)
    assert_as_timm(prepared.pixels_hwc, decode_with_pillow(twin), RECIPE)
    assert prepared.warnings == (*(["metadata_ignored"] if marker == "cut short" else []), "cmyk_converted")


def _with_adobe_marker(encoded: bytes, marker: str, transform: int) -> bytes:
    """Replace Adobe's marker; only a whole one says that the components are YCCK (transform 2)."""
    start = encoded.index(b"\xff\xee")
    end = start + 2 + struct.unpack_from(">H", encoded, start + 2)[0]
    replacement = {
        "whole": encoded[start : end - 1] + bytes([transform]),
        "cut short": b"\xff\xee\0\x07Adobe",
        "missing": b"",
        "JFIF's instead": b"\xff\xe0\0\x10JFIF\0\x01\x01\0\0\x01\0\x01\0\0",
    }[marker]
    return encoded[:start] + replacement + encoded[end:]


def test_lab_becomes_the_rgb_that_it_came_from() -> None:
    prepared = _preprocess(encode(convert(load_photograph(), "LAB"), "TIFF"))
    difference = np.abs(prepared.pixels_hwc.astype(int) - transform_with_timm(load_photograph(), RECIPE))
    assert difference.mean() < 2
    assert prepared.warnings == ("lab_converted",)


@pytest.mark.parametrize("image_format", ["PNG", "WEBP", "TIFF"])
def test_transparent_colour_is_laid_over_white(image_format: str) -> None:
    options: dict[str, object] = {"lossless": True} if image_format == "WEBP" else {}
    encoded = encode(Image.new("RGBA", ONE_PIXEL, (255, 0, 0, 51)), image_format, **options)
    assert _centre(encoded) == (255, 204, 204)
    assert _preprocess(encoded).warnings == ("alpha_flattened",)


def test_fully_transparent_pixels_are_white() -> None:
    assert _centre(encode(Image.new("RGBA", ONE_PIXEL, (1, 2, 3, 0)), "PNG")) == (255, 255, 255)


def test_transparent_grey_is_laid_over_white() -> None:
    encoded = encode(Image.new("LA", ONE_PIXEL, (0, 51)), "PNG")
    assert _centre(encoded) == (204, 204, 204)
    assert _preprocess(encoded).warnings == ("greyscale_converted", "alpha_flattened")


@pytest.mark.parametrize("image_format", ["PNG", "GIF"])
def test_a_transparent_palette_entry_is_laid_over_white(image_format: str) -> None:
    image = Image.new("P", ONE_PIXEL, 1)
    image.putpalette([0, 0, 0, 200, 0, 0])
    encoded = encode(image, image_format, transparency=1)
    assert _centre(encoded) == (255, 255, 255)
    assert _preprocess(encoded).warnings == ("palette_converted", "alpha_flattened")


def test_a_half_transparent_palette_entry_is_laid_over_white() -> None:
    image = Image.new("P", ONE_PIXEL, 0)
    image.putpalette([255, 0, 0])
    assert _centre(encode(image, "PNG", transparency=b"\x33")) == (255, 204, 204)


@pytest.mark.parametrize(
    ("mode", "colour", "transparency", "kinds"),
    [
        ("RGB", (9, 8, 7), (9, 8, 7), ("alpha_flattened",)),
        ("L", 9, 9, ("greyscale_converted", "alpha_flattened")),
        ("1", 0, 0, ("greyscale_converted", "alpha_flattened")),
        ("I;16", 900, 900, ("bit_depth_reduced", "greyscale_converted", "alpha_flattened")),
    ],
)
def test_a_colour_that_a_png_declares_transparent_is_white(
    mode: str, colour: int | tuple[int, ...], transparency: int | tuple[int, ...], kinds: tuple[str, ...]
) -> None:
    encoded = encode(Image.new(mode, ONE_PIXEL, colour), "PNG", transparency=transparency)
    assert _centre(encoded) == (255, 255, 255)
    assert _preprocess(encoded).warnings == kinds


def test_an_icc_profile_is_ignored_and_noted() -> None:
    photograph = load_photograph()
    for image_format in ("JPEG", "PNG", "WEBP", "TIFF"):
        options: dict[str, object] = {"lossless": True} if image_format == "WEBP" else {}
        plain = _preprocess(encode(photograph, image_format, **options))
        profiled = _preprocess(encode(photograph, image_format, icc_profile=_make_profile(), **options))
        assert profiled.warnings == ("icc_profile_ignored",)
        assert (profiled.pixels_hwc == plain.pixels_hwc).all()


def _make_profile() -> bytes:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


@pytest.mark.parametrize("kind", ["gif animated", "webp animated", "png animated", "tiff pages"])
def test_only_the_first_frame_of_an_animation_is_used(kind: str) -> None:
    encoded = encode_every_kind()[kind]
    first = Image.open(io.BytesIO(encoded))
    prepared = _preprocess(encoded)
    assert prepared.warnings[0] == "first_frame_used"
    assert_as_timm(prepared.pixels_hwc, first, RECIPE)


@pytest.mark.parametrize("kind", ["gif", "webp RGB lossless=True", "png RGB", "tiff RGB None"])
def test_a_single_frame_is_no_animation(kind: str) -> None:
    assert "first_frame_used" not in _preprocess(encode_every_kind()[kind]).warnings


def _deep_png(colour_type: int, samples: tuple[int, ...]) -> bytes:
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 16, colour_type, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + _idat(samples) + png_chunk(b"IEND", b"")


def _idat(samples: tuple[int, ...]) -> bytes:
    return png_chunk(b"IDAT", zlib.compress(b"\0" + struct.pack(f">{len(samples)}H", *samples)))


@pytest.mark.parametrize(
    ("colour_type", "samples", "expected"),
    [
        (0, (0x8000,), (128, 128, 128)),
        (2, (0xFFFF, 0x8000, 0x00FF), (255, 128, 0)),
        (4, (0x4000, 0xFFFF), (64, 64, 64)),
        (6, (0xFFFF, 0x8000, 0x00FF, 0xFFFF), (255, 128, 0)),
    ],
)
def test_sixteen_bits_of_a_png_are_scaled_by_their_full_range_and_not_clipped(
    colour_type: int, samples: tuple[int, ...], expected: tuple[int, int, int]
) -> None:
    encoded = _deep_png(colour_type, samples)
    assert _centre(encoded) == expected
    assert "bit_depth_reduced" in _preprocess(encoded).warnings


@pytest.mark.parametrize("image_format", ["PNG", "TIFF"])
def test_a_sixteen_bit_photograph_equals_its_eight_bit_twin(image_format: str) -> None:
    deep = _preprocess(encode(convert(load_photograph(), "I;16"), image_format))
    plain = _preprocess(encode(load_photograph().convert("L"), "PNG"))
    assert (deep.pixels_hwc == plain.pixels_hwc).all()
    assert deep.warnings == ("bit_depth_reduced", "greyscale_converted")
