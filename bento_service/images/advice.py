"""Recognise common files that are not images, by their first bytes, and advise what to send instead."""

import base64
import binascii
import codecs
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

_HEAD_BYTES = 1024
"""Only this much of a body is examined."""


@dataclass(frozen=True, slots=True)
class Advice:
    """The two halves of the sentence "You sent …; …". Nothing in it is copied from the body."""

    what: str
    step: str

    def __str__(self) -> str:
        return f"You sent {self.what}; {self.step}."


_SEND_FILE: Final = "send the bytes of the image file itself"
_UNPACK: Final = "unpack it and send the image file inside"
_UNPACK_MANY: Final = "unpack it and send each image file, alone or in a batch"
_CONVERT: Final = "convert it to JPEG or PNG"
_DEVELOP: Final = "develop it to JPEG or PNG, or send the JPEG that the camera saved"
_FRAME: Final = "save one of its frames as JPEG or PNG and send that"
_RAW: Final = Advice("a camera's raw file", _DEVELOP)
_VIDEO: Final = Advice("a video", _FRAME)
_SOUND: Final = Advice("a sound file", "send an image")

_PREFIXES: Final = (
    (b"\x1f\x8b", Advice("gzip data", "unpack it, send the image file inside, and no Content-Encoding")),
    (b"\x28\xb5\x2f\xfd", Advice("Zstandard data", _UNPACK)),
    (b"BZh", Advice("bzip2 data", _UNPACK)),
    (b"\xfd7zXZ\0", Advice("xz data", _UNPACK)),
    (b"PK\x03\x04", Advice("a ZIP archive or an office document", _UNPACK_MANY)),
    (b"PK\x05\x06", Advice("an empty ZIP archive", "send the image files themselves")),
    (b"7z\xbc\xaf\x27\x1c", Advice("a 7z archive", _UNPACK_MANY)),
    (b"Rar!\x1a\x07", Advice("a RAR archive", _UNPACK_MANY)),
    (b"%PDF-", Advice("a PDF document", "export its page as JPEG or PNG, for instance with `pdftoppm -png`")),
    (b"%!PS", Advice("a PostScript document", "export its page as JPEG or PNG")),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", Advice("an office document", "export the image in it as JPEG or PNG")),
    (b"8BPS", Advice("a Photoshop document", "export it as JPEG or PNG")),
    (b"\xff\x0a", Advice("a JPEG XL image", _CONVERT)),
    (b"\0\0\0\x0cJXL \r\n\x87\n", Advice("a JPEG XL image", _CONVERT)),
    (b"\xff\x4f\xff\x51", Advice("a JPEG 2000 image", _CONVERT)),
    (b"\0\0\0\x0cjP  \r\n\x87\n", Advice("a JPEG 2000 image", _CONVERT)),
    (b"\0\0\x01\0", Advice("an icon", _CONVERT)),
    (b"#?RADIANCE", Advice("a Radiance image", _CONVERT)),
    (b"SIMPLE  =", Advice("a FITS image", _CONVERT)),
    *((b"P%d%c" % (kind, space), Advice("a PNM image", _CONVERT)) for kind in range(1, 8) for space in b" \n"),
    (b"FUJIFILMCCD-RAW", _RAW),
    (b"IIU\0", _RAW),
    (b"\x93NUMPY", Advice("a NumPy array", "encode it as PNG, for instance with Pillow's `Image.fromarray`")),
    (b"\x1aE\xdf\xa3", _VIDEO),
    (b"\0\0\x01\xba", _VIDEO),
    (b"OggS", Advice("a video or sound file", _FRAME)),
    (b"ID3", _SOUND),
    (b"fLaC", _SOUND),
    (b"\x7fELF", Advice("a program", _SEND_FILE)),
    (b"MZ", Advice("a program", _SEND_FILE)),
    (b"\xff\xfe", Advice("text", _SEND_FILE)),
    (b"\xfe\xff", Advice("text", _SEND_FILE)),
)
_BASE64: Final = Advice("base64 text", "decode it and send the bytes")
_SVG: Final = Advice("an SVG drawing", "render it to PNG")
_HTML: Final = Advice("an HTML page", f"{_SEND_FILE}; a failed download may have left a page in its place")
_JSON: Final = Advice("JSON", "send the image's bytes as the raw body or the form field `image`; base64 is not decoded")
_FORM: Final = Advice("a form of no declared type", "let the client set the Content-Type with its boundary")
_TEXT: Final = Advice("text", f"{_SEND_FILE}; names and addresses are not looked up")

_COMMENTS = rb"(?:(?><!--.*?-->)\s*)*+"
_TEXTS: Final = tuple(
    (re.compile(pattern, re.IGNORECASE | re.DOTALL), advice)
    for pattern, advice in (
        (rb"data:[\w.+-]*/?[\w.+-]*[;,]", Advice("a data URI", "decode what is behind its comma and send the bytes")),
        (rb"(?:https?|ftp|file|s3|gs)://\S*+\s*\Z", Advice("an address", "fetch the image and send its bytes")),
        (rb"b['\"]\w*\\x", Advice("Python bytes as text", "send the bytes and not their `str`")),
        (rb"version https://git-lfs", Advice("a Git LFS pointer", "run `git lfs pull` and send the image file")),
        (rb"(?:<\?xml[^>]*+>\s*)?" + _COMMENTS + rb"(?:<!doctype svg[^>]*+>\s*)?<svg[\s>/]", _SVG),
        (_COMMENTS + rb"<(?:!doctype html|html|head|body|title|meta|script|div|p|h1)[\s>]", _HTML),
        (rb"<", Advice("XML", _SEND_FILE)),
        (rb"[\[{\"]", _JSON),
    )
)
_BASE64_TEXT: Final = re.compile(rb"[A-Za-z0-9+/_-]{16,}+[A-Za-z0-9+/_=\r\n-]*+\s*\Z")
_NO_TEXT: Final = re.compile(rb"[\0-\x08\x0e-\x1a\x1c-\x1f\x7f]")
_MOVIE_BOXES: Final = frozenset({b"moov", b"mdat", b"wide", b"pnot"})


def advise(encoded: bytes, is_image: Callable[[bytes], bool]) -> Advice | None:
    """Return advice for bytes of an unknown image format; None where they are not recognised.

    Args:
        encoded: The body.
        is_image: Tells whether bytes begin like a supported image; for base64 text.
    """
    head = encoded[:_HEAD_BYTES]
    for prefix, advice in _PREFIXES:
        if head.startswith(prefix):
            return advice
    return _advise_on_container(head) or (None if _NO_TEXT.search(head) else _advise_on_text(head, is_image))


def _advise_on_container(head: bytes) -> Advice | None:
    """Recognise formats whose signature is not at the start."""
    if head[4:8] == b"ftyp":
        return _RAW if head[8:12] == b"crx " else _SOUND if head[8:11] == b"M4A" else _VIDEO
    if head[4:8] in _MOVIE_BOXES:
        return _VIDEO
    if head.startswith(b"RIFF"):
        return {b"AVI ": _VIDEO, b"WAVE": _SOUND}.get(head[8:12])
    if head.startswith(b"--") and b"content-disposition:" in head.lower():
        return _FORM
    return Advice("a tar archive", _UNPACK_MANY) if head[257:262] == b"ustar" else None


def _advise_on_text(head: bytes, is_image: Callable[[bytes], bool]) -> Advice | None:
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
            return _BASE64
    try:
        codecs.getincrementaldecoder("utf-8")().decode(text)  # its last character may be cut off
    except UnicodeDecodeError:
        return None
    return _TEXT
