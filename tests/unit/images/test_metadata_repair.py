"""An image with damaged metadata and intact pixels is decoded, with a warning."""

import struct
import zlib
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bento_service.errors import UndecodableImageError
from tests.unit.images.encodings import (
    RECIPE,
    convert,
    encode,
    exif_with_orientation,
    load_photograph,
    png_chunk,
    read,
)
from tests.unit.images.tiffs import RGB, Layout, encode_tiff

SMALL_RECIPE = replace(RECIPE, height_px=24, width_px=32)
PHOTOGRAPH = load_photograph().resize((40, 30))
JPEG = encode(PHOTOGRAPH, "JPEG", progressive=True)
PNGS = {mode: encode(convert(PHOTOGRAPH, mode), "PNG") for mode in ("RGB", "L", "P", "RGBA", "LA")}
WEBPS = [encode(PHOTOGRAPH, "WEBP", lossless=lossless, icc_profile=b"a profile") for lossless in (False, True)]
GIFS = [encode(PHOTOGRAPH, "GIF"), encode(PHOTOGRAPH, "GIF", save_all=True, append_images=[PHOTOGRAPH.rotate(90)])]
BOMB = zlib.compress(bytes(1_500_000))
"""More than Pillow lets a chunk of text or a profile become."""


def assert_same_picture(damaged: bytes, whole: bytes, warnings: tuple[str, ...] | None = None) -> None:
    prepared, expected = read(damaged, SMALL_RECIPE), read(whole, SMALL_RECIPE)
    assert (prepared.pixels_hwc == expected.pixels_hwc).all()
    if warnings is not None:
        assert prepared.warnings == warnings


def insert_segments(*segments: tuple[int, bytes]) -> bytes:
    packed = (b"\xff" + bytes([marker]) + struct.pack(">H", len(body) + 2) + body for marker, body in segments)
    return JPEG[:2] + b"".join(packed) + JPEG[2:]


def icc_piece(number: int, count: int) -> tuple[int, bytes]:
    return 0xE2, b"ICC_PROFILE\0" + bytes([number, count]) + b"part of a profile"


def insert_chunk(png: bytes, chunk: bytes, place: str) -> bytes:
    at = {"before the pixels": 33, "after the pixels": len(png) - 12, "after the end": len(png)}[place]
    return png[:at] + chunk + png[at:]


@pytest.mark.parametrize(
    "segments",
    [
        *([icc_piece(1, 2)], [icc_piece(2, 2)], [icc_piece(1, 2), icc_piece(1, 2)], [icc_piece(1, 2), icc_piece(2, 3)]),
        *([icc_piece(0, 0)], [(0xE2, b"ICC_PROFILE\0\x01")], [(0xE0, b"JFIF\0")], [(0xEE, b"Adobe\0")]),
        *([(0xED, b"Photoshop 3.0\x008BIM\x04\x04")], [(0xE1, b"Exif\0\0MM\0*\xff\xff\xff\xff")]),
    ],
)
def test_a_damaged_segment_of_a_jpeg_is_dropped_with_a_warning(segments: list[tuple[int, bytes]]) -> None:
    assert_same_picture(insert_segments(*segments), JPEG, ("metadata_ignored",))


@pytest.mark.parametrize(
    "segments",
    [[icc_piece(2, 2), icc_piece(1, 2)], [(0xE0, b"")], [(0xE1, b"Exif")], [(0xE2, b"ICC_PROFILE")], [(0xFE, b"")]],
)
def test_segments_out_of_order_or_of_no_known_kind_are_no_damage(segments: list[tuple[int, bytes]]) -> None:
    assert "metadata_ignored" not in read(insert_segments(*segments), SMALL_RECIPE).warnings


