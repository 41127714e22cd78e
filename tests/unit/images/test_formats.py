import base64
import gzip
import json
import tarfile

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bento_service.errors import UnsupportedFormatError
from bento_service.images.formats import ImageFormat, find_format, sniff
from tests.unit.images.encodings import encode, encode_every_kind, load_photograph

JPEG = encode(load_photograph().resize((40, 30)), "JPEG")
BASE64 = base64.b64encode(JPEG)


def _ftyp(brand: bytes) -> bytes:
    return b"\0\0\0\x14ftyp" + brand + bytes(4) + b"mp42" + bytes(20)


SENT = {
    "gzip": (gzip.compress(JPEG), "gzip", "unpack"),
    "ZIP": (b"PK\x03\x04" + JPEG, "ZIP", "unpack"),
    "tar": (tarfile.TarInfo("cat.jpg").tobuf(), "tar", "unpack"),
    "JSON": (json.dumps({"image": BASE64.decode()}).encode(), "JSON", "raw body"),
    "JSON after a mark": (b"\xef\xbb\xbf [1, 2]", "JSON", "raw body"),
    "base64": (BASE64, "base64", "decode"),
    "base64 in lines": (base64.encodebytes(JPEG), "base64", "decode"),
    "short base64": (b"/9j/4AAQSkZJRgABAQ", "base64", "decode"),
    "URL-safe base64": (base64.urlsafe_b64encode(JPEG), "base64", "decode"),
    "data URI": (b"data:image/jpeg;base64," + BASE64, "data URI", "comma"),
    "address": (b"https://example.org/cat.jpg\n", "address", "fetch"),
    "str of bytes": (str(JPEG).encode(), "Python bytes", "str"),
    "form": (b"--x\r\nContent-Disposition: form-data; name=image\r\n\r\n" + JPEG, "form", "Content-Type"),
    "LFS": (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n", "Git LFS", "git lfs pull"),
    "text": (b"A tabby cat, asleep.", "text", "image file"),
    "text of another alphabet": ("Кошка".encode() * 200, "text", "image file"),
    "HTML": (b"<!DOCTYPE html>\n<html><body>404</body></html>", "HTML", "download"),
    "HTML after a comment": (b"<!-- a --><!-- b -->\n<html>", "HTML", "download"),
    "XML": (b"<?xml version='1.0'?><Error/>", "XML", "image file"),
    "SVG": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "SVG", "render"),
    "SVG after a header": (b"<?xml version='1.0'?>\n<!-- a -->\n<svg>", "SVG", "render"),
    "JPEG XL in boxes": (b"\0\0\0\x0cJXL \r\n\x87\n" + bytes(9), "JPEG XL", "convert"),
    "JPEG 2000": (encode(load_photograph(), "JPEG2000"), "JPEG 2000", "convert"),
    "ICO": (encode(load_photograph(), "ICO"), "icon", "convert"),
    "PPM": (encode(load_photograph(), "PPM"), "PNM", "convert"),
    "CR3": (_ftyp(b"crx "), "raw", "develop"),
    "MP4": (_ftyp(b"isom"), "video", "frames"),
    "MOV": (_ftyp(b"qt  "), "video", "frames"),
    "old MOV": (b"\0\0\x10\0moov" + bytes(9), "video", "frames"),
    "AVI": (b"RIFF\0\0\0\0AVI LIST", "video", "frames"),
    "WAV": (b"RIFF\0\0\0\0WAVEfmt ", "sound", "image"),
    "M4A": (_ftyp(b"M4A "), "sound", "image"),
    "array": (np.lib.format.magic(1, 0), "NumPy", "PNG"),
}


@pytest.mark.parametrize("kind", SENT)
def test_what_is_no_image_is_named_with_what_to_do(kind: str) -> None:
    encoded, named, step = SENT[kind]
    with pytest.raises(UnsupportedFormatError, match=rf"You sent .*{named}.*; .*{step}"):
        sniff(encoded)


@pytest.mark.parametrize("kind", encode_every_kind())
def test_each_format_is_known_by_its_first_bytes(kind: str) -> None:
    assert sniff(encode_every_kind()[kind]) == kind.split(maxsplit=1)[0].upper()


def test_a_big_tiff_is_a_tiff() -> None:
    assert sniff(encode(load_photograph(), "TIFF", big_tiff=True)) is ImageFormat.TIFF


@pytest.mark.parametrize(
    "encoded",
    [
        b"{" * 10**7,
        b"A" * 10**7,
        b"<!---->" * 10**6,
        b"<!-- " * 10**6,
        b"<?xml" + b" " * 10**7,
        b"A cat. " * 200 + b"\0",
    ],
    ids=["braces", "base64", "comments", "open comment", "open header", "text before other bytes"],
)
def test_a_long_body_is_judged_by_its_beginning(encoded: bytes) -> None:
    with pytest.raises(UnsupportedFormatError) as long:
        sniff(encoded)
    with pytest.raises(UnsupportedFormatError) as short:
        sniff(encoded[:1024])
    assert long.value.message == short.value.message


@given(st.binary(max_size=300))
@example(b"GIF88a")
@example(b"\xff\xd8")
@example(b"\x89PNG\r\n")
def test_bytes_that_are_no_image_are_refused_with_the_formats(encoded: bytes) -> None:
    if find_format(encoded) is None:
        with pytest.raises(
            UnsupportedFormatError, match="Allowed: JPEG, PNG, WEBP, GIF, BMP, TIFF, HEIC, AVIF"
        ) as caught:
            sniff(encoded)
        assert caught.value.details["allowed"] == list(ImageFormat)


def test_the_error_quotes_nothing_from_the_body() -> None:
    with pytest.raises(UnsupportedFormatError) as caught:
        sniff(b"\xaa\xbb secret")
    assert "secret" not in caught.value.message
    assert "aa bb" not in caught.value.message
