"""Format and size of an image from its first bytes, in microseconds and without a decoder."""

import math
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from PIL.ExifTags import Base as Tag

from bento_service.errors import LightboxError, TooManyPixelsError, UndecodableImageError
from bento_service.images.formats import ImageFormat, find_format
from bento_service.images.isobmff import BoxError, find_properties
from bento_service.images.tiff_directory import find_picture

_MAX_BLOCKS = 64
"""Segments and fill bytes read before the size. Cameras write about ten, a large ICC profile adds some."""
_FRAME_HEADERS = frozenset({*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC})
"""SOF0 to SOF15 without DHT, JPG and DAC (ITU-T T.81, table B.1)."""
_PROGRESSIVE = frozenset({0xC2, 0xC6, 0xCA, 0xCE})
GIF_IMAGE, GIF_EXTENSION = 0x2C, 0x21
"""First bytes of a frame and of an extension."""


@dataclass(frozen=True, slots=True)
class ImageHeader:
    """A file's format and its size in pixels, not verified. `pixels` is None where the size was not found.

    `is_progressive` is for JPEGs: decoding one takes several passes over its pixels.
    """

    format: ImageFormat
    pixels: int | None
    is_progressive: bool = False


def read_header(encoded: bytes) -> ImageHeader | None:
    """Read format and size; None where Lightbox does not read the format. The header of a damaged file may be wrong."""
    image_format = find_format(encoded)
    if image_format is None:
        return None
    try:
        if image_format is ImageFormat.JPEG:
            return _read_jpeg_header(encoded)
        size = _SIZE_READERS[image_format](encoded)
    except (IndexError, OverflowError, struct.error, BoxError, LightboxError):
        return ImageHeader(image_format, None)
    return ImageHeader(image_format, abs(math.prod(size)) or None)


def check_pixels(width_px: int, height_px: int, max_pixels: int) -> None:
    """Refuse an image larger than allowed.

    Raises:
        TooManyPixelsError: `width_px` times `height_px` exceeds `max_pixels`.
    """
    if width_px * height_px > max_pixels:
        raise TooManyPixelsError(
            f"The image is {width_px} x {height_px} = {width_px * height_px:,} pixels; {max_pixels:,} are allowed; "
            "send a smaller one.",
            pixels=width_px * height_px,
            max_pixels=max_pixels,
        )


def read_webp_size(encoded: bytes) -> tuple[int, int]:
    """Read width and height in pixels from a WebP's first chunk (RFC 9649, 2.5 to 2.7).

    Raises:
        UndecodableImageError: The chunk is none of the three kinds that may come first.
    """
    kind, body = encoded[12:16], encoded[20:30]
    if kind == b"VP8X" and len(body) == 10:
        return int.from_bytes(body[4:7], "little") + 1, int.from_bytes(body[7:10], "little") + 1
    if kind == b"VP8L" and len(body) >= 5:
        sizes = int.from_bytes(body[1:5], "little")
        return (sizes & 0x3FFF) + 1, (sizes >> 14 & 0x3FFF) + 1
    if kind == b"VP8 " and len(body) == 10:
        return int.from_bytes(body[6:8], "little") & 0x3FFF, int.from_bytes(body[8:10], "little") & 0x3FFF
    raise UndecodableImageError(f"The WEBP's first chunk is {kind!r} of {len(body)} bytes; send the whole file.")


def _read_jpeg_header(encoded: bytes) -> ImageHeader:
    position = 2
    for _ in range(_MAX_BLOCKS):
        marker = encoded[position + 1]
        if marker == 0xFF:  # a fill byte (B.1.1.2)
            position += 1
            continue
        if marker in _FRAME_HEADERS:
            height_px, width_px = struct.unpack_from(">HH", encoded, position + 5)
            return ImageHeader(ImageFormat.JPEG, width_px * height_px, marker in _PROGRESSIVE)
        position += 2 + (encoded[position + 2] << 8 | encoded[position + 3])
    return ImageHeader(ImageFormat.JPEG, None)


def _read_tiff_size(encoded: bytes) -> tuple[int, int]:
    picture = find_picture(encoded)
    return picture.number(Tag.ImageWidth, 0), picture.number(Tag.ImageLength, 0)


def _read_bmp_size(encoded: bytes) -> tuple[int, ...]:
    """Read the size, with a negative height where rows run from the top down; OS/2's header has 16 bits a side."""
    is_os2 = encoded[14:18] == b"\x0c\0\0\0"
    return struct.unpack_from("<HH" if is_os2 else "<ii", encoded, 18)


def _read_gif_size(encoded: bytes) -> tuple[int, int]:
    """Read the logical screen, extended to hold the first frame; (0, 0) where that is not found."""
    screen = struct.unpack_from("<HH", encoded, 6)
    position = 13 + palette_bytes(encoded[10])
    for _ in range(_MAX_BLOCKS):
        if encoded[position] == GIF_IMAGE:
            left, top, width_px, height_px = struct.unpack_from("<HHHH", encoded, position + 1)
            return max(screen[0], left + width_px), max(screen[1], top + height_px)
        if encoded[position] != GIF_EXTENSION:
            break
        position += 2
        for _ in range(_MAX_BLOCKS):
            size = encoded[position]
            position += 1 + size
            if size == 0:
                break
    return 0, 0


def palette_bytes(flags: int) -> int:
    """Return the size of a GIF's colour table, by the flags before it (GIF89a, 18 and 20)."""
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0


def _read_heif_size(encoded: bytes) -> tuple[int, ...]:
    """Read the size of the largest item, which is the whole picture and not a tile, thumbnail or depth map."""
    boxes = (box for box in find_properties(encoded) if box.kind == b"ispe")
    sizes = (struct.unpack_from(">II", encoded, box.start + 4) for box in boxes)
    return max(sizes, key=math.prod, default=(0, 0))


_SIZE_READERS: Final[Mapping[ImageFormat, Callable[[bytes], tuple[int, ...]]]] = {
    ImageFormat.PNG: lambda encoded: struct.unpack_from(">II", encoded, 16),
    ImageFormat.WEBP: read_webp_size,
    ImageFormat.GIF: _read_gif_size,
    ImageFormat.BMP: _read_bmp_size,
    ImageFormat.TIFF: _read_tiff_size,
    ImageFormat.HEIC: _read_heif_size,
    ImageFormat.AVIF: _read_heif_size,
}
