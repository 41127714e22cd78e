"""What a file says of itself in its first bytes: enough to tell what decoding it costs, in a few microseconds."""

import struct
from dataclasses import dataclass

from PIL.ExifTags import Base as Tag

from bento_service.errors import LightboxError
from bento_service.images.formats import ImageFormat, find_format
from bento_service.images.isobmff import BoxError, find_properties
from bento_service.images.reader import read_webp_size
from bento_service.images.tiff_directory import find_picture

_MAX_BLOCKS = 64
"""How many segments, fill bytes or blocks before the size are walked.

A camera writes about ten, a large ICC profile more.
"""
_FRAME_HEADERS = frozenset({*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC})
"""SOF0 to SOF15, which DHT, JPG and DAC lie among (ITU-T T.81, table B.1)."""
_PROGRESSIVE = frozenset({0xC2, 0xC6, 0xCA, 0xCE})
_GIF_EXTENSION, _GIF_IMAGE = 0x21, 0x2C


@dataclass(frozen=True, slots=True)
class Outline:
    """A file's format and its size in pixels; None where the size is not where it usually is.

    `is_progressive` says that a JPEG goes over its pixels several times.
    """

    format: ImageFormat
    pixels: int | None
    is_progressive: bool = False


def read_outline(encoded: bytes) -> Outline | None:
    """Tell format and size without opening the file; None where the format is none that Lightbox reads.

    Nothing is verified, which is the intake's part: the outline of a damaged file may be anything.
    """
    image_format = find_format(encoded)
    if image_format is None:
        return None
    try:
        if image_format is ImageFormat.JPEG:
            return _outline_jpeg(encoded)
        return Outline(image_format, _READERS[image_format](encoded))
    except (IndexError, OverflowError, struct.error, BoxError, LightboxError):
        return Outline(image_format, None)


def _outline_jpeg(encoded: bytes) -> Outline:
    position = 2
    for _ in range(_MAX_BLOCKS):
        marker = encoded[position + 1]
        if marker == 0xFF:  # a fill byte (B.1.1.2)
            position += 1
            continue
        if marker in _FRAME_HEADERS:
            height_px, width_px = struct.unpack_from(">HH", encoded, position + 5)
            return Outline(ImageFormat.JPEG, width_px * height_px, marker in _PROGRESSIVE)
        position += 2 + (encoded[position + 2] << 8 | encoded[position + 3])
    return Outline(ImageFormat.JPEG, None)


def _count_png(encoded: bytes) -> int:
    width_px, height_px = struct.unpack_from(">II", encoded, 16)
    return int(width_px * height_px)


def _count_webp(encoded: bytes) -> int:
    width_px, height_px = read_webp_size(encoded)
    return width_px * height_px


def _count_bmp(encoded: bytes) -> int:
    if struct.unpack_from("<I", encoded, 14) == (12,):  # OS/2's header
        width_px, height_px = struct.unpack_from("<HH", encoded, 18)
    else:
        width_px, height_px = struct.unpack_from("<ii", encoded, 18)  # rows from the top down count below zero
    return abs(int(width_px * height_px))


def _count_gif(encoded: bytes) -> int | None:
    """Count the pixels of the screen, or of what it grows to for its first frame."""
    screen = struct.unpack_from("<HH", encoded, 6)
    position = 13 + _palette_bytes(encoded[10])
    for _ in range(_MAX_BLOCKS):
        if encoded[position] == _GIF_IMAGE:
            left, top, width_px, height_px = struct.unpack_from("<HHHH", encoded, position + 1)
            return int(max(screen[0], left + width_px) * max(screen[1], top + height_px))
        if encoded[position] != _GIF_EXTENSION:
            return None
        position += 2
        for _ in range(_MAX_BLOCKS):
            size = encoded[position]
            position += 1 + size
            if size == 0:
                break
    return None


def _palette_bytes(flags: int) -> int:
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0


def _count_tiff(encoded: bytes) -> int | None:
    picture = find_picture(encoded)
    return picture.number(Tag.ImageWidth, 0) * picture.number(Tag.ImageLength, 0) or None


def _count_heif(encoded: bytes) -> int | None:
    """Count the pixels of the largest item: the picture itself, beside its tiles, thumbnail and depth."""
    sizes = (
        struct.unpack_from(">II", encoded, box.start + 4) for box in find_properties(encoded) if box.kind == b"ispe"
    )
    return max((width_px * height_px for width_px, height_px in sizes), default=None)


_READERS = {
    ImageFormat.PNG: _count_png,
    ImageFormat.WEBP: _count_webp,
    ImageFormat.GIF: _count_gif,
    ImageFormat.BMP: _count_bmp,
    ImageFormat.TIFF: _count_tiff,
    ImageFormat.HEIC: _count_heif,
    ImageFormat.AVIF: _count_heif,
}