@pytest.mark.parametrize("place", ["before the pixels", "after the pixels"])
@pytest.mark.parametrize("mode", PNGS)
@pytest.mark.parametrize(
    ("kind", "data"),
    [
        *((b"iCCP", b"name\0\0" + BOMB), (b"iCCP", b"name\0\x01profile"), (b"iCCP", b""), (b"zTXt", b"key\0\0" + BOMB)),
        *((b"zTXt", b"key\0\x02text"), (b"iTXt", b"key\0\x01\0\0\0" + BOMB), (b"gAMA", b"\0"), (b"cHRM", b"\0")),
        *((b"pHYs", b"\0"), (b"sRGB", b""), (b"acTL", b"\0"), (b"fcTL", b"\0")),
    ],
)
def test_a_damaged_ancillary_chunk_of_a_png_is_dropped(mode: str, kind: bytes, data: bytes, place: str) -> None:
    whole = PNGS[mode]
    expected = read(whole, SMALL_RECIPE).warnings
    damaged = insert_chunk(whole, png_chunk(kind, data), place)
    assert_same_picture(damaged, whole, ("metadata_ignored", *expected))


@pytest.mark.parametrize(
    ("place", "warnings"),
    [
        ("before the pixels", ("metadata_ignored",)),
        ("after the pixels", ("metadata_ignored",)),
        ("after the end", ()),
    ],
)
def test_an_ancillary_chunk_with_a_wrong_checksum_is_dropped(place: str, warnings: tuple[str, ...]) -> None:
    chunk = png_chunk(b"tEXt", b"key\0text")
    assert_same_picture(insert_chunk(PNGS["RGB"], chunk[:-1] + b"?", place), PNGS["RGB"], warnings)


def test_transparency_is_kept_when_other_chunks_are_dropped() -> None:
    palette = convert(PHOTOGRAPH, "P")
    whole = encode(palette, "PNG", transparency=bytes([0, 128] * 128))
    damaged = insert_chunk(whole, png_chunk(b"gAMA", b""), "before the pixels")
    assert_same_picture(damaged, whole, ("metadata_ignored", "palette_converted", "alpha_flattened"))


@pytest.mark.parametrize(
    ("mode", "data", "place"),
    [
        ("RGB", PHOTOGRAPH.tobytes()[:3], "before the pixels"),
        ("RGB", bytes(6), "after the pixels"),
        ("L", b"\0", "before the pixels"),
        ("P", bytes(256), "before the pixels"),
        ("P", bytes(256), "after the pixels"),
    ],
)
def test_transparency_that_is_cut_short_or_misplaced_is_dropped(mode: str, data: bytes, place: str) -> None:
    expected = read(PNGS[mode], SMALL_RECIPE).warnings
    damaged = insert_chunk(PNGS[mode], png_chunk(b"tRNS", data), place)
    assert_same_picture(damaged, PNGS[mode], ("metadata_ignored", *expected))


def test_the_orientation_is_kept_where_metadata_are_dropped() -> None:
    exif = exif_with_orientation(6)
    jpeg, png = encode(PHOTOGRAPH, "JPEG", exif=exif), encode(PHOTOGRAPH, "PNG", exif=exif)
    segment = b"\xff\xe2\0\x10ICC_PROFILE\0\x01\x02"
    for damaged, whole in (
        (jpeg[:2] + segment + jpeg[2:], jpeg),
        (insert_chunk(png, png_chunk(b"gAMA", b""), "before the pixels"), png),
    ):
        assert_same_picture(damaged, whole, ("metadata_ignored", "exif_orientation_applied"))


@pytest.mark.parametrize("whole", WEBPS)
def test_a_webp_chunk_that_reaches_beyond_the_file_is_dropped(whole: bytes) -> None:
    damaged = whole + b"EXIF" + struct.pack("<I", 1000) + b"short"
    damaged = damaged[:4] + struct.pack("<I", len(damaged) - 8) + damaged[8:]
    assert_same_picture(damaged, whole, ("metadata_ignored",))


@pytest.mark.parametrize("extension", [b"!\xf9\x01\0\0", b"!\xff\0", b"!\xff\x0bNETSCAPE2.0\0", b"!\x01\0"])
@pytest.mark.parametrize("whole", GIFS)
def test_a_malformed_extension_of_a_gif_is_dropped(whole: bytes, extension: bytes) -> None:
    at = 13 + (3 << (whole[10] & 7) + 1)
    assert_same_picture(whole[:at] + extension + whole[at:], whole, ("metadata_ignored", "palette_converted"))


