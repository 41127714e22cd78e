"""HEIC and AVIF from phones, encoders and attackers."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from bento_service.errors import TooManyPixelsError, UndecodableImageError
from tests.unit.images.encodings import encode, load_photograph, read, read_whole
from tests.unit.images.heif_files import (
    Part,
    grid,
    mirrored,
    put_together,
    recorded,
    reference,
    rotated,
    take_apart,
)

BRANDS = {"HEIC": b"heic", "AVIF": b"avif"}
SIZE = (48, 41)
MIRRORED = {0: Image.Transpose.FLIP_TOP_BOTTOM, 1: Image.Transpose.FLIP_LEFT_RIGHT}


def photograph(mode: str = "RGB") -> Image.Image:
    image = load_photograph().resize(SIZE).convert(mode)
    if mode == "RGBA":
        image.putalpha(Image.linear_gradient("L").resize(SIZE))
    return image


def coded(image_format: str) -> Part:
    """A coded picture of 64 x 64 pixels; x265 fills small ones up."""
    if image_format == "HEIC":
        return take_apart(recorded("colour_8.heic"))
    return take_apart(encode(load_photograph().resize((64, 64)), "AVIF"))


def assert_alike(encoded: bytes, expected: Image.Image, *, most: float = 1.0) -> None:
    shown = read_whole(encoded)
    assert shown.size == expected.size
    assert np.abs(np.asarray(shown).astype(int) - np.asarray(expected)).mean() <= most


def on_white(image: Image.Image) -> Image.Image:
    canvas = Image.new("RGBA", image.size, "white")
    return Image.alpha_composite(canvas, image.convert("RGBA")).convert("RGB")


@pytest.mark.parametrize(
    ("name", "warnings"),
    [
        ("colour_8.heic", ()),
        ("grey_8.heic", ("greyscale_converted",)),
        ("colour_10.heic", ("bit_depth_reduced",)),
        ("alpha_8.heic", ("alpha_flattened",)),
        ("deep.avif", ("bit_depth_reduced",)),
    ],
)
def test_a_file_is_read_as_by_the_reference_decoder(name: str, warnings: tuple[str, ...]) -> None:
    assert_alike(recorded(name), on_white(reference(name)))
    prepared = read(recorded(name))
    assert prepared.warnings == warnings
    assert prepared.info.format == name.rpartition(".")[2].upper()


@pytest.mark.parametrize(("mode", "warnings"), [("RGB", ()), ("L", ()), ("RGBA", ("alpha_flattened",))])
def test_an_avif_shows_what_was_encoded(mode: str, warnings: tuple[str, ...]) -> None:
    encoded = encode(photograph(mode), "AVIF", quality=95, subsampling="4:4:4")
    assert_alike(encoded, on_white(photograph(mode)), most=3)
    assert read(encoded).warnings == warnings


@pytest.mark.parametrize("image_format", BRANDS)
@pytest.mark.parametrize("axis", [None, 0, 1])
@pytest.mark.parametrize("quarters", range(4))
def test_a_picture_is_turned_and_then_mirrored(image_format: str, quarters: int, axis: int | None) -> None:
    part = coded(image_format)
    expected = read_whole(put_together(BRANDS[image_format], [part])).rotate(90 * quarters, expand=True)
    properties = [rotated(quarters)] if quarters else []
    if axis is not None:
        expected = expected.transpose(MIRRORED[axis])
        properties.append(mirrored(axis))
    assert_alike(put_together(BRANDS[image_format], [part.having(*properties)]), expected, most=0)


def with_exif_orientation(exif: Image.Exif) -> bytes:
    """Encode with an EXIF orientation of 6; Pillow writes the tag 0x0112 as `irot`, and so 0x0113 is renamed."""
    exif[0x0113] = 6
    encoded = encode(photograph(), "AVIF", exif=exif.tobytes())
    return encoded.replace(b"\x01\x13\0\x03", b"\x01\x12\0\x03")


def test_the_orientation_in_exif_or_xmp_is_ignored() -> None:
    upright = read_whole(encode(photograph(), "AVIF"))
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf tiff:Orientation="3"/></x:xmpmeta>'
    assert_alike(encode(photograph(), "AVIF", xmp=xmp), upright, most=0)
    exif = Image.Exif()
    assert_alike(with_exif_orientation(exif), upright, most=0)
    exif[0x0112] = 6
    assert_alike(with_exif_orientation(exif), upright.rotate(-90, expand=True), most=0)


@pytest.mark.parametrize("metadata", [b"", b"\xff\xff\xff\xff", b"\0\0\0\x06Exif\0\0MM\0*\xff\xff\xff\xff"])
@pytest.mark.parametrize("image_format", BRANDS)
def test_broken_heif_metadata_do_not_matter(image_format: str, metadata: bytes) -> None:
    exif = Part(b"Exif", metadata, (), {b"cdsc": [1]})
    whole = put_together(BRANDS[image_format], [coded(image_format)])
    assert_alike(put_together(BRANDS[image_format], [coded(image_format), exif]), read_whole(whole), most=0)


@pytest.mark.parametrize("image_format", BRANDS)
def test_a_grid_is_put_together_and_cut_to_its_size(image_format: str) -> None:
    tile = coded(image_format)
    expected = Image.new("RGB", (120, 64))
    for left_px in (0, 64):
        expected.paste(read_whole(put_together(BRANDS[image_format], [tile])), (left_px, 0))
    encoded = put_together(BRANDS[image_format], [grid(1, 2, 120, 64, [2, 3]), tile, tile])
    assert_alike(encoded, expected)
    assert read(encoded).warnings == ()


@pytest.mark.parametrize("primary", [1, 2])
def test_of_several_pictures_the_primary_one_is_taken(primary: int) -> None:
    parts = [coded("HEIC"), take_apart(recorded("grey_8.heic"))]
    prepared = read(put_together(b"heic", parts, primary=primary))
    assert prepared.warnings == (("first_frame_used",), ("first_frame_used", "greyscale_converted"))[primary - 1]


def test_a_thumbnail_is_no_second_picture() -> None:
    thumbnail = replace(coded("HEIC"), references={b"thmb": [1]})
    assert read(put_together(b"heic", [coded("HEIC"), thumbnail])).warnings == ()


def test_of_an_animation_the_first_frame_is_taken() -> None:
    encoded = encode(photograph(), "AVIF", save_all=True, append_images=[photograph().rotate(180)], subsampling="4:4:4")
    assert read(encoded).warnings == ("first_frame_used",)
    assert_alike(encoded, photograph(), most=5)


def test_a_motion_photo_appended_to_a_heic_is_ignored() -> None:
    encoded = put_together(b"heic", [coded("HEIC")], further=b"\0\0\0\x10mpvdSEFT\xff\xff\xff\xff" + b"trailer" * 9)
    assert read(encoded).warnings == ()


@pytest.mark.parametrize("image_format", BRANDS)
def test_a_giant_is_refused_by_its_declared_size(image_format: str) -> None:
    encoded = put_together(BRANDS[image_format], [coded(image_format).size(65_000, 65_000)])
    with pytest.raises(TooManyPixelsError, match=r"65000 x 65000 = 4,225,000,000 pixels; 50,000,000 are allowed"):
        read(encoded)


@pytest.mark.parametrize("image_format", BRANDS)
def test_a_giant_tile_or_alpha_of_a_small_picture_counts(image_format: str) -> None:
    giant = coded(image_format).size(60_000, 60_000)
    alpha = replace(giant, references={b"auxl": [1]})
    of_a_tile = replace(giant, references={b"auxl": [2]})
    for parts in (
        [grid(1, 1, 64, 64, [2]), giant],
        [coded(image_format), alpha],
        [grid(1, 1, 64, 64, [2]), coded(image_format), of_a_tile],
    ):
        with pytest.raises(TooManyPixelsError, match=r"its decoder has to hold 3,600,000,000"):
            read(put_together(BRANDS[image_format], parts))


def test_an_av1_stream_larger_than_its_picture_counts() -> None:
    large = take_apart(encode(Image.new("L", (640, 480)), "AVIF")).size(48, 41)
    with pytest.raises(TooManyPixelsError, match=r"48 x 41 pixels and its decoder has to hold 307,200"):
        read(put_together(b"avif", [large]), max_pixels=10_000)


def test_grids_of_grids_are_counted_in_time() -> None:
    layers = [grid(16, 16, 64, 64, [number] * 256) for number in range(2, 5)]
    with pytest.raises(TooManyPixelsError):
        read(put_together(b"heic", [*layers, coded("HEIC")]), max_pixels=10**6)


def test_the_av1_units_of_a_whole_file_are_limited() -> None:
    tile = replace(coded("AVIF"), data=b"\x12\0" * 100)
    with pytest.raises(UndecodableImageError, match="more than 8,192 units"):
        read(put_together(b"avif", [grid(10, 10, 640, 640, list(range(2, 102))), *[tile] * 100]))


def heic(*parts: Part, further: bytes = b"") -> bytes:
    return put_together(b"heic", parts, further=further)


def declare_bits(bits: int) -> bytes:
    """Declare more bits than the stream has; pi_heif's own scaling wrote beyond its samples here."""
    encoded = recorded("grey_8.heic")
    luma_bits_at = encoded.index(b"hvcC") + 4 + 17  # less 8, in the lowest three bits (ISO/IEC 14496-15, 8.3.3.1)
    return encoded[:luma_bits_at] + bytes([0xF8 | bits - 8]) + encoded[luma_bits_at + 1 :]


