"""Metadata that stop a decoder: finding damage to them, and copying a file without them."""

import contextlib
import re
import struct
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from bento_service.errors import UndecodableImageError
from bento_service.images.formats import ImageFormat
from bento_service.images.header import GIF_EXTENSION, GIF_IMAGE, palette_bytes


@dataclass(frozen=True, slots=True)
class BareFile:
    """A file without metadata. `info` has its `exif` and `xmp` under Pillow's names, for the orientation."""

    encoded: bytes
    info: Mapping[str, bytes]


def drop_metadata(encoded: bytes, image_format: ImageFormat) -> BareFile | None:
    """Copy a file without its metadata; None for formats whose metadata stop no decoder, and for files without pixels.

    Raises:
        UndecodableImageError: A PNG is truncated.
    """
    dropper = _DROPPERS.get(image_format)
    if dropper is None:
        return None
    with contextlib.suppress(IndexError, struct.error):
        return dropper(encoded)
    return None


def _drop_jpeg_segments(encoded: bytes) -> BareFile | None:
    """Leave out application segments and comments before the first scan (ITU-T T.81, B.1.1.4).

    Complete JFIF and Adobe segments stay, since they define the colour space.
    """
    parts, info = [encoded[:2]], dict[str, bytes]()
    position = 2
    while (found := _JPEG_MARKER.search(encoded, position)) is not None:
        marker, length_at = found[0][1], found.end()
        end = length_at + max(2, encoded[length_at] << 8 | encoded[length_at + 1])
        body = encoded[length_at + 2 : end]
        if marker == _START_OF_SCAN:
            parts.append(encoded[position:])
            return BareFile(b"".join(parts), info)
        if marker == _APP1 and body.startswith(_EXIF):
            info.setdefault("exif", body)
        elif marker == _APP1 and body.startswith(_JPEG_XMP):
            info.setdefault("xmp", body.removeprefix(_JPEG_XMP))
        is_jfif = marker == _APP0 and body.startswith(b"JFIF\0") and len(body) >= 14
        is_adobe = marker == _APP14 and body.startswith(b"Adobe") and len(body) >= 12
        is_kept = marker not in _JPEG_METADATA or is_jfif or is_adobe
        parts.append(encoded[position : end if is_kept else found.start()])
        position = end
    return None


def _drop_png_chunks(encoded: bytes) -> BareFile:
    """Keep the critical chunks (PNG specification, 5.4), and tRNS where it is valid."""
    parts, info = [encoded[:_PNG_SIGNATURE_BYTES]], dict[str, bytes]()
    for kind, start, end, is_valid in _walk_png_chunks(encoded):
        is_critical = not kind[0] & 0x20
        if is_critical or (kind == b"tRNS" and is_valid):
            parts.append(encoded[start:end])
        elif kind == b"eXIf" and is_valid:
            info.setdefault("exif", _EXIF + encoded[start + 8 : end - 4])
    return BareFile(b"".join(parts), info)


def _drop_webp_chunks(encoded: bytes) -> BareFile | None:
    """Keep the chunks with pixels and animation (RFC 9649, 2.7), and clear the flags of the others."""
    parts, info = list[bytes](), dict[str, bytes]()
    position = 12
    while position + 8 <= len(encoded):
        kind, length = struct.unpack_from("<4sI", encoded, position)
        end = position + 8 + length + length % 2
        data = encoded[position + 8 : position + 8 + length]
        if kind == b"VP8X":
            data = bytes([data[0] & ~_WEBP_METADATA_FLAGS]) + data[1:]
        if kind in _WEBP_PIXELS:
            parts.append(encoded[position : position + 8] + data + bytes(length % 2))
        elif kind == b"EXIF":
            info.setdefault("exif", data)
        elif kind == b"XMP ":
            info.setdefault("xmp", data)
        position = end
    if encoded[12:16] not in _WEBP_PIXELS:
        return None
    body = b"WEBP" + b"".join(parts)
    return BareFile(b"RIFF" + struct.pack("<I", len(body)) + body, info)


def _drop_gif_extensions(encoded: bytes) -> BareFile:
    """Keep the first frame and complete graphic control extensions, which hold its transparency (GIF89a, 23)."""
    position = 13 + palette_bytes(encoded[10])
    parts = [encoded[:position]]
    for label, start, end in _walk_gif_extensions(encoded):
        if label == _GIF_GRAPHIC_CONTROL and encoded[start] >= 4:
            parts.append(encoded[start - 2 : end])
        position = end
    if encoded[position] == GIF_IMAGE:
        data = position + 10 + palette_bytes(encoded[position + 9])
        parts.append(encoded[position : _find_end_of_blocks(encoded, data + 1)])
    return BareFile(b"".join(parts) + b";", {})


def check_png_chunks(encoded: bytes) -> None:
    """Verify each chunk's checksum and the place of tRNS (PNG specification, 5.3, 5.6 and 13.2).

    Pillow does not: it shows what it can of a damaged PNG.

    Raises:
        UndecodableImageError: A chunk is cut off, its checksum is wrong, or tRNS is misplaced.
    """
    for kind, _, _, is_valid in _walk_png_chunks(encoded):
        if not is_valid:
            raise UndecodableImageError(
                f"The PNG is corrupt: its {kind.decode('ascii', 'replace')} chunk has a wrong "
                f"{'checksum, size or place' if kind == b'tRNS' else 'checksum'}; export the image again."
            )


