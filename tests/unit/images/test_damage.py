import struct
import warnings

import pytest

from bento_service.errors import UndecodableImageError
from bento_service.images.pillow_reader import silence_pillow
from bento_service.images.preprocessing import preprocess
from tests.unit.images.encodings import LIMITS, RECIPE, encode, encode_every_kind, load_photograph

JPEG = encode(load_photograph(), "JPEG", quality=90)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
@pytest.mark.parametrize(
    "kind", [kind for kind in encode_every_kind() if kind not in {"gif animated", "avif animated", "tiff pages"}]
)
def test_a_truncated_file_of_any_kind_is_refused(kind: str, share: float) -> None:
    encoded = encode_every_kind()[kind]
    with pytest.raises(UndecodableImageError):
        preprocess(encoded[: int(len(encoded) * share)], RECIPE, LIMITS)


def test_an_animation_whose_first_frame_is_whole_is_read_although_the_rest_is_missing() -> None:
    encoded = encode_every_kind()["gif animated"]
    assert preprocess(encoded[:-100], RECIPE, LIMITS).warnings == ("first_frame_used", "palette_converted")


@pytest.mark.parametrize("cut_bytes", [1, 2, 3, 1000])
@pytest.mark.parametrize("progressive", [False, True])
def test_a_jpeg_that_lost_even_its_last_byte_is_refused(progressive: bool, cut_bytes: int) -> None:
    encoded = encode(load_photograph(), "JPEG", progressive=progressive)
    with pytest.raises(UndecodableImageError, match="send the whole file"):
        preprocess(encoded[:-cut_bytes], RECIPE, LIMITS)


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_a_jpeg_with_a_hole_in_its_pixels_is_refused(mode: str) -> None:
    encoded = encode(load_photograph().convert(mode), "JPEG", quality=90)
    with pytest.raises(UndecodableImageError, match="premature end of data segment"):
        preprocess(encoded[:9000] + encoded[12_000:], RECIPE, LIMITS)


def test_a_jpeg_with_stray_bytes_before_its_end_is_read_and_says_so() -> None:
    prepared = preprocess(JPEG[:-2] + b"\0\0\0\0" + JPEG[-2:], RECIPE, LIMITS)
    assert prepared.warnings == ("damage_tolerated",)
    assert (prepared.pixels_hwc == preprocess(JPEG, RECIPE, LIMITS).pixels_hwc).all()


def test_bytes_after_the_end_of_a_jpeg_are_no_damage() -> None:
    assert preprocess(JPEG + b"a phone's video" * 1000, RECIPE, LIMITS).warnings == ()


def test_a_jpeg_of_more_scans_than_any_encoder_writes_is_refused() -> None:
    encoded = encode(load_photograph().resize((32, 32)).convert("CMYK"), "JPEG", progressive=True)
    last_scan = encoded.rindex(b"\xff\xda")
    scan = encoded[last_scan:-2]
    with pytest.raises(UndecodableImageError, match="Inconsistent progression"):
        preprocess(encoded[:last_scan] + scan * 50 + b"\xff\xd9", RECIPE, LIMITS)
    with pytest.raises(UndecodableImageError, match="more than 100 scans"):
        preprocess(encoded[:last_scan] + scan * 200 + b"\xff\xd9", RECIPE, LIMITS)


def test_scan_markers_beyond_the_end_of_a_jpeg_do_not_count() -> None:
    assert preprocess(JPEG + b"\xff\xda" * 1000, RECIPE, LIMITS).warnings == ()


def test_a_twelve_bit_jpeg_is_refused_with_the_reason() -> None:
    precision_at = JPEG.index(b"\xff\xc0") + 4
    with pytest.raises(UndecodableImageError, match="12-bit"):
        preprocess(JPEG[:precision_at] + b"\x0c" + JPEG[precision_at + 1 :], RECIPE, LIMITS)


def test_a_flipped_bit_in_any_critical_chunk_of_a_png_is_refused() -> None:
    encoded = encode(load_photograph().resize((40, 30)), "PNG")
    for position in range(8, len(encoded), 7):
        damaged = bytearray(encoded)
        damaged[position] ^= 1
        with pytest.raises(UndecodableImageError):
            preprocess(bytes(damaged), RECIPE, LIMITS)


def test_a_png_chunk_longer_than_the_file_is_named() -> None:
    encoded = encode(load_photograph(), "PNG")
    with pytest.raises(UndecodableImageError, match="IDAT"):
        preprocess(encoded[: len(encoded) // 2], RECIPE, LIMITS)


def test_an_unknown_first_webp_chunk_is_refused() -> None:
    encoded = b"RIFF" + struct.pack("<I", 22) + b"WEBPJUNK" + struct.pack("<I", 10) + bytes(10)
    with pytest.raises(UndecodableImageError, match="JUNK"):
        preprocess(encoded, RECIPE, LIMITS)


def test_silenced_pillow_gives_no_warnings_about_metadata() -> None:
    encoded = encode(load_photograph(), "TIFF")
    directory = struct.unpack_from("<I", encoded, 4)[0]
    # A compression tag that claims two values: Pillow warns of it and takes the first.
    damaged = bytearray(encoded)
    for entry in range(directory + 2, directory + 2 + 12 * struct.unpack_from("<H", encoded, directory)[0], 12):
        if struct.unpack_from("<H", encoded, entry)[0] == 259:
            struct.pack_into("<I", damaged, entry + 4, 2)
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        preprocess(bytes(damaged), RECIPE, LIMITS)
        assert heard
        heard.clear()
        silence_pillow()
        preprocess(bytes(damaged), RECIPE, LIMITS)
        assert not heard
