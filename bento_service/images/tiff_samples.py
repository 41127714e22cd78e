"""TIFF samples that Pillow does not read, or reads wrongly: planar, signed, floating, 32 and 64 bits, grey with alpha.

libtiff decompresses them as a grey picture of bytes, as many a row as the samples take; numpy makes samples of those.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.ExifTags import Base as Tag

from bento_service.errors import TooManyPixelsError, UndecodableImageError
from bento_service.images.depth import find_scale, reduce_samples
from bento_service.images.formats import ImageFormat
from bento_service.images.intake_warning import IntakeWarning
from bento_service.images.reader import open_header
from bento_service.images.tiff_directory import Directory, write_directory

LOSSLESS: Final = frozenset({1, 5, 8, 32946, 32773, 34925, 50000})
"""Compressions of bytes, whatever they mean: none, LZW, Deflate (two codes), PackBits, LZMA, Zstandard."""
DEPTHS: Final = frozenset({8, 16, 32, 64})
UNSIGNED, SIGNED, FLOAT, UNDEFINED = 1, 2, 3, 4
WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, SEPARATED = 0, 1, 2, 5
MAX_BYTES_A_PIXEL: Final = 4
"""How many decoded bytes there may be for each pixel that is allowed: memory is what the limit on pixels is about."""

_DTYPES: Final = {UNSIGNED: "u", UNDEFINED: "u", SIGNED: "i", FLOAT: "f"}
_MODES: Final = {(1, None): "L", (1, False): "LA", (1, True): "La", (3, None): "RGB", (3, False): "RGBA"} | {
    (3, True): "RGBa",
    (4, None): "CMYK",
}
"""By the number of colours, and whether they are multiplied by alpha; None where there is no alpha."""
_IGNORE_PREDICTOR: Final = frozenset({1, 32773})
_HORIZONTAL, _FLOATING_POINT = 2, 3
_KEPT: Final = frozenset({Tag.ImageLength, Tag.Compression, Tag.FillOrder, Tag.RowsPerStrip, Tag.TileLength})


@dataclass(frozen=True, slots=True)
class TiffLayout:
    """How a TIFF's samples are stored, by the values of its tags.

    `bits` are of one sample, `channels` samples a pixel; `colours` of them make the colour, and `extra_samples` says
    which of those behind is alpha (1: the colours are multiplied by it, 2: they are not).
    """

    width_px: int
    height_px: int
    photometric: int
    compression: int
    predictor: int
    bits: int
    sample_format: int
    channels: int
    colours: int
    extra_samples: tuple[int, ...]
    is_planar: bool

    @property
    def alpha(self) -> tuple[int, bool] | None:
        """Which channel holds alpha, and whether the colours are multiplied by it."""
        for channel, meaning in enumerate(self.extra_samples, self.colours):
            if meaning in {1, 2} and channel < self.channels:
                return channel, meaning == 1
        return None


def read_samples(
    directory: Directory, layout: TiffLayout, max_pixels: int
) -> tuple[Image.Image, tuple[IntakeWarning, ...]]:
    """Decode a losslessly compressed image to 8 bits, in the mode that fits its channels.

    Raises:
        TooManyPixelsError: The samples have more than `MAX_BYTES_A_PIXEL` for each pixel allowed.
        UndecodableImageError: The data are damaged, or integers are below zero.
    """
    dtype = np.dtype(f"{directory.order}{_DTYPES[layout.sample_format]}{layout.bits // 8}")
    size_bytes = layout.width_px * layout.height_px * layout.channels * dtype.itemsize
    if size_bytes > max_pixels * MAX_BYTES_A_PIXEL:
        raise TooManyPixelsError(
            f"The TIFF's samples take {size_bytes:,} bytes; {max_pixels * MAX_BYTES_A_PIXEL:,} are allowed; send a "
            "smaller image, or one of 8 bits a sample.",
            max_pixels=max_pixels,
        )
    samples = np.concatenate(_read_planes(directory, layout, dtype), axis=2)
    colours, warnings = _reduce(samples[:, :, : layout.colours], layout.bits)
    if layout.photometric == WHITE_IS_ZERO:
        colours = 255 - colours
    alpha = layout.alpha
    if alpha is None or layout.photometric == SEPARATED:
        return _to_image(colours, _MODES[layout.colours, None]), warnings
    channel, is_multiplied = alpha
    opacity, _ = _reduce(samples[:, :, channel : channel + 1], layout.bits)
    return _to_image(np.concatenate([colours, opacity], axis=2), _MODES[layout.colours, is_multiplied]), warnings


def _reduce(samples: NDArray[np.generic], bits: int) -> tuple[NDArray[np.uint8], tuple[IntakeWarning, ...]]:
    if samples.dtype.kind == "i":
        lowest = int(samples.min())
        if lowest < 0:
            raise UndecodableImageError(
                f"The TIFF has signed samples down to {lowest:,}, and nothing says which value is black; "
                "save it with unsigned samples."
            )
    is_scale_known = samples.dtype.kind == "u" or find_scale(samples)[2]
    return reduce_samples(samples, bits), () if is_scale_known else (IntakeWarning.RANGE_STRETCHED,)


def _to_image(pixels_hwc: NDArray[np.uint8], mode: str) -> Image.Image:
    pixels_hwc = np.ascontiguousarray(pixels_hwc)
    return Image.frombuffer(mode, pixels_hwc.shape[1::-1], pixels_hwc, "raw", mode, 0, 1)


def _read_planes(directory: Directory, layout: TiffLayout, dtype: np.dtype[np.generic]) -> list[NDArray[np.generic]]:
    """Return the samples, one array of one channel for each plane or one of all, in the machine's byte order."""
    is_tiled = Tag.TileWidth in directory.entries
    places, sizes = (Tag.TileOffsets, Tag.TileByteCounts) if is_tiled else (Tag.StripOffsets, Tag.StripByteCounts)
    planes, channels = (layout.channels, 1) if layout.is_planar else (1, layout.channels)
    offsets, byte_counts = directory.numbers(places), directory.numbers(sizes)
    blocks = len(offsets) // planes
    if not blocks or len(byte_counts) < blocks * planes:
        raise UndecodableImageError("The TIFF is corrupt: it does not say where its pixels lie; export it again.")
    # Whole tiles, whose last one may reach beyond the image: a predictor takes them as they are.
    block_px = directory.number(Tag.TileWidth, 0) if is_tiled else layout.width_px
    width_px = -(-layout.width_px // block_px) * block_px
    row_bytes = channels * dtype.itemsize
    arrays = []
    for first in range(0, blocks * planes, blocks):
        changes = {
            Tag.ImageWidth: (width_px * row_bytes,),
            Tag.BitsPerSample: (8,),
            Tag.PhotometricInterpretation: (BLACK_IS_ZERO,),
            places: offsets[first : first + blocks],
            sizes: byte_counts[first : first + blocks],
        }
        if is_tiled:
            changes[Tag.TileWidth] = (block_px * row_bytes,)
        grey = open_header(write_directory(directory, _KEPT, changes), ImageFormat.TIFF, width_px * row_bytes << 32)
        grey.load()
        rows = np.asarray(grey).reshape(layout.height_px, -1, block_px * row_bytes)
        samples = _undo_predictor(rows, layout, channels, dtype).reshape(layout.height_px, width_px, channels)
        arrays.append(samples[:, : layout.width_px])
    return arrays


def _undo_predictor(
    rows: NDArray[np.uint8], layout: TiffLayout, channels: int, dtype: np.dtype[np.generic]
) -> NDArray[np.generic]:
    """Make samples of bytes, shape (height, blocks in a row, bytes of a row of a block).

    Predictor 2 stores differences to the pixel on the left (TIFF 6.0, section 14); 3 stores the bytes of a row of
    floats by rank, most significant first, and then their differences (Adobe, TIFF Technical Note 3).
    """
    predictor = 1 if layout.compression in _IGNORE_PREDICTOR else layout.predictor
    native = dtype.newbyteorder("=")
    if predictor == _HORIZONTAL:
        whole = dtype.newbyteorder(dtype.byteorder)
        unsigned = np.dtype(f"u{dtype.itemsize}")
        differences = rows.view(unsigned.newbyteorder(whole.byteorder)).astype(unsigned)
        by_pixel = differences.reshape(*rows.shape[:2], -1, channels)
        return by_pixel.cumsum(axis=2, dtype=unsigned).view(native)
    if predictor == _FLOATING_POINT:
        by_pixel = rows.reshape(*rows.shape[:2], -1, channels).cumsum(axis=2, dtype=np.uint8)
        by_rank = by_pixel.reshape(*rows.shape[:2], dtype.itemsize, -1)
        return np.ascontiguousarray(by_rank.swapaxes(2, 3)).view(dtype.newbyteorder(">")).astype(native)
    return rows.view(dtype).astype(native)