def check_gif_extensions(encoded: bytes) -> None:
    """Refuse a GIF with a malformed extension before its first frame, which Pillow misreads without an error.

    Raises:
        UndecodableImageError: An extension has no data, an application's has nothing but its name, or a graphic control
            extension has fewer than four bytes.
    """
    for label, start, end in _walk_gif_extensions(encoded):
        first_bytes = encoded[start] if start < len(encoded) else 0
        is_name_only = label == _GIF_APPLICATION and end == start + first_bytes + 2
        is_short = label == _GIF_GRAPHIC_CONTROL and first_bytes < 4
        if first_bytes == 0 or is_name_only or is_short:
            raise UndecodableImageError("The GIF has a malformed extension before its first frame; export it again.")


def _walk_png_chunks(encoded: bytes) -> Iterator[tuple[bytes, int, int, bool]]:
    """Yield type, start, end and validity of each chunk up to IEND.

    From start to end it includes its length, type and checksum. A tRNS chunk is valid where libpng uses it: before the
    pixels, and after the palette of a palette image.

    Raises:
        UndecodableImageError: A chunk is cut off, or there is no IEND.
    """
    view = memoryview(encoded)
    start, kind, before = _PNG_SIGNATURE_BYTES, b"", set[bytes]()
    while kind != b"IEND":
        if start + _PNG_FRAME_BYTES > len(view):
            raise UndecodableImageError("The PNG is truncated: it ends before its IEND chunk; send the whole file.")
        length, kind = struct.unpack_from(">I4s", view, start)
        end = start + _PNG_FRAME_BYTES + length
        if end > len(view):
            raise UndecodableImageError(
                f"The PNG is truncated: its {kind.decode('ascii', 'replace')} chunk needs {end} bytes and the file has "
                f"{len(view)}; send the whole file."
            )
        is_valid = zlib.crc32(view[start + 4 : end - 4]) == int.from_bytes(view[end - 4 : end], "big")
        if kind == b"tRNS":
            colour_type = view[_PNG_COLOUR_TYPE_OFFSET]
            is_in_place = b"IDAT" not in before and (colour_type != _PNG_PALETTE or b"PLTE" in before)
            is_valid &= is_in_place and length >= _MIN_TRANSPARENCY_BYTES.get(colour_type, 1)
        yield kind, start, end, is_valid
        before.add(kind)
        start = end


def _walk_gif_extensions(encoded: bytes) -> Iterator[tuple[int, int, int]]:
    """Yield label, start and end of the data of each extension before the first frame."""
    position = 13 + palette_bytes(encoded[10]) if len(encoded) > 10 else len(encoded)
    while encoded[position : position + 1] == bytes([GIF_EXTENSION]) and position + 2 < len(encoded):
        end = _find_end_of_blocks(encoded, position + 2)
        yield encoded[position + 1], position + 2, end
        position = end


def _find_end_of_blocks(encoded: bytes, position: int) -> int:
    """Return the end of a chain of GIF data sub-blocks, which may lie beyond the file."""
    while position < len(encoded) and encoded[position] != 0:
        position += 1 + encoded[position]
    return position + 1


_EXIF: Final = b"Exif\0\0"
_JPEG_XMP: Final = b"http://ns.adobe.com/xap/1.0/\0"
_JPEG_MARKER: Final = re.compile(rb"\xff[^\x00\xff]")
"""Bytes before a match are stray or fill bytes (B.1.1.2)."""
_APP0, _APP1, _APP14, _COMMENT, _START_OF_SCAN = 0xE0, 0xE1, 0xEE, 0xFE, 0xDA
_JPEG_METADATA: Final = frozenset({*range(0xE0, 0xF0), _COMMENT})
_PNG_SIGNATURE_BYTES = 8
_PNG_FRAME_BYTES = 12
"""Length, type and checksum around a chunk's data."""
_PNG_COLOUR_TYPE_OFFSET, _PNG_PALETTE = 25, 3
_MIN_TRANSPARENCY_BYTES: Final[Mapping[int, int]] = {0: 2, 2: 6}
"""By colour type: a grey level, or a colour, of two bytes a sample."""
_WEBP_PIXELS: Final = frozenset({b"VP8X", b"VP8 ", b"VP8L", b"ALPH", b"ANIM", b"ANMF"})
_WEBP_METADATA_FLAGS: Final = 0x20 | 0x08 | 0x04
"""ICC profile, EXIF and XMP."""
_GIF_GRAPHIC_CONTROL, _GIF_APPLICATION = 0xF9, 0xFF
_DROPPERS: Final[Mapping[ImageFormat, Callable[[bytes], BareFile | None]]] = {
    ImageFormat.JPEG: _drop_jpeg_segments,
    ImageFormat.PNG: _drop_png_chunks,
    ImageFormat.WEBP: _drop_webp_chunks,
    ImageFormat.GIF: _drop_gif_extensions,
}
