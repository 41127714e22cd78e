import io
import struct
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image, ImageCms, ImageOps

from bento_service.images.colour import reduce_samples
from tests.unit.images.encodings import (
    RECIPE,
    convert,
    decode_with_pillow,
    encode,
    encode_every_kind,
    encode_png,
    load_photograph,
    read,
)
from tests.unit.images.timm_reference import assert_as_timm, transform_with_timm

FLOAT_MAX = float(np.finfo(np.float32).max)


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
def test_a_mode_that_pillow_converts_well_equals_timm(mode: str, image_format: str, expected: tuple[str, ...]) -> None:
    encoded = encode(convert(load_photograph(), mode), image_format)
    prepared = read(encoded)
    assert_as_timm(prepared.pixels_hwc, decode_with_pillow(encoded), RECIPE)
    assert prepared.warnings == expected


@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("image_format", ["PNG", "JPEG"])
def test_a_grey_model_sees_what_pillow_converts_and_pads(mode: str, image_format: str) -> None:
    encoded = encode(load_photograph().convert(mode), image_format)
    recipe = replace(
        RECIPE, height_px=28, width_px=48, fit="letterbox", channels="grey", pad_value=255, interpolation="box"
    )

    prepared = read(encoded, recipe)

    grey = decode_with_pillow(encoded).convert("RGB").convert("L")
    padded = ImageOps.pad(grey, (48, 28), Image.Resampling.BOX, color=255)
    assert prepared.pixels_hwc.shape == (28, 48, 1)
    assert (prepared.pixels_hwc[:, :, 0] == np.asarray(padded)).all()
    assert prepared.warnings == ()


@pytest.mark.parametrize("transform", [0, 2])
@pytest.mark.parametrize("marker", ["whole", "cut short", "missing", "JFIF's instead"])
def test_cmyk_and_ycck_jpegs_are_read_as_inverted(marker: str, transform: int) -> None:
    original = encode(load_photograph().convert("CMYK"), "JPEG", quality=95)
    prepared = read(_with_adobe_marker(original, marker, transform))
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
    prepared = read(encode(convert(load_photograph(), "LAB"), "TIFF"))
    difference = np.abs(prepared.pixels_hwc.astype(int) - transform_with_timm(load_photograph(), RECIPE))
    assert difference.mean() < 2
    assert prepared.warnings == ("lab_converted",)


def one_pixel(mode: str, colour: int | tuple[int, ...], image_format: str = "PNG", **options: object) -> bytes:
    """Encode one pixel; a palette has red only."""
    image = Image.new(mode, (1, 1), colour)
    if mode == "P":
        image.putpalette([255, 0, 0])
    return encode(image, image_format, **options)


def one_deep_pixel(colour_type: int, *samples: int) -> bytes:
    return encode_png(16, colour_type, b"\0" + struct.pack(f">{len(samples)}H", *samples))


BLACK_ON_WHITE, RED_ON_WHITE, WHITE = (204, 204, 204), (255, 204, 204), (255, 255, 255)
DEPTH, GREY, PALETTE, ALPHA = "bit_depth_reduced", "greyscale_converted", "palette_converted", "alpha_flattened"
ONE_PIXEL = {
    "RGBA in PNG": (one_pixel("RGBA", (255, 0, 0, 51)), RED_ON_WHITE, (ALPHA,)),
    "RGBA in WEBP": (one_pixel("RGBA", (255, 0, 0, 51), "WEBP", lossless=True), RED_ON_WHITE, (ALPHA,)),
    "RGBA in TIFF": (one_pixel("RGBA", (255, 0, 0, 51), "TIFF"), RED_ON_WHITE, (ALPHA,)),
    "grey and alpha": (one_pixel("LA", (0, 51)), BLACK_ON_WHITE, (GREY, ALPHA)),
    "transparent palette entry": (one_pixel("P", 0, transparency=0), WHITE, (PALETTE, ALPHA)),
    "transparent entry of a GIF": (one_pixel("P", 0, "GIF", transparency=0), WHITE, (PALETTE, ALPHA)),
    "half-transparent palette entry": (one_pixel("P", 0, transparency=b"\x33"), RED_ON_WHITE, (PALETTE, ALPHA)),
    "transparent colour": (one_pixel("RGB", (9, 8, 7), transparency=(9, 8, 7)), WHITE, (ALPHA,)),
    "transparent grey": (one_pixel("L", 9, transparency=9), WHITE, (GREY, ALPHA)),
    "transparent bit": (one_pixel("1", 0, transparency=0), WHITE, (GREY, ALPHA)),
    "transparent deep grey": (one_pixel("I;16", 900, transparency=900), WHITE, (DEPTH, GREY, ALPHA)),
    "deep grey": (one_deep_pixel(0, 0x8000), (128, 128, 128), (DEPTH, GREY)),
    "deep RGB": (one_deep_pixel(2, 0xFFFF, 0x8000, 0x00FF), (255, 128, 0), (DEPTH,)),
    "deep grey and alpha": (one_deep_pixel(4, 0x4000, 0xFFFF), (64, 64, 64), (DEPTH, ALPHA)),
    "deep RGBA": (one_deep_pixel(6, 0xFFFF, 0x8000, 0x00FF, 0xFFFF), (255, 128, 0), (DEPTH, ALPHA)),
}


