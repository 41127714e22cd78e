"""Decode TIFFs: with Pillow where it reads the samples correctly, else from their bytes.

Pillow does not read, or reads wrongly: planar, signed, floating-point, 32-bit and 64-bit samples, and grey with alpha.
libtiff decompresses those as an image of bytes, as many per row as the samples take, and numpy reads the samples.
"""

import io
import re
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.ExifTags import Base as Tag
from PIL.TiffImagePlugin import TiffImageFile

from bento_service.domain.requests import ImageWarning
from bento_service.errors import TooManyPixelsError, UndecodableImageError
from bento_service.images.colour import find_scale, reduce_samples, to_rgb_or_grey
from bento_service.images.header import check_pixels
from bento_service.images.tiff_directory import Directory, find_picture, has_several_pages, write_directory
from bento_service.images.tiff_layout import (
    BLACK_IS_ZERO,
    FLOAT,
    KEPT_TAGS,
    OLD_JPEG,
    SEPARATED,
    SIGNED,
    UNCOMPRESSED,
    UNSIGNED,
    WHITE_IS_ZERO,
    TiffLayout,
    read_layout,
)

_XMP_ORIENTATION: Final = re.compile(rb'tiff:Orientation(?:="|>)([1-8])')
_MAX_COLOUR_OF_EIGHT_BITS: Final = 255
_MAX_PIXEL_BYTES: Final = 4
"""Most decoded bytes for each pixel that is allowed, since the limit on pixels is there to bound memory."""

_DTYPES: Final = {UNSIGNED: "u", SIGNED: "i", FLOAT: "f"}
_MODES: Final = {
    **{(1, None): "L", (1, False): "LA", (1, True): "La"},
    **{(3, None): "RGB", (3, False): "RGBA", (3, True): "RGBa"},
    (4, None): "CMYK",
}
"""By the number of colours, and whether they are premultiplied by alpha (None: no alpha)."""
_PACKBITS = 32773
_IGNORE_PREDICTOR: Final = frozenset({UNCOMPRESSED, _PACKBITS})
_HORIZONTAL, _FLOATING_POINT = 2, 3
_KEPT: Final = frozenset({Tag.ImageLength, Tag.Compression, Tag.FillOrder, Tag.RowsPerStrip, Tag.TileLength})


def decode_tiff(encoded: bytes, max_pixels: int) -> tuple[Image.Image, int, list[ImageWarning]]:
    """Find the picture in a TIFF, check that Lightbox decodes its pixels correctly, and decode them.

    Damaged pixels raise any exception.

    Returns:
        The picture as it is stored, in mode `RGB` or `L`, and its EXIF orientation, 1 to 8.

    Raises:
        TooManyPixelsError: The picture, or a tile of it, exceeds `max_pixels`, or its samples take more than four bytes
            for each of those.
        UndecodableImageError: The file is truncated, or the samples are of a kind that Lightbox does not read.
    """
    directory = find_picture(encoded)
    lost = directory.damaged & KEPT_TAGS
    if lost:
        raise UndecodableImageError(
            f"The TIFF is truncated or corrupt: the values of its tags {sorted(lost)} lie outside the file; "
            "send the whole file."
        )
    check_pixels(directory.number(Tag.ImageWidth, 0), directory.number(Tag.ImageLength, 0), max_pixels)
    check_pixels(directory.number(Tag.TileWidth, 0), directory.number(Tag.TileLength, 0), max_pixels)
    layout = read_layout(directory)
    _check_places(layout)
    warnings = []
    if has_several_pages(encoded):
        warnings.append(ImageWarning.FIRST_FRAME_USED)
    if Tag.InterColorProfile in directory.entries:
        warnings.append(ImageWarning.ICC_PROFILE_IGNORED)
    if directory.damaged:
        warnings.append(ImageWarning.METADATA_IGNORED)
    if layout.is_left_to_pillow:
        image = _open(write_directory(directory, KEPT_TAGS, _list_explicit_tags(layout)), max_pixels)
    else:
        image, is_stretched = _read_samples(layout, max_pixels)
        if is_stretched:
            warnings.append(ImageWarning.RANGE_STRETCHED)
    image, conversions = to_rgb_or_grey(image, layout.bits, is_white_zero=layout.photometric == WHITE_IS_ZERO)
    return image, _read_orientation(directory), [*warnings, *conversions]


def _open(encoded: bytes, max_pixels: int) -> Image.Image:
    image = TiffImageFile(io.BytesIO(encoded))
    check_pixels(*image.size, max_pixels)
    image.load()
    return image


