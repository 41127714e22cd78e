"""Format and size of an image from its first bytes, in microseconds and without a decoder."""

import struct
from dataclasses import dataclass, field

from PIL.ExifTags import Base as Tag

from bento_service.errors import LightboxError, TooManyPixelsError, UndecodableImageError
from bento_service.images.formats import ImageFormat, find_format
from bento_service.images.isobmff import BoxError, find_properties
from bento_service.images.tiff_directory import Directory, find_picture

_MAX_BLOCKS = 64
"""Segments, fill bytes or blocks read before the size. Cameras write about ten, a large ICC profile adds some."""
_FRAME_HEADERS = frozenset({*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC})
"""SOF0 to SOF15 without DHT, JPG and DAC (ITU-T T.81, table B.1)."""
_PROGRESSIVE = frozenset({0xC2, 0xC6, 0xCA, 0xCE})
_GIF_EXTENSION, _GIF_IMAGE = 0x21, 0x2C


@dataclass(frozen=True, slots=True)
class ImageHeader:
    """A file's format and its size in pixels, not verified. `pixels` is None where the size was not found.

    `is_progressive` is for JPEGs: decoding one takes several passes over its pixels. `tiff` is the directory of a
    TIFF's picture, for `preprocess`, which need not read it again.
    """

    format: ImageFormat
    pixels: int | None
    is_progressive: bool = False
    tiff: Directory | None = field(default=None, repr=False, compare=False)


def read_header(encoded: bytes) -> ImageHeader | None:
    """Read format and size; None where Lightbox does not read the format. The header of a damaged file may be wrong."""
    image_format = find_format(encoded)
    if image_format is None:
        return None
    try:
        if image_format is ImageFormat.JPEG:
            return _read_jpeg_header(encoded)
        if image_format is ImageFormat.TIFF:
            return _read_tiff_header(encoded)
        return ImageHeader(image_format, _COUNTERS[image_format](encoded))
    except (IndexError, OverflowError, struct.error, BoxError, LightboxError):
        return ImageHeader(image_format, None)


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


def _read_tiff_header(encoded: bytes) -> ImageHeader:
    picture = find_picture(encoded)
    pixels = picture.number(Tag.ImageWidth, 0) * picture.number(Tag.ImageLength, 0)
    return ImageHeader(ImageFormat.TIFF, pixels or None, tiff=picture)


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
        width_px, height_px = struct.unpack_from("<ii", encoded, 18)  # negative heights: rows from the top down
    return abs(int(width_px * height_px))


def _count_gif(encoded: bytes) -> int | None:
    """Count the pixels of the logical screen, extended to hold the first frame."""
    screen = struct.unpack_from("<HH", encoded, 6)
    position = 13 + palette_bytes(encoded[10])
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


def palette_bytes(flags: int) -> int:
    """Return the size of a GIF's colour table, by the flags before it (GIF89a, 18 and 20)."""
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0


def _count_heif(encoded: bytes) -> int | None:
    """Count the pixels of the largest item, which is the whole picture and not a tile, thumbnail or depth map."""
    sizes = (
        struct.unpack_from(">II", encoded, box.start + 4) for box in find_properties(encoded) if box.kind == b"ispe"
    )
    return max((width_px * height_px for width_px, height_px in sizes), default=None)


_COUNTERS = {
    ImageFormat.PNG: _count_png,
    ImageFormat.WEBP: _count_webp,
    ImageFormat.GIF: _count_gif,
    ImageFormat.BMP: _count_bmp,
    ImageFormat.HEIC: _count_heif,
    ImageFormat.AVIF: _count_heif,
}
