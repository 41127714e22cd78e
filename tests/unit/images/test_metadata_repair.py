"""An image with damaged metadata and intact pixels is decoded, with a warning."""

import struct
import zlib
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.images.encodings import (
    RECIPE,
    convert,
    encode,
    exif_with_orientation,
    insert_png_chunk,
    load_photograph,
    png_chunk,
    read,
)
from tests.unit.images.tiffs import RGB, Layout, encode_tiff

SMALL_RECIPE = replace(RECIPE, height_px=24, width_px=32)
PHOTOGRAPH = load_photograph().resize((40, 30))
JPEG = encode(PHOTOGRAPH, "JPEG", progressive=True)
PNGS = {mode: encode(convert(PHOTOGRAPH, mode), "PNG") for mode in ("RGB", "L", "P", "RGBA", "LA")}
TRANSPARENT = encode(convert(PHOTOGRAPH, "P"), "PNG", transparency=bytes([0, 128] * 128))
TURNED = {kind: encode(PHOTOGRAPH, kind, exif=exif_with_orientation(6)) for kind in ("JPEG", "PNG")}
WEBPS = [encode(PHOTOGRAPH, "WEBP", lossless=lossless, icc_profile=b"a profile") for lossless in (False, True)]
GIFS = [encode(PHOTOGRAPH, "GIF"), encode(PHOTOGRAPH, "GIF", save_all=True, append_images=[PHOTOGRAPH.rotate(90)])]
TIFF = encode_tiff(np.asarray(PHOTOGRAPH), Layout(photometric=RGB))
BOMB = zlib.compress(bytes(1_500_000))
"""More than Pillow lets a chunk of text or a profile become."""
DROPPED_WITH_METADATA = {"icc_profile_ignored", "first_frame_used"}


def insert_segments(*segments: tuple[int, bytes], jpeg: bytes = JPEG) -> bytes:
    packed = (b"\xff" + bytes([marker]) + struct.pack(">H", len(body) + 2) + body for marker, body in segments)
    return jpeg[:2] + b"".join(packed) + jpeg[2:]


def icc_piece(number: int, count: int) -> tuple[int, bytes]:
    return 0xE2, b"ICC_PROFILE\0" + bytes([number, count]) + b"part of a profile"


def append_webp_chunk(whole: bytes, kind: bytes, data: bytes, size_bytes: int) -> bytes:
    appended = whole + kind + struct.pack("<I", size_bytes) + data
    return appended[:4] + struct.pack("<I", len(appended) - 8) + appended[8:]


def insert_extension(gif: bytes, extension: bytes) -> bytes:
    at = 13 + (3 << (gif[10] & 7) + 1)
    return gif[:at] + extension + gif[at:]


def place_tag_outside(tag: int) -> bytes:
    """A TIFF whose tag has its values beyond the end of the file."""
    encoded = bytearray(encode_tiff(np.asarray(PHOTOGRAPH), Layout(photometric=RGB, tags={tag: (1, 2, 3)})))
    struct.pack_into("<I", encoded, encoded.index(struct.pack("<HHI", tag, 3, 3)) + 8, 0xFFFFFFF0)
    return bytes(encoded)


SEGMENTS = [
    *([icc_piece(1, 2)], [icc_piece(2, 2)], [icc_piece(1, 2), icc_piece(1, 2)], [icc_piece(1, 2), icc_piece(2, 3)]),
    *([icc_piece(0, 0)], [(0xE2, b"ICC_PROFILE\0\x01")], [(0xE0, b"JFIF\0")], [(0xEE, b"Adobe\0")]),
    *([(0xED, b"Photoshop 3.0\x008BIM\x04\x04")], [(0xE1, b"Exif\0\0MM\0*\xff\xff\xff\xff")]),
]
CHUNKS = [
    *((b"iCCP", b"name\0\0" + BOMB), (b"iCCP", b"name\0\x01profile"), (b"iCCP", b""), (b"zTXt", b"key\0\0" + BOMB)),
    *((b"zTXt", b"key\0\x02text"), (b"iTXt", b"key\0\x01\0\0\0" + BOMB), (b"gAMA", b"\0"), (b"cHRM", b"\0")),
    *((b"pHYs", b"\0"), (b"sRGB", b""), (b"acTL", b"\0"), (b"fcTL", b"\0")),
]
MISPLACED_TRANSPARENCY = [
    ("RGB", PHOTOGRAPH.tobytes()[:3], "before the pixels"),
    ("RGB", bytes(6), "after the pixels"),
    ("L", b"\0", "before the pixels"),
    ("P", bytes(256), "before the pixels"),
    ("P", bytes(256), "after the pixels"),
]
EXTENSIONS = [b"!\xf9\x01\0\0", b"!\xff\0", b"!\xff\x0bNETSCAPE2.0\0", b"!\x01\0"]
BAD_CHUNK, BAD_CHECKSUM = png_chunk(b"gAMA", b""), png_chunk(b"tEXt", b"key\0text")[:-1] + b"?"
PLACES = ("before the pixels", "after the pixels")
DAMAGED = [
    *((insert_segments(*segments), JPEG) for segments in SEGMENTS),
    (insert_segments((0xE2, b"ICC_PROFILE\0\x01\x02"), jpeg=TURNED["JPEG"]), TURNED["JPEG"]),
    *((insert_png_chunk(PNGS["RGB"], png_chunk(*chunk), place), PNGS["RGB"]) for chunk in CHUNKS for place in PLACES),
    *((insert_png_chunk(PNGS["RGB"], BAD_CHECKSUM, place), PNGS["RGB"]) for place in PLACES),
    *((insert_png_chunk(png, BAD_CHUNK), png) for png in (*PNGS.values(), TRANSPARENT, TURNED["PNG"])),
    *((insert_png_chunk(PNGS[m], png_chunk(b"tRNS", data), at), PNGS[m]) for m, data, at in MISPLACED_TRANSPARENCY),
    *((append_webp_chunk(whole, b"EXIF", b"short", 1000), whole) for whole in WEBPS),
    *((insert_extension(whole, extension), whole) for whole in GIFS for extension in EXTENSIONS),
    *((place_tag_outside(tag), TIFF) for tag in (270, 305, 700, 33723, 34377, 34665, 34675)),
]