def _check_places(layout: TiffLayout) -> None:
    """Refuse strips and tiles that end beyond the file: decoders would read what `write_directory` appends."""
    directory = layout.directory
    if layout.compression == OLD_JPEG:
        return
    offsets, byte_counts = map(directory.numbers, directory.block_tags)
    if layout.compression == UNCOMPRESSED:
        byte_counts = tuple(_find_block_sizes(layout, len(offsets)))
    if not offsets or len(byte_counts) < len(offsets):
        raise UndecodableImageError("The TIFF is corrupt: it does not say where its pixels lie; export it again.")
    end = max(offset + size_bytes for offset, size_bytes in zip(offsets, byte_counts, strict=False))
    if end > len(directory.encoded):
        raise UndecodableImageError(
            f"The TIFF is truncated: its pixels need {end:,} bytes and the file has {len(directory.encoded):,}; "
            "send the whole file."
        )


def _find_block_sizes(layout: TiffLayout, blocks: int) -> list[int]:
    """Return the bytes of each strip or tile of an uncompressed image."""
    directory = layout.directory
    channels = 1 if layout.is_planar else layout.channels
    if directory.is_tiled:
        row_bytes = -(-directory.number(Tag.TileWidth, 0) * channels * layout.bits // 8)
        return [row_bytes * directory.number(Tag.TileLength, 0)] * blocks
    row_bytes = -(-layout.width_px * channels * layout.bits // 8)
    rows = max(1, min(directory.number(Tag.RowsPerStrip, layout.height_px), layout.height_px))
    strips = -(-layout.height_px // rows)
    last_rows = layout.height_px - (strips - 1) * rows
    return [row_bytes * (last_rows if block % strips == strips - 1 else rows) for block in range(blocks)]


def _list_explicit_tags(layout: TiffLayout) -> dict[int, tuple[int, ...]]:
    """Return tags for which Pillow's defaults differ from libtiff's, and the planes of more than one channel."""
    changes: dict[int, tuple[int, ...]] = {
        Tag.PhotometricInterpretation: (layout.photometric,),
        Tag.PlanarConfiguration: (2 if layout.is_planar else 1,),
    }
    if layout.compression != OLD_JPEG:
        changes |= {Tag.BitsPerSample: (layout.bits,) * layout.channels, Tag.SamplesPerPixel: (layout.channels,)}
    if layout.extra_samples:
        changes[Tag.ExtraSamples] = layout.extra_samples
    colour_map = layout.directory.numbers(Tag.ColorMap)
    if colour_map and max(colour_map) <= _MAX_COLOUR_OF_EIGHT_BITS:
        changes[Tag.ColorMap] = tuple(colour << 8 for colour in colour_map)
    return changes


def _read_orientation(directory: Directory) -> int:
    """Read the orientation tag, or XMP's where it is missing; 1 (upright) where neither is valid."""
    orientation = directory.number(Tag.Orientation, 0)
    if Tag.Orientation not in directory.entries:
        found = _XMP_ORIENTATION.search(directory.data(Tag.XMLPacket))
        orientation = int(found[1]) if found else 1
    return orientation if 1 <= orientation <= 8 else 1


def _read_samples(layout: TiffLayout, max_pixels: int) -> tuple[Image.Image, bool]:
    """Decode lossless data to 8 bits, in the mode for their channels; the flag tells whether the scale is a guess."""
    alpha = layout.alpha if layout.photometric != SEPARATED else None
    channels = [*range(layout.colours), *([] if alpha is None else [alpha[0]])]
    samples = _read_channels(layout, channels, max_pixels)
    pixels, is_stretched = _reduce(samples[:, :, : layout.colours], layout.bits)
    if layout.photometric == WHITE_IS_ZERO:
        pixels = 255 - pixels
    if alpha is not None:
        opacity, _ = _reduce(samples[:, :, layout.colours :], layout.bits)
        pixels = np.concatenate([pixels, opacity], axis=2)
    pixels, mode = np.ascontiguousarray(pixels), _MODES[layout.colours, None if alpha is None else alpha[1]]
    image = Image.frombuffer(mode, (layout.width_px, layout.height_px), pixels, "raw", mode, 0, 1)
    return image, is_stretched


def _read_channels(layout: TiffLayout, channels: list[int], max_pixels: int) -> NDArray[np.generic]:
    """Return samples of shape (height, width, channels), reduced to 8 bits where their scale is known."""
    directory = layout.directory
    dtype = np.dtype(f"{directory.order}{_DTYPES[layout.sample_format]}{layout.bits // 8}")
    block_px, block_rows = layout.width_px, 1
    if directory.is_tiled:
        block_px, block_rows = directory.number(Tag.TileWidth, 0), directory.number(Tag.TileLength, 0)
        if not (block_px and block_rows):
            raise UndecodableImageError("The TIFF is corrupt: its tiles have no size; export it again.")
    # Whole tiles, of which the last may reach beyond the image: predictors work on whole tiles.
    width_px = -(-layout.width_px // block_px) * block_px
    height_px = -(-layout.height_px // block_rows) * block_rows
    size_bytes = width_px * height_px * layout.channels * dtype.itemsize
    max_bytes = max_pixels * _MAX_PIXEL_BYTES
    if size_bytes > max_bytes:
        raise TooManyPixelsError(
            f"The TIFF's samples take {size_bytes:,} bytes; {max_bytes:,} are allowed; send a smaller image, or one of "
            "8 bits a sample.",
            max_pixels=max_pixels,
        )
    planes = []
    for plane in channels if layout.is_planar else [0]:
        rows = _read_bytes(layout, plane, width_px, max_bytes)
        blocks = rows.reshape(layout.height_px, width_px // block_px, -1)
        pixels = _undo_predictor(blocks, layout, dtype).reshape(layout.height_px, width_px, -1)[:, : layout.width_px]
        pixels = pixels if layout.is_planar or layout.channels == len(channels) else pixels[:, :, channels]
        is_scale_known = layout.sample_format == UNSIGNED and layout.bits <= 16
        planes.append(reduce_samples(pixels, layout.bits) if is_scale_known else pixels)
    return np.concatenate(planes, axis=2) if layout.is_planar else planes[0]


def _reduce(samples: NDArray[np.generic], bits: int) -> tuple[NDArray[np.uint8], bool]:
    """Scale samples to 8 bits; the flag tells whether their scale is a guess."""
    if samples.dtype.kind == "i":
        lowest = int(samples.min())
        if lowest < 0:
            raise UndecodableImageError(
                f"The TIFF has signed samples down to {lowest:,}, and nothing says which value is black; "
                "save it with unsigned samples."
            )
    return reduce_samples(samples, bits), samples.dtype.kind != "u" and not find_scale(samples)[2]


def _read_bytes(layout: TiffLayout, plane: int, width_px: int, max_bytes: int) -> NDArray[np.uint8]:
    """Decompress one plane to the bytes of its samples, shape (height, bytes of a row).

    Read as CMYK where a pixel has a multiple of four bytes, else as grey: Pillow refuses more than 179 megapixels.
    """
    directory = layout.directory
    planes, channels = (layout.channels, 1) if layout.is_planar else (1, layout.channels)
    pixel_bytes = channels * layout.bits // 8
    bytes_read = 4 if pixel_bytes % 4 == 0 and layout.fill_order == 1 else 1
    changes: dict[int, tuple[int, ...]] = {
        Tag.ImageWidth: (width_px * pixel_bytes // bytes_read,),
        Tag.SamplesPerPixel: (bytes_read,),
        Tag.BitsPerSample: (8,) * bytes_read,
        Tag.PhotometricInterpretation: (SEPARATED if bytes_read == 4 else BLACK_IS_ZERO,),
    }
    for tag in directory.block_tags:
        numbers = directory.numbers(tag)
        blocks = len(numbers) // planes
        if blocks:
            changes[tag] = numbers[plane * blocks : (plane + 1) * blocks]
    if directory.is_tiled:
        changes[Tag.TileWidth] = (directory.number(Tag.TileWidth, 0) * pixel_bytes // bytes_read,)
    image = _open(write_directory(directory, _KEPT, changes), max_bytes // bytes_read)
    return np.asarray(image).reshape(layout.height_px, -1)


def _undo_predictor(rows: NDArray[np.uint8], layout: TiffLayout, dtype: np.dtype[np.generic]) -> NDArray[np.generic]:
    """Convert bytes, shape (height, blocks in a row, bytes of a block's row), to samples in native byte order.

    Predictor 2 stores differences to the pixel on the left (TIFF 6.0, section 14). Predictor 3 stores a row of floats
    byte plane by byte plane, most significant first, as differences (Adobe, TIFF Technical Note 3).
    """
    predictor = 1 if layout.compression in _IGNORE_PREDICTOR else layout.directory.number(Tag.Predictor, 1)
    channels = 1 if layout.is_planar else layout.channels
    native = dtype.newbyteorder("=")
    if predictor == _HORIZONTAL:
        unsigned = np.dtype(f"u{dtype.itemsize}")
        differences = rows.view(unsigned.newbyteorder(dtype.byteorder)).astype(unsigned)
        by_pixel = differences.reshape(*rows.shape[:2], -1, channels)
        return by_pixel.cumsum(axis=2, dtype=unsigned).view(native)
    if predictor == _FLOATING_POINT:
        by_pixel = rows.reshape(*rows.shape[:2], -1, channels).cumsum(axis=2, dtype=np.uint8)
        by_rank = by_pixel.reshape(*rows.shape[:2], dtype.itemsize, -1)
        return np.ascontiguousarray(by_rank.swapaxes(2, 3)).view(dtype.newbyteorder(">")).astype(native)
    return rows.view(dtype).astype(native, copy=False)
