"""Recognise common files that are not images, by their first bytes, and say what to send instead."""

import base64
import binascii
import codecs
import re
from collections.abc import Callable, Mapping
from typing import Final

_HEAD_BYTES = 1024
"""Only this much of a body is examined."""

_SEND_FILE: Final = "send the bytes of the image file itself"
_UNPACK: Final = "unpack it and send the image file inside"
_UNPACK_MANY: Final = "unpack it and send each image file, alone or in a batch"
_CONVERT: Final = "convert it to JPEG or PNG"
_EXPORT: Final = "export it as JPEG or PNG"
_FRAME: Final = "save one of its frames as JPEG or PNG and send that"
_RAW: Final = "a camera's raw file; develop it to JPEG or PNG, or send the JPEG that the camera saved"
_VIDEO: Final = f"a video; {_FRAME}"
_SOUND: Final = "a sound file; send an image"
_PNM: Final = tuple(b"P%d%c" % (kind, space) for kind in range(1, 8) for space in b" \n")

_SIGNATURES: Final[Mapping[str, tuple[bytes, ...]]] = {
    "gzip data; unpack it, send the image file inside, and no Content-Encoding": (b"\x1f\x8b",),
    f"Zstandard data; {_UNPACK}": (b"\x28\xb5\x2f\xfd",),
    f"bzip2 data; {_UNPACK}": (b"BZh",),
    f"xz data; {_UNPACK}": (b"\xfd7zXZ\0",),
    f"a ZIP archive or an office document; {_UNPACK_MANY}": (b"PK\x03\x04",),
    "an empty ZIP archive; send the image files themselves": (b"PK\x05\x06",),
    f"a 7z archive; {_UNPACK_MANY}": (b"7z\xbc\xaf\x27\x1c",),
    f"a RAR archive; {_UNPACK_MANY}": (b"Rar!\x1a\x07",),
    "a PDF document; export its page as JPEG or PNG, for instance with `pdftoppm -png`": (b"%PDF-",),
    "a PostScript document; export its page as JPEG or PNG": (b"%!PS",),
    "an office document; export the image in it as JPEG or PNG": (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1",),
    f"a Photoshop document; {_EXPORT}": (b"8BPS",),
    f"a JPEG XL image; {_CONVERT}": (b"\xff\x0a", b"\0\0\0\x0cJXL \r\n\x87\n"),
    f"a JPEG 2000 image; {_CONVERT}": (b"\xff\x4f\xff\x51", b"\0\0\0\x0cjP  \r\n\x87\n"),
    f"an icon; {_CONVERT}": (b"\0\0\x01\0",),
    f"a Radiance image; {_CONVERT}": (b"#?RADIANCE",),
    f"a FITS image; {_CONVERT}": (b"SIMPLE  =",),
    f"a PNM image; {_CONVERT}": _PNM,
    _RAW: (b"FUJIFILMCCD-RAW", b"IIU\0"),
    "a NumPy array; encode it as PNG, for instance with Pillow's `Image.fromarray`": (b"\x93NUMPY",),
    _VIDEO: (b"\x1aE\xdf\xa3", b"\0\0\x01\xba"),
    f"a video or sound file; {_FRAME}": (b"OggS",),
    _SOUND: (b"ID3", b"fLaC"),
    f"a program; {_SEND_FILE}": (b"\x7fELF", b"MZ"),
    f"text; {_SEND_FILE}": (b"\xff\xfe", b"\xfe\xff"),
}
"""The first bytes of files that are no images. A key says what the file is and what to do."""

_COMMENTS = rb"(?:(?><!--.*?-->)\s*)*+"
_TEXTS: Final = tuple(
    (re.compile(pattern, re.IGNORECASE | re.DOTALL), advice)
    for pattern, advice in (
        (rb"data:[\w.+-]*/?[\w.+-]*[;,]", "a data URI; decode what is behind its comma and send the bytes"),
        (rb"(?:https?|ftp|file|s3|gs)://\S*+\s*\Z", "an address; fetch the image and send its bytes"),
        (rb"b['\"]\w*\\x", "Python bytes as text; send the bytes and not their `str`"),
        (rb"version https://git-lfs", "a Git LFS pointer; run `git lfs pull` and send the image file"),
        (
            rb"(?:<\?xml[^>]*+>\s*)?" + _COMMENTS + rb"(?:<!doctype svg[^>]*+>\s*)?<svg[\s>/]",
            "an SVG drawing; render it to PNG",
        ),
        (
            _COMMENTS + rb"<(?:!doctype html|html|head|body|title|meta|script|div|p|h1)[\s>]",
            f"an HTML page; {_SEND_FILE}; a failed download may have left a page in its place",
        ),
        (rb"<", f"XML; {_SEND_FILE}"),
        (rb"[\[{\"]", "JSON; send the image's bytes as the raw body or the form field `image`; base64 is not decoded"),
    )
)
_BASE64_TEXT: Final = re.compile(rb"[A-Za-z0-9+/_-]{16,}+[A-Za-z0-9+/_=\r\n-]*+\s*\Z")
_NO_TEXT: Final = re.compile(rb"[\0-\x08\x0e-\x1a\x1c-\x1f\x7f]")
_MOVIE_BOXES: Final = frozenset({b"moov", b"mdat", b"wide", b"pnot"})


def advise(encoded: bytes, is_image: Callable[[bytes], bool]) -> str | None:
    """Return what the bytes of an unknown image format are and what to do; None where they are not recognised.

    Args:
        encoded: The body. Nothing of it is copied into the answer.
        is_image: Tells whether bytes begin like a supported image; for base64 text.
    """
    head = encoded[:_HEAD_BYTES]
    for advice, prefixes in _SIGNATURES.items():
        if head.startswith(prefixes):
            return advice
    return _advise_on_container(head) or (None if _NO_TEXT.search(head) else _advise_on_text(head, is_image))


def _advise_on_container(head: bytes) -> str | None:
    """Recognise formats whose signature is not at the start."""
    if head[4:8] == b"ftyp":
        return _RAW if head[8:12] == b"crx " else _SOUND if head[8:11] == b"M4A" else _VIDEO
    if head[4:8] in _MOVIE_BOXES:
        return _VIDEO
    if head.startswith(b"RIFF"):
        return {b"AVI ": _VIDEO, b"WAVE": _SOUND}.get(head[8:12])
    if head.startswith(b"--") and b"content-disposition:" in head.lower():
        return "a form of no declared type; let the client set the Content-Type with its boundary"
    return f"a tar archive; {_UNPACK_MANY}" if head[257:262] == b"ustar" else None


def _advise_on_text(head: bytes, is_image: Callable[[bytes], bool]) -> str | None:
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    for pattern, advice in _TEXTS:
        if pattern.match(text):
            return advice
    if _BASE64_TEXT.match(text):
        try:
            decoded = base64.b64decode(text[:64].translate(bytes.maketrans(b"-_", b"+/")) + b"==")
        except binascii.Error:
            decoded = b""
        if is_image(decoded) or len(text) >= 128:
            return "base64 text; decode it and send the bytes"
    try:
        codecs.getincrementaldecoder("utf-8")().decode(text)  # its last character may be cut off
    except UnicodeDecodeError:
        return None
    return f"text; {_SEND_FILE}; names and addresses are not looked up"
