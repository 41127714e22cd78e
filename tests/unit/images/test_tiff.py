"""Every layout of samples in a TIFF is decoded correctly or refused with the reason."""

import re
import struct
from collections.abc import Mapping
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from bento_service.errors import TooManyPixelsError, UndecodableImageError
from tests.unit.images.encodings import load_photograph, read, read_whole, uncropped
from tests.unit.images.tiffs import (
    BLACK_IS_ZERO,
    DEFLATE,
    LZW,
    NONE,
    PACKBITS,
    PALETTE,
    RGB,
    SEPARATED,
    WHITE_IS_ZERO,
    Layout,
    deepen,
    encode_tiff,
    pack_directory,
)

WIDTH_PX, HEIGHT_PX = 21, 15
UNCROPPED = uncropped(WIDTH_PX, HEIGHT_PX)
PHOTOGRAPH = np.asarray(load_photograph().resize((WIDTH_PX, HEIGHT_PX)))
GREY = PHOTOGRAPH[:, :, :1]
CHANNELS = {WHITE_IS_ZERO: 1, BLACK_IS_ZERO: 1, RGB: 3, SEPARATED: 4}
DTYPES = ["u1", "u2", "u4", "u8", "f2", "f4", "f8", "i1", "i2", "i4", "i8"]
WAYS = [(NONE, 1), (PACKBITS, 1), (LZW, 1), (DEFLATE, 1), (DEFLATE, 2), (LZW, 3)]
"""Compression and predictor."""


