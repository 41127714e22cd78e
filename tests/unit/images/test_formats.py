import pytest

from bento_service.errors import UnsupportedFormatError
from bento_service.images.formats import ImageFormat, sniff
from tests.unit.images.encodings import encode, encode_every_kind, load_photograph


@pytest.mark.parametrize("kind", encode_every_kind())
def test_each_format_is_known_by_its_first_bytes(kind: str) -> None:
    assert sniff(encode_every_kind()[kind]) == kind.split(maxsplit=1)[0].upper()


def test_a_big_tiff_is_a_tiff() -> None:
    assert sniff(encode(load_photograph(), "TIFF", big_tiff=True)) is ImageFormat.TIFF


@pytest.mark.parametrize("image_format", ["ICO", "PPM", "TGA", "PDF"])
def test_other_image_formats_are_refused_although_pillow_could_read_them(image_format: str) -> None:
    with pytest.raises(UnsupportedFormatError):
        sniff(encode(load_photograph(), image_format))


@pytest.mark.parametrize("encoded", [b"GIF88a", b"RIFF\0\0\0\0WAVE", b"\xff\xd8", b"<svg/>", b"\x89PNG\r\n"])
def test_bytes_that_only_resemble_an_image_are_refused(encoded: bytes) -> None:
    with pytest.raises(UnsupportedFormatError):
        sniff(encoded)


def test_the_error_lists_the_formats_and_quotes_nothing_from_the_body() -> None:
    with pytest.raises(UnsupportedFormatError, match=r"JPEG, PNG, WEBP, GIF, BMP, TIFF, HEIC, AVIF") as caught:
        sniff(b"\xaa\xbb secret")
    assert caught.value.details["allowed"] == ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "HEIC", "AVIF"]
    assert "secret" not in caught.value.message
    assert "aa bb" not in caught.value.message
