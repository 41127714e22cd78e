"""TIFF samples that Pillow does not read, or reads wrongly: planar, signed, floating, 32 and 64 bits, grey with alpha.

libtiff decompresses them as a picture of bytes, as many a row as the samples take; numpy makes samples of those.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.ExifTags import Base as Tag

from bento_service.domain.requests import ImageWarning
from bento_service.errors import TooManyPixelsError, UndecodableImageError
from bento_service.images.colour import find_scale, reduce_samples
from bento_service.images.formats import ImageFormat
from bento_service.images.pillow_reader import open_image
from bento_service.images.tiff_directory import Directory, write_directory
from bento_service.images.tiff_layout import (
    BLACK_IS_ZERO,
    FLOAT,
    SEPARATED,
    SIGNED,
    UNCOMPRESSED,
    UNSIGNED,
    WHITE_IS_ZERO,
    TiffLayout,
)

_MAX_PIXEL_BYTES: Final = 4
"""How many decoded bytes there may be for each pixel that is allowed: memory is what the limit on pixels is about."""

_DTYPES: Final = {UNSIGNED: "u", SIGNED: "i", FLOAT: "f"}
_MODES: Final = {
    **{(1, None): "L", (1, False): "LA", (1, True): "La"},
    **{(3, None): "RGB", (3, False): "RGBA", (3, True): "RGBa"},
    (4, None): "CMYK",
}
"""By the number of colours, and whether they are multiplied by alpha; None where there is no alpha."""
_PACKBITS = 32773
_IGNORE_PREDICTOR: Final = frozenset({UNCOMPRESSED, _PACKBITS})
_HORIZONTAL, _FLOATING_POINT = 2, 3
_KEPT: Final = frozenset({Tag.ImageLength, Tag.Compression, Tag.FillOrder, Tag.RowsPerStrip, Tag.TileLength})


def read_samples(
    directory: Directory, layout: TiffLayout, max_pixels: int
) -> tuple[Image.Image, tuple[ImageWarning, ...]]:
    """Decode a losslessly compressed image to 8 bits, in the mode that fits its channels.

    Raises:
        TooManyPixelsError: The samples have more than four bytes for each pixel allowed.
        UndecodableImageError: The data are damaged, or integers are below zero.
    """
    alpha = layout.alpha if layout.photometric != SEPARATED else None
    channels = [*range(layout.colours), *([] if alpha is None else [alpha[0]])]
    samples = _read_channels(directory, layout, channels, max_pixels)
    pixels, warnings = _reduce(samples[:, :, : layout.colours], layout.bits)
    if layout.photometric == WHITE_IS_ZERO:
        pixels = 255 - pixels
    if alpha is not None:
        opacity, _ = _reduce(samples[:, :, layout.colours :], layout.bits)
        pixels = np.concatenate([pixels, opacity], axis=2)
    pixels, mode = np.ascontiguousarray(pixels), _MODES[layout.colours, None if alpha is None else alpha[1]]
    return Image.frombuffer(mode, (layout.width_px, layout.height_px), pixels, "raw", mode, 0, 1), warnings


def _read_channels(
    directory: Directory, layout: TiffLayout, channels: list[int], max_pixels: int
) -> NDArray[np.generic]:
    """Return the samples of some channels, shape (height, width, channels): of 8 bits where their scale is known."""
    dtype = np.dtype(f"{directory.order}{_DTYPES[layout.sample_format]}{layout.bits // 8}")
    block_px = directory.number(Tag.TileWidth, 0) if directory.is_tiled else layout.width_px
    # Whole tiles, whose last one may reach beyond the image: a predictor takes them as they are.
    width_px = -(-layout.width_px // block_px) * block_px
    size_bytes = width_px * layout.height_px * layout.channels * dtype.itemsize
    max_bytes = max_pixels * _MAX_PIXEL_BYTES
    if size_bytes > max_bytes:
        raise TooManyPixelsError(
            f"The TIFF's samples take {size_bytes:,} bytes; {max_bytes:,} are allowed; send a smaller image, or one of "
            "8 bits a sample.",
            max_pixels=max_pixels,
        )
    planes = []
    for plane in channels if layout.is_planar else [0]:
        rows = _read_bytes(directory, layout, plane, width_px, max_bytes)
        blocks = rows.reshape(layout.height_px, width_px // block_px, -1)
        pixels = _undo_predictor(blocks, layout, dtype).reshape(layout.height_px, width_px, -1)[:, : layout.width_px]
        pixels = pixels if layout.is_planar or layout.channels == len(channels) else pixels[:, :, channels]
        is_scale_known = layout.sample_format == UNSIGNED and layout.bits <= 16
        planes.append(reduce_samples(pixels, layout.bits) if is_scale_known else pixels)
    return np.concatenate(planes, axis=2) if layout.is_planar else planes[0]


def _reduce(samples: NDArray[np.generic], bits: int) -> tuple[NDArray[np.uint8], tuple[ImageWarning, ...]]:
    if samples.dtype.kind == "i":
        lowest = int(samples.min())
        if lowest < 0:
            raise UndecodableImageError(
                f"The TIFF has signed samples down to {lowest:,}, and nothing says which value is black; "
                "save it with unsigned samples."
            )
    is_scale_known = samples.dtype.kind == "u" or find_scale(samples)[2]
    return reduce_samples(samples, bits), () if is_scale_known else (ImageWarning.RANGE_STRETCHED,)


def _read_bytes(
    directory: Directory, layout: TiffLayout, plane: int, width_px: int, max_bytes: int
) -> NDArray[np.uint8]:
    """Decompress one plane, or the only one, to the bytes of its samples, shape (height, bytes of a row).

    As CMYK where a pixel has bytes for it, else as grey: Pillow reads no TIFF of more than 179 megapixels.
    """
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
    image = open_image(write_directory(directory, _KEPT, changes), ImageFormat.TIFF, max_bytes // bytes_read)
    image.load()
    return np.asarray(image).reshape(layout.height_px, -1)


def _undo_predictor(rows: NDArray[np.uint8], layout: TiffLayout, dtype: np.dtype[np.generic]) -> NDArray[np.generic]:
    """Make samples, in the machine's byte order, of bytes of shape (height, blocks in a row, bytes of a block's row).

    Predictor 2 stores differences to the pixel on the left (TIFF 6.0, section 14); 3 stores the bytes of a row of
    floats by rank, most significant first, and then their differences (Adobe, TIFF Technical Note 3).
    """
    predictor = 1 if layout.compression in _IGNORE_PREDICTOR else layout.predictor
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