@pytest.mark.parametrize(("encoded", "expected", "warnings"), ONE_PIXEL.values(), ids=ONE_PIXEL)
def test_a_pixel_is_opaque_rgb_of_eight_bits(
    encoded: bytes, expected: tuple[int, ...], warnings: tuple[str, ...]
) -> None:
    prepared = read(encoded)
    assert tuple(prepared.pixels_hwc[112, 112]) == expected
    assert prepared.warnings == warnings


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_an_icc_profile_is_ignored_and_noted(image_format: str) -> None:
    options: dict[str, object] = {"lossless": True} if image_format == "WEBP" else {}
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    plain = read(encode(load_photograph(), image_format, **options))
    profiled = read(encode(load_photograph(), image_format, icc_profile=profile, **options))
    assert profiled.warnings == ("icc_profile_ignored",)
    assert (profiled.pixels_hwc == plain.pixels_hwc).all()


@pytest.mark.parametrize("kind", ["gif animated", "webp animated", "png animated", "tiff pages"])
def test_only_the_first_frame_of_an_animation_is_used(kind: str) -> None:
    encoded = encode_every_kind()[kind]
    first = Image.open(io.BytesIO(encoded))
    prepared = read(encoded)
    assert prepared.warnings[0] == "first_frame_used"
    assert_as_timm(prepared.pixels_hwc, first, RECIPE)


@pytest.mark.parametrize(("bits", "value"), [(16, 0xABCD), (12, 0x0ABC), (10, 0x02AF)])
def test_unsigned_samples_keep_their_high_byte(bits: int, value: int) -> None:
    assert reduce_samples(np.array([value], dtype=np.uint16), bits).tolist() == [0xAB]


@pytest.mark.parametrize(
    ("dtypes", "samples", "expected"),
    [
        pytest.param("if", [0, 1, 128, 254], [0, 1, 128, 254], id="up to 255"),
        pytest.param("if", [0, 257, 32_896, 65_535], [0, 1, 128, 255], id="up to 65535"),
        pytest.param("f", [0.0, 0.2, 0.5, 1.0], [0, 51, 128, 255], id="floats up to 1"),
        pytest.param("i", [0, 1], [0, 1], id="integers up to 1"),
        pytest.param("if", [-100, 0, 100], [0, 128, 255], id="negative values, from lowest to highest"),
        pytest.param("f", [1e9, 2e9], [0, 255], id="no known scale, from lowest to highest"),
        pytest.param("f", [-FLOAT_MAX, 0.0, FLOAT_MAX], [0, 128, 255], id="the whole range of a float"),
        pytest.param("f", [np.nan, -np.inf, np.inf, 255.0, 0.0], [0, 0, 255, 255, 0], id="NaN and infinities"),
        pytest.param("f", [np.nan, np.nan], [0, 0], id="NaN alone"),
        pytest.param("f", [-np.inf, -np.inf], [0, 0], id="an infinity alone"),
        pytest.param("f", [0.0, 0.0], [0, 0], id="zeros"),
    ],
)
def test_other_samples_are_scaled_by_their_range(dtypes: str, samples: list[float], expected: list[int]) -> None:
    for dtype in dtypes:
        assert reduce_samples(np.array(samples, dtype=f"{dtype}4"), 32).tolist() == expected


@given(arrays.arrays(np.float32, 6, elements=st.floats(0, 65_535, width=32)))
def test_a_brighter_sample_never_becomes_darker(samples: np.ndarray) -> None:
    assert (np.diff(reduce_samples(samples, 32)[np.argsort(samples)].astype(int)) >= 0).all()
