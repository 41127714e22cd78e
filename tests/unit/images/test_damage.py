import struct
import warnings

import pytest

from bento_service.errors import UndecodableImageError
from bento_service.images.pillow_reader import silence_pillow
from tests.unit.images.encodings import encode, encode_every_kind, load_photograph, read

JPEG = encode(load_photograph(), "JPEG", quality=90)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
@pytest.mark.parametrize(
    "kind", [kind for kind in encode_every_kind() if kind not in {"gif animated", "avif animated", "tiff pages"}]
)
def test_a_truncated_file_of_any_kind_is_refused(kind: str, share: float) -> None:
    encoded = encode_every_kind()[kind]
    with pytest.raises(UndecodableImageError):
        read(encoded[: int(len(encoded) * share)])


def test_an_animation_whose_first_frame_is_whole_is_read() -> None:
    encoded = encode_every_kind()["gif animated"]
    assert read(encoded[:-100]).warnings == ("first_frame_used", "palette_converted")


@pytest.mark.parametrize("cut_bytes", [1, 2, 3, 1000])
@pytest.mark.parametrize("progressive", [False, True])
def test_a_jpeg_that_lost_even_its_last_byte_is_refused(progressive: bool, cut_bytes: int) -> None:
    encoded = encode(load_photograph(), "JPEG", progressive=progressive)
    with pytest.raises(UndecodableImageError, match="send the whole file"):
        read(encoded[:-cut_bytes])


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_a_jpeg_with_a_hole_in_its_pixels_is_refused(mode: str) -> None:
    encoded = encode(load_photograph().convert(mode), "JPEG", quality=90)
    with pytest.raises(UndecodableImageError, match="premature end of data segment"):
        read(encoded[:9000] + encoded[12_000:])


def test_a_jpeg_with_stray_bytes_is_read_with_a_warning() -> None:
    prepared = read(JPEG[:-2] + b"\0\0\0\0" + JPEG[-2:])
    assert prepared.warnings == ("damage_tolerated",)
    assert (prepared.pixels_hwc == read(JPEG).pixels_hwc).all()


@pytest.mark.parametrize("further", [b"a phone's video", b"\xff\xda"], ids=["a video", "markers of scans"])
def test_bytes_after_the_end_of_a_jpeg_are_no_damage(further: bytes) -> None:
    assert read(JPEG + further * 1000).warnings == ()


def test_a_jpeg_of_too_many_scans_is_refused() -> None:
    encoded = encode(load_photograph().resize((32, 32)).convert("CMYK"), "JPEG", progressive=True)
    last_scan = encoded.rindex(b"\xff\xda")
    scan = encoded[last_scan:-2]
    with pytest.raises(UndecodableImageError, match="Inconsistent progression"):
        read(encoded[:last_scan] + scan * 50 + b"\xff\xd9")
    with pytest.raises(UndecodableImageError, match="more than 100 scans"):
        read(encoded[:last_scan] + scan * 200 + b"\xff\xd9")
    first_scan = JPEG.index(b"\xff\xda")
    with pytest.raises(UndecodableImageError):
        read(JPEG[:-2] + JPEG[first_scan:-2] * 300 + JPEG[-2:])


def test_a_twelve_bit_jpeg_is_refused_with_the_reason() -> None:
    precision_at = JPEG.index(b"\xff\xc0") + 4
    with pytest.raises(UndecodableImageError, match="12-bit"):
        read(JPEG[:precision_at] + b"\x0c" + JPEG[precision_at + 1 :])


def test_a_flipped_bit_in_any_critical_chunk_of_a_png_is_refused() -> None:
    encoded = encode(load_photograph().resize((40, 30)), "PNG")
    for position in range(8, len(encoded), 7):
        damaged = bytearray(encoded)
        damaged[position] ^= 1
        with pytest.raises(UndecodableImageError):
            read(bytes(damaged))


def test_an_unknown_first_webp_chunk_is_refused() -> None:
    encoded = b"RIFF" + struct.pack("<I", 22) + b"WEBPJUNK" + struct.pack("<I", 10) + bytes(10)
    with pytest.raises(UndecodableImageError, match="JUNK"):
        read(encoded)


def test_silenced_pillow_gives_no_warnings() -> None:
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        silence_pillow()
        warnings.warn_explicit("odd metadata", UserWarning, "", 1, module="PIL.TiffImagePlugin")
        warnings.warn_explicit("another's", UserWarning, "", 1, module="PILLOW")
    assert [str(warning.message) for warning in heard] == ["another's"]