ONE = coded("HEIC")
TWO = heic(ONE, replace(ONE, references={b"thmb": [1]}))
GRID = grid(1, 1, 64, 64, [2])
REFUSED = {
    "part of itself": (heic(grid(1, 1, 64, 64, [1])), "deep"),
    "its own alpha": (heic(GRID, replace(ONE, references={b"auxl": [2]})), "deep"),
    "its part's alpha": (heic(replace(GRID, references={b"dimg": [2], b"auxl": [2]}), ONE), "deep"),
    "too many items": (heic(*[ONE] * 1100), "1,024 boxes"),
    "too many references": (heic(ONE, replace(ONE, references={b"dimg": [1] * 5000})), "4,096 times"),
    "no size": (heic(replace(ONE, properties=())), "no size"),
    "two metas": (heic(ONE, further=TWO), "two 'meta' boxes"),
    "a meta behind many boxes": (heic(ONE, further=b"\0\0\0\x08free" * 1100 + TWO), "1,024 boxes"),
    "two lists of properties": (TWO.replace(b"iref", b"iprp"), "two b'iprp' boxes"),
    "one id twice": (TWO.replace(b"infe\2\0\0\0\0\2", b"infe\2\0\0\0\0\1"), "two of its items have the id 1"),
    "too many properties": (heic(*[replace(ONE, properties=ONE.properties[:1] * 255)] * 260), "65,536 numbers"),
    "too many tracks": (heic(ONE, further=b"\0\0\0\x90moov" + b"\0\0\0\x08trak" * 17), "16 tracks"),
    **{f"{name} less a byte": (recorded(name)[:-1], "pixels end at byte") for name in ("alpha_8.heic", "deep.avif")},
    **{f"{bits} bits declared": (declare_bits(bits), "cannot decode image data") for bits in (10, 12, 15)},
    "coded as JPEG": (put_together(b"mif1", [replace(ONE, kind=b"jpeg")]), "jpeg"),
    "no picture": (b"\0\0\0\x14ftyphevc\0\0\0\0hevc\0\0\0\x08moov", "no primary image"),
}


@pytest.mark.parametrize(("encoded", "reason"), REFUSED.values(), ids=REFUSED)
def test_a_damaged_or_hostile_heif_is_refused(encoded: bytes, reason: str) -> None:
    with pytest.raises(UndecodableImageError, match=reason):
        read(encoded)