@pytest.mark.parametrize("tag", [270, 305, 700, 33723, 34377, 34665, 34675])
def test_a_tiff_tag_whose_values_lie_outside_the_file_is_ignored(tag: int) -> None:
    samples = np.asarray(PHOTOGRAPH)
    whole = encode_tiff(samples, Layout(photometric=RGB))
    damaged = bytearray(encode_tiff(samples, Layout(photometric=RGB, tags={tag: (1, 2, 3)})))
    entry = damaged.index(struct.pack("<HHI", tag, 3, 3))
    damaged[entry + 8 : entry + 12] = struct.pack("<I", 0xFFFFFFF0)
    assert_same_picture(bytes(damaged), whole, ("metadata_ignored",))


def test_damaged_pixels_are_refused_whatever_the_metadata_are() -> None:
    jpeg = insert_segments(icc_piece(1, 2))
    png = insert_chunk(PNGS["RGB"], png_chunk(b"gAMA", b""), "before the pixels")
    for cut in (jpeg[:-400], png[:-400]):
        with pytest.raises(UndecodableImageError, match=r"truncated|Premature end"):
            read(cut, SMALL_RECIPE)


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


@settings(max_examples=150)
@given(
    segments=st.lists(
        st.tuples(st.sampled_from([*range(0xE0, 0xEE), 0xEF, 0xFE]), st.sampled_from(SIGNATURES), bodies),
        min_size=1,
        max_size=3,
    )
)
def test_any_application_segments_leave_the_picture_of_a_jpeg(segments: list[tuple[int, bytes, bytes]]) -> None:
    damaged = insert_segments(*((marker, signature + body) for marker, signature, body in segments))
    assert_same_picture(damaged, JPEG)


@settings(max_examples=150)
@given(
    mode=st.sampled_from(sorted(PNGS)),
    kind=st.sampled_from(KINDS),
    data=st.tuples(st.sampled_from(STARTS), bodies),
    place=st.sampled_from(["before the pixels", "after the pixels", "after the end"]),
    is_checksum_right=st.booleans(),
)
def test_any_chunk_that_a_png_does_not_need_leaves_its_picture(
    mode: str, kind: bytes, data: tuple[bytes, bytes], place: str, is_checksum_right: bool
) -> None:
    chunk = png_chunk(kind, b"".join(data))
    chunk = chunk if is_checksum_right else chunk[:-1] + bytes([chunk[-1] ^ 1])
    assert_same_picture(insert_chunk(PNGS[mode], chunk, place), PNGS[mode])


@settings(max_examples=80)
@given(
    whole=st.sampled_from(GIFS), label=st.sampled_from([0x01, 0xFE, 0xFF, 0x07]), blocks=st.lists(bodies, max_size=3)
)
def test_any_extension_leaves_the_picture_of_a_gif(whole: bytes, label: int, blocks: list[bytes]) -> None:
    extension = bytes([0x21, label]) + b"".join(bytes([len(block)]) + block for block in blocks if block) + b"\0"
    at = 13 + (3 << (whole[10] & 7) + 1)
    assert_same_picture(whole[:at] + extension + whole[at:], whole)
    assert_same_picture(whole[:-1] + extension, whole)


@settings(max_examples=80)
@given(
    whole=st.sampled_from(WEBPS),
    kind=st.sampled_from([b"EXIF", b"XMP ", b"ICCP", b"JUNK"]),
    body=bodies,
    size_bytes=st.one_of(st.none(), st.integers(61, 2**32 - 1)),
)
def test_any_metadata_chunk_leaves_the_picture_of_a_webp(
    whole: bytes, kind: bytes, body: bytes, size_bytes: int | None
) -> None:
    size = struct.pack("<I", len(body) if size_bytes is None else size_bytes)
    damaged = whole + kind + size + body + bytes(len(body) % 2)
    assert_same_picture(damaged[:4] + struct.pack("<I", len(damaged) - 8) + damaged[8:], whole)
