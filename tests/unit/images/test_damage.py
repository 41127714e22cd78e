import struct
import warnings

import pytest

from bento_service.errors import UndecodableImageError
from bento_service.images.pillow_reader import silence_pillow
from tests.unit.images.encodings import (
    encode,
    encode_every_kind,
    insert_png_chunk,
    load_photograph,
    png_chunk,
    read,
)

JPEG = encode(load_photograph(), "JPEG", quality=90)
PROGRESSIVE = encode(load_photograph(), "JPEG", progressive=True)
SMALL = encode(load_photograph().resize((32, 32)).convert("CMYK"), "JPEG", progressive=True)
PNG = encode(load_photograph().resize((40, 30)), "PNG")
PRECISION_AT = JPEG.index(b"\xff\xc0") + 4


def repeat_scan(jpeg: bytes, start: int, count: int) -> bytes:
    return jpeg[:-2] + jpeg[start:-2] * count + jpeg[-2:]


def make_hole(mode: str) -> bytes:
    encoded = encode(load_photograph().convert(mode), "JPEG", quality=90)
    return encoded[:9000] + encoded[12_000:]


REFUSED = {
    **{f"JPEG less {cut} bytes": (JPEG[:-cut], "send the whole file") for cut in (1, 2, 3, 1000)},
    **{f"progressive less {cut} bytes": (PROGRESSIVE[:-cut], "send the whole file") for cut in (1, 2, 3, 1000)},
    **{f"hole in {mode}": (make_hole(mode), "premature end of data segment") for mode in ("RGB", "L", "CMYK")},
    "50 scans": (repeat_scan(SMALL, SMALL.rindex(b"\xff\xda"), 50), "Inconsistent progression"),
    "200 scans": (repeat_scan(SMALL, SMALL.rindex(b"\xff\xda"), 200), "more than 100 scans"),
    "300 complete scans": (repeat_scan(JPEG, JPEG.index(b"\xff\xda"), 300), "broken data stream"),
    "12 bits": (JPEG[:PRECISION_AT] + b"\x0c" + JPEG[PRECISION_AT + 1 :], "12-bit"),
    "JPEG of damaged metadata": (JPEG[:2] + b"\xff\xe2\0\x10ICC_PROFILE\0\1\2" + JPEG[2:-400], "Premature end"),
    "PNG of damaged metadata": (insert_png_chunk(PNG, png_chunk(b"gAMA", b""))[:-400], "truncated"),
    "unknown WEBP chunk": (b"RIFF" + struct.pack("<I", 22) + b"WEBPJUNK" + struct.pack("<I", 10) + bytes(10), "JUNK"),
}


@pytest.mark.parametrize(("encoded", "reason"), REFUSED.values(), ids=REFUSED)
def test_a_damaged_file_is_refused_with_the_reason(encoded: bytes, reason: str) -> None:
    with pytest.raises(UndecodableImageError, match=reason):
        read(encoded)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("kind", sorted(encode_every_kind().keys() - {"gif animated", "avif animated", "tiff pages"}))
def test_a_truncated_file_of_any_kind_is_refused(kind: str, share: float) -> None:
    encoded = encode_every_kind()[kind]
    with pytest.raises(UndecodableImageError):
        read(encoded[: int(len(encoded) * share)])


def test_a_flipped_bit_of_a_png_is_refused() -> None:
    for position in range(8, len(PNG), 7):
        damaged = bytearray(PNG)
        damaged[position] ^= 1
        with pytest.raises(UndecodableImageError):
            read(bytes(damaged))


def test_an_animation_with_a_whole_first_frame_is_read() -> None:
    encoded = encode_every_kind()["gif animated"]
    assert read(encoded[:-100]).warnings == ("first_frame_used", "palette_converted")


def test_a_jpeg_with_stray_bytes_is_read_with_a_warning() -> None:
    prepared = read(JPEG[:-2] + b"\0\0\0\0" + JPEG[-2:])
    assert prepared.warnings == ("damage_tolerated",)
    assert (prepared.pixels_hwc == read(JPEG).pixels_hwc).all()


@pytest.mark.parametrize("further", [b"a phone's video", b"\xff\xda"], ids=["a video", "markers of scans"])
def test_bytes_after_the_end_of_a_jpeg_are_no_damage(further: bytes) -> None:
    assert read(JPEG + further * 1000).warnings == ()


def test_silenced_pillow_gives_no_warnings() -> None:
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        silence_pillow()
        warnings.warn_explicit("odd metadata", UserWarning, "", 1, module="PIL.TiffImagePlugin")
        warnings.warn_explicit("another's", UserWarning, "", 1, module="PILLOW")
    assert [str(warning.message) for warning in heard] == ["another's"]