@pytest.mark.parametrize(("damaged", "whole"), DAMAGED, ids=range(len(DAMAGED)))
def test_damaged_metadata_are_dropped_with_a_warning(damaged: bytes, whole: bytes) -> None:
    prepared, expected = read(damaged, SMALL_RECIPE), read(whole, SMALL_RECIPE)
    assert (prepared.pixels_hwc == expected.pixels_hwc).all()
    kept = [warning for warning in expected.warnings if warning not in DROPPED_WITH_METADATA]
    assert prepared.warnings == ("metadata_ignored", *kept)


@pytest.mark.parametrize(
    "segments",
    [[icc_piece(2, 2), icc_piece(1, 2)], [(0xE0, b"")], [(0xE1, b"Exif")], [(0xE2, b"ICC_PROFILE")], [(0xFE, b"")]],
)
def test_segments_out_of_order_or_of_no_known_kind_are_no_damage(segments: list[tuple[int, bytes]]) -> None:
    assert "metadata_ignored" not in read(insert_segments(*segments), SMALL_RECIPE).warnings


def test_a_damaged_chunk_after_the_end_of_a_png_is_not_read() -> None:
    assert read(insert_png_chunk(PNGS["RGB"], BAD_CHECKSUM, "after the end"), SMALL_RECIPE).warnings == ()


SIGNATURES = [
    *(b"JFIF\0", b"JFXX\0", b"Exif\0\0", b"Exif\0\0II*\0\x08\0\0\0", b"http://ns.adobe.com/xap/1.0/\0"),
    *(b"ICC_PROFILE\0", b"FPXR\0", b"MPF\0II*\0\x08\0\0\0", b"Photoshop 3.0\x008BIM", b""),
]
KINDS = [
    *(b"iCCP", b"zTXt", b"iTXt", b"tEXt", b"gAMA", b"cHRM", b"pHYs", b"sRGB", b"sBIT", b"bKGD", b"hIST", b"tIME"),
    *(b"sPLT", b"acTL", b"fcTL", b"caBX", b"cICP", b"prVt"),
]
STARTS = [b"", b"name\0\0" + BOMB, b"name\0\x01", b"name\0\x01\0\0\0" + BOMB, b"name\0"]
bodies = st.binary(max_size=60)


@st.composite
def jpegs(draw: st.DrawFn) -> tuple[bytes, bytes]:
    markers = st.sampled_from([*range(0xE0, 0xEE), 0xEF, 0xFE])
    contents = st.builds(bytes.__add__, st.sampled_from(SIGNATURES), bodies)
    return insert_segments(*draw(st.lists(st.tuples(markers, contents), min_size=1, max_size=3))), JPEG


@st.composite
def pngs(draw: st.DrawFn) -> tuple[bytes, bytes]:
    whole = PNGS[draw(st.sampled_from(sorted(PNGS)))]
    chunk = png_chunk(draw(st.sampled_from(KINDS)), draw(st.sampled_from(STARTS)) + draw(bodies))
    chunk = chunk[:-1] + bytes([chunk[-1] ^ draw(st.booleans())])
    return insert_png_chunk(whole, chunk, draw(st.sampled_from([*PLACES, "after the end"]))), whole


@st.composite
def gifs(draw: st.DrawFn) -> tuple[bytes, bytes]:
    whole = draw(st.sampled_from(GIFS))
    blocks = b"".join(bytes([len(block)]) + block for block in draw(st.lists(bodies, max_size=3)) if block)
    extension = bytes([0x21, draw(st.sampled_from([0x01, 0xFE, 0xFF, 0x07]))]) + blocks + b"\0"
    return draw(st.sampled_from([insert_extension(whole, extension), whole[:-1] + extension])), whole


@st.composite
def webps(draw: st.DrawFn) -> tuple[bytes, bytes]:
    whole, data = draw(st.sampled_from(WEBPS)), draw(bodies)
    size_bytes = draw(st.one_of(st.just(len(data)), st.integers(61, 2**32 - 1)))
    kind = draw(st.sampled_from([b"EXIF", b"XMP ", b"ICCP", b"JUNK"]))
    return append_webp_chunk(whole, kind, data + bytes(len(data) % 2), size_bytes), whole


@settings(max_examples=150)
@pytest.mark.parametrize("files", [jpegs(), pngs(), gifs(), webps()], ids=["JPEG", "PNG", "GIF", "WEBP"])
@given(data=st.data())
def test_any_metadata_leave_the_picture(files: st.SearchStrategy[tuple[bytes, bytes]], data: st.DataObject) -> None:
    damaged, whole = data.draw(files)
    assert (read(damaged, SMALL_RECIPE).pixels_hwc == read(whole, SMALL_RECIPE).pixels_hwc).all()