def take_channels(photometric: int) -> NDArray[np.uint8]:
    return np.dstack([PHOTOGRAPH, PHOTOGRAPH[:, :, 0] // 2])[:, :, : CHANNELS[photometric]]


def to_rgb(eight_bits: NDArray[np.uint8], photometric: int) -> NDArray[np.int64]:
    """What samples mean, by the plain formula for CMYK."""
    values = eight_bits.astype(np.int64)
    if photometric == WHITE_IS_ZERO:
        return np.repeat(255 - values, 3, axis=2)
    if photometric == BLACK_IS_ZERO:
        return np.repeat(values, 3, axis=2)
    if photometric == RGB:
        return values
    return np.rint((255 - values[:, :, :3]) * (255 - values[:, :, 3:]) / 255).astype(np.int64)


def encode_photograph(photometric: int = RGB, tags: Mapping[int, tuple[int, ...]] | None = None) -> bytes:
    return encode_tiff(PHOTOGRAPH, Layout(photometric, tags=tags or {}))


def assert_read_as(encoded: bytes, expected: NDArray[np.integer] | int) -> None:
    assert np.abs(read(encoded, UNCROPPED).pixels_hwc.astype(int) - expected).max() <= 1


@pytest.mark.parametrize(("compression", "predictor"), WAYS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("photometric", "is_planar"), list(product(CHANNELS, (False, True))))
def test_samples_of_any_kind_are_read_as_what_they_mean(
    photometric: int, is_planar: bool, dtype: str, compression: int, predictor: int
) -> None:
    if predictor == 3 and not dtype.startswith("f"):
        predictor = 1
    eight_bits = take_channels(photometric)
    expected = to_rgb(eight_bits // 2 if dtype.startswith("i") else eight_bits, photometric)
    samples = deepen(eight_bits, np.dtype(dtype))
    layout = Layout(photometric, compression, predictor, is_planar=is_planar)
    for is_big_endian, tile_px in ((False, None), (True, 16)):
        encoded = encode_tiff(samples, replace(layout, is_big_endian=is_big_endian, tile_px=tile_px))
        assert_read_as(encoded, expected)


@settings(max_examples=200, deadline=None)
@given(
    dtype=st.sampled_from(DTYPES),
    layout=st.builds(
        Layout,
        photometric=st.sampled_from([*CHANNELS, PALETTE, 4, 6, 8, 9, 32803, 34892, 60000]),
        compression=st.sampled_from([NONE, LZW, DEFLATE, PACKBITS]),
        is_planar=st.booleans(),
        is_big_endian=st.booleans(),
        is_big_tiff=st.booleans(),
        is_bit_reversed=st.booleans(),
        rows_per_strip=st.integers(1, 20),
        tile_px=st.sampled_from([None, 16, 32]),
        extra_samples=st.lists(st.sampled_from([0, 1, 2]), max_size=3).map(tuple),
        tags=st.sampled_from([{}, {}, {258: (5, 6, 5)}, {332: (2,)}, {339: (5,)}, {339: (1, 3, 1)}]),
    ),
)
def test_any_layout_is_read_or_refused_with_the_reason(dtype: str, layout: Layout) -> None:
    colours = take_channels(layout.photometric) if layout.photometric in CHANNELS else PHOTOGRAPH
    full_scale = 1.0 if dtype.startswith("f") else np.iinfo(dtype).max
    opaque = np.full((HEIGHT_PX, WIDTH_PX, len(layout.extra_samples)), full_scale, dtype)
    samples = np.dstack([deepen(colours, np.dtype(dtype)), opaque])
    is_known = layout.photometric in CHANNELS and not layout.tags
    encoded = encode_tiff(samples, layout)
    try:
        read(encoded)
    except UndecodableImageError as error:
        assert not is_known, error.message
        assert "which Lightbox does not read; " in error.message
        return
    is_half_transparent = dtype.startswith("i") and {1, 2} & set(layout.extra_samples)
    if is_known and (layout.photometric == SEPARATED or not is_half_transparent):
        eight_bits = colours // 2 if dtype.startswith("i") else colours
        assert_read_as(encoded, to_rgb(eight_bits, layout.photometric))


@pytest.mark.parametrize("dtype", ["u1", "u2", "u4", "f4"])
@pytest.mark.parametrize("is_planar", [False, True])
@pytest.mark.parametrize("photometric", [WHITE_IS_ZERO, BLACK_IS_ZERO, RGB])
@pytest.mark.parametrize("meaning", [1, 2])
def test_premultiplied_and_straight_alpha_are_laid_over_white(
    meaning: int, photometric: int, is_planar: bool, dtype: str
) -> None:
    colours = np.full((HEIGHT_PX, WIDTH_PX, CHANNELS[photometric]), 100, dtype=np.uint8)
    alpha = np.full((HEIGHT_PX, WIDTH_PX, 1), 51, dtype=np.uint8)
    stored = colours // 5 if meaning == 1 and photometric != WHITE_IS_ZERO else colours
    if meaning == 1 and photometric == WHITE_IS_ZERO:
        stored = 255 - (255 - colours) // 5
    samples = deepen(np.dstack([stored, alpha]), np.dtype(dtype))
    encoded = encode_tiff(samples, Layout(photometric, is_planar=is_planar, extra_samples=(meaning,)))
    level = 155 if photometric == WHITE_IS_ZERO else 100
    assert_read_as(encoded, round(255 * 0.8 + level * 0.2))
    assert "alpha_flattened" in read(encoded).warnings


def test_floats_without_a_known_scale_are_stretched_with_a_warning() -> None:
    samples = (PHOTOGRAPH[:, :, :1] / 127.5 - 1).astype(np.float32)
    prepared = read(encode_tiff(samples, Layout()))
    assert prepared.warnings == ("range_stretched", "bit_depth_reduced", "greyscale_converted")
    assert "range_stretched" not in read(encode_tiff(samples + 1, Layout())).warnings


REDUCED = np.zeros((6, 8, 3), dtype=np.uint8)


def store_after(encoded: bytes, tags: Mapping[int, tuple[int, ...]], *, is_subdirectory: bool) -> bytes:
    """Put a thumbnail of black pixels in front of a file's picture, which becomes a subdirectory or the next page."""
    picture_at = struct.unpack_from("<I", encoded, 4)[0]
    pixels_at = len(encoded)
    thumbnail = {256: (8,), 257: (6,), 258: (8, 8, 8), 259: (1,), 262: (2,), 273: (pixels_at,), 277: (3,), 278: (6,)}
    thumbnail |= {279: (REDUCED.nbytes,), **tags}
    if is_subdirectory:
        thumbnail[330] = (picture_at,)
    start = pixels_at + REDUCED.nbytes
    directory = pack_directory(thumbnail, "<", start, next_offset=0 if is_subdirectory else picture_at)
    return encoded[:4] + struct.pack("<I", start) + encoded[8:] + REDUCED.tobytes() + directory


@pytest.mark.parametrize("is_subdirectory", [False, True])
@pytest.mark.parametrize("tags", [{254: (1,)}, {255: (2,)}, {254: (5,)}])
def test_a_thumbnail_before_the_picture_is_skipped(tags: Mapping[int, tuple[int, ...]], is_subdirectory: bool) -> None:
    encoded = store_after(encode_photograph(tags={254: (0,)}), tags, is_subdirectory=is_subdirectory)
    assert_read_as(encoded, PHOTOGRAPH)
    assert read(encoded).warnings == ()
    with pytest.raises(TooManyPixelsError, match=f"{WIDTH_PX} x {HEIGHT_PX}"):
        read(encoded, max_pixels=WIDTH_PX * HEIGHT_PX - 1)


@pytest.mark.parametrize(
    ("subfile_type", "expected"), [(0, ("first_frame_used",)), (2, ("first_frame_used",)), (1, ())]
)
def test_a_further_page_is_noted_and_a_smaller_copy_is_not(subfile_type: int, expected: tuple[str, ...]) -> None:
    encoded = encode_photograph(tags={254: (subfile_type,)})
    assert read(store_after(encoded, {254: (0,)}, is_subdirectory=False)).warnings[:1] == expected


def name_next_page(offset: int) -> bytes:
    encoded = bytearray(encode_photograph())
    at = struct.unpack_from("<I", encoded, 4)[0]
    struct.pack_into("<I", encoded, at + 2 + 12 * struct.unpack_from("<H", encoded, at)[0], offset)
    return bytes(encoded)


def encode_palette(scale: int) -> bytes:
    return encode_tiff(GREY, Layout(PALETTE, tags={320: tuple((255 - level) * scale for level in range(256)) * 3}))


UNUSUAL = {
    **{f"damaged page at {offset}": (name_next_page(offset), PHOTOGRAPH) for offset in (0xFFFFFFF0, 8, 1)},
    "reduced image alone": (encode_photograph(tags={254: (1,)}), PHOTOGRAPH),
    "palette of eight bits": (encode_palette(1), to_rgb(GREY, WHITE_IS_ZERO)),
    "palette of sixteen bits": (encode_palette(257), to_rgb(GREY, WHITE_IS_ZERO)),
    "no interpretation": (encode_tiff(GREY).replace(b"\6\1\3\0\1", b"\7\1\3\0\1"), to_rgb(GREY, BLACK_IS_ZERO)),
}


@pytest.mark.parametrize(("encoded", "expected"), UNUSUAL.values(), ids=UNUSUAL)
def test_an_unusual_picture_is_read(encoded: bytes, expected: NDArray[np.integer]) -> None:
    assert_read_as(encoded, expected)


@pytest.mark.parametrize(
    ("size", "layout", "max_pixels", "reason"),
    [
        ((HEIGHT_PX, WIDTH_PX, 3), Layout(RGB, DEFLATE), 1000, "samples take 7,560 bytes; 4,000 are allowed"),
        ((HEIGHT_PX, 1, 1), Layout(tile_px=16), 256, "samples take 2,048 bytes; 1,024 are allowed"),
    ],
)
def test_samples_that_take_too_much_memory_are_refused(
    size: tuple[int, ...], layout: Layout, max_pixels: int, reason: str
) -> None:
    with pytest.raises(TooManyPixelsError, match=reason):
        read(encode_tiff(np.zeros(size, dtype=np.float64), layout), max_pixels=max_pixels)


@pytest.mark.parametrize("dtype", ["u1", "f4"])
def test_the_orientation_is_read_from_its_tag_or_else_from_xmp(dtype: str) -> None:
    upright = np.asarray(Image.fromarray(PHOTOGRAPH).transpose(Image.Transpose.ROTATE_270)).astype(int)
    xmp = tuple(np.frombuffer(b'<x tiff:Orientation="6" />', "<u2").tolist())
    for tags in ({274: (6,)}, {700: xmp}):
        encoded = encode_tiff(deepen(PHOTOGRAPH, np.dtype(dtype)), Layout(RGB, tags=tags))
        assert np.abs(np.asarray(read_whole(encoded)) - upright).max() <= 1
        assert read(encoded).warnings[-1] == "exif_orientation_applied"


def put_pixels_outside(dtype: str, compression: int) -> bytes:
    samples = deepen(PHOTOGRAPH, np.dtype(dtype))
    directory_at = struct.unpack_from("<I", encode_tiff(samples, Layout(RGB, compression)), 4)[0]
    places = {273: tuple(range(directory_at, directory_at + 5)), 279: (10_000,) * 5}
    return encode_tiff(samples, Layout(RGB, compression, tags=places))


def enlarge_tags(sizes: Mapping[int, int]) -> bytes:
    """Declare so many values, one byte each, for some tags."""
    picture = encode_tiff(np.zeros((4, 4, 3), np.uint8), Layout(RGB, tags=dict.fromkeys(sizes, (0,))))
    encoded = bytearray(picture.ljust(1_600_000, b"\0"))
    for tag, size in sizes.items():
        struct.pack_into("<HHII", encoded, encoded.index(struct.pack("<HHI", tag, 3, 1)), tag, 1, size, 8)
    return bytes(encoded)


GREY_16 = GREY.astype("u2")
RAW = store_after(encode_tiff(GREY_16, Layout(32803)), {254: (1,)}, is_subdirectory=True)
MINUS = {"i1": -128, "i2": -1000, "i4": -1}
REFUSED = [
    (encode_photograph(tags={258: (5, 6, 5)}), "has samples of different kinds in a pixel (5, 6, 5 bits)"),
    (encode_photograph(tags={258: (12, 12, 12)}), "has 12-bit unsigned samples (3 a pixel"),
    (encode_photograph(tags={339: (5, 5, 5)}), "has 8-bit complex samples"),
    (encode_photograph(tags={259: (52546,)}), "has compression 52546"),
    (encode_photograph(32803), "has a camera's raw sensor data"),
    (encode_photograph(9), "has 3 sample(s) a pixel of photometric interpretation 9"),
    (encode_photograph(6), "has uncompressed YCbCr with fewer colour samples than pixels"),
    (encode_photograph(SEPARATED), "has 3 sample(s) a pixel of photometric interpretation 5"),
    (encode_tiff(take_channels(SEPARATED), Layout(SEPARATED, tags={332: (2,)})), "has inks other than CMYK"),
    (encode_tiff(deepen(GREY, np.dtype("f4")), Layout(tile_px=16, tags={323: (0,)})), "its tiles have no size"),
    (encode_tiff(GREY_16, Layout(PALETTE)), "has 16-bit unsigned samples (1 a pixel"),
    (RAW, "has a camera's raw sensor data"),
    *((encode_tiff(np.full((9, 9, 1), low, t)), f"signed samples down to {low:,}") for t, low in MINUS.items()),
    *((put_pixels_outside(*kind), "its pixels need") for kind in product(("u1", "f4"), (NONE, DEFLATE))),
    (enlarge_tags({320: 1_500_000}), "tag 320 has 1,500,000 values; 1,048,576 are allowed"),
    (enlarge_tags({292: 900_000, 293: 900_000}), "overlap"),
]


@pytest.mark.parametrize(("encoded", "reason"), REFUSED, ids=[reason for _, reason in REFUSED])
def test_a_tiff_that_is_not_read_is_refused_with_the_reason(encoded: bytes, reason: str) -> None:
    with pytest.raises(UndecodableImageError, match=re.escape(reason)):
        read(encoded)
