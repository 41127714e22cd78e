"""A TIFF encoder for tests: any sample format, depth, layout, byte order and lossless compression.

Written from the specification (TIFF 6.0; Adobe's Technical Note 3 for the floating-point predictor), so that it shares
no code with what reads the files.
"""

import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Order = Literal["<", ">"]
NONE, LZW, DEFLATE, PACKBITS = 1, 5, 8, 32773
WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, PALETTE, SEPARATED = 0, 1, 2, 3, 5

_SAMPLE_FORMATS = {"u": 1, "i": 2, "f": 3}
_REVERSED_BITS = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
_TYPES = {"H": 3, "I": 4, "Q": 16}


@dataclass(frozen=True)
class Layout:
    """How samples are laid out in the file; `tags` are added to the directory, or replace it where they are in it."""

    photometric: int = BLACK_IS_ZERO
    compression: int = NONE
    predictor: int = 1
    is_planar: bool = False
    is_big_endian: bool = False
    is_big_tiff: bool = False
    is_bit_reversed: bool = False
    rows_per_strip: int = 7
    tile_px: int | None = None
    extra_samples: tuple[int, ...] = ()
    tags: Mapping[int, tuple[int, ...]] = field(default_factory=dict)


def encode_tiff(samples: NDArray[np.generic], layout: Layout = Layout()) -> bytes:
    """Encode samples of shape (height, width, channels); their dtype is the file's sample format and depth."""
    order: Order = ">" if layout.is_big_endian else "<"
    height_px, width_px, channels = samples.shape
    planes = [samples[:, :, [index]] for index in range(channels)] if layout.is_planar else [samples]
    blocks = [_compress(block, layout, order) for plane in planes for block in _cut(plane, layout)]
    if layout.is_bit_reversed:
        blocks = [block.translate(_REVERSED_BITS) for block in blocks]
    bits = samples.dtype.itemsize * 8
    tags: dict[int, tuple[int, ...]] = {
        256: (width_px,),
        257: (height_px,),
        258: (bits,) * channels,
        259: (layout.compression,),
        262: (layout.photometric,),
        277: (channels,),
        284: (2 if layout.is_planar else 1,),
        317: (layout.predictor,),
        339: (_SAMPLE_FORMATS[samples.dtype.kind],) * channels,
    }
    if layout.is_bit_reversed:
        tags[266] = (2,)
    if layout.extra_samples:
        tags[338] = layout.extra_samples
    start = 16 if layout.is_big_tiff else 8
    offsets = tuple(start + sum(map(len, blocks[:index])) for index in range(len(blocks)))
    if layout.tile_px is None:
        tags |= {273: offsets, 278: (layout.rows_per_strip,), 279: tuple(map(len, blocks))}
    else:
        tags |= {322: (layout.tile_px,), 323: (layout.tile_px,), 324: offsets, 325: tuple(map(len, blocks))}
    data = b"".join(blocks)
    data += bytes(-len(data) % 8)
    directory = pack_directory({**tags, **layout.tags}, order, start + len(data), is_big_tiff=layout.is_big_tiff)
    mark = b"MM" if layout.is_big_endian else b"II"
    if layout.is_big_tiff:
        return mark + struct.pack(order + "HHHQ", 43, 8, 0, start + len(data)) + data + directory
    return mark + struct.pack(order + "HI", 42, start + len(data)) + data + directory


def deepen(eight_bits: NDArray[np.uint8], dtype: np.dtype[np.generic]) -> NDArray[np.generic]:
    """Spread 8 bits over the full scale of unsigned integers and of floats, or over half of that of signed ones.

    The low bytes are no copies of the high one: a file that is read in the wrong byte order looks wrong.
    """
    if dtype.kind == "f":
        return (eight_bits / 255).astype(dtype)
    unsigned = np.dtype(f"u{dtype.itemsize}")
    shift = np.array(8 * (dtype.itemsize - 1), unsigned)
    low_bytes = np.array(0x0102030405060708 >> (64 - 8 * dtype.itemsize) & (1 << int(shift)) - 1, unsigned)
    deep: NDArray[np.generic] = (eight_bits.astype(unsigned) << shift) | low_bytes
    return (deep >> np.array(1, unsigned)).view(dtype) if dtype.kind == "i" else deep


def pack_directory(
    tags: Mapping[int, tuple[int, ...]], order: str, offset: int, *, next_offset: int = 0, is_big_tiff: bool = False
) -> bytes:
    """Pack a directory that is to lie at `offset`, and after it what does not fit into its entries."""
    count_code, pointer_code, inline_bytes = ("Q", "Q", 8) if is_big_tiff else ("H", "I", 4)
    entry_bytes = 4 + 2 * inline_bytes
    after = offset + struct.calcsize(order + count_code) + entry_bytes * len(tags) + inline_bytes
    entries, values = b"", b""
    for tag, numbers in sorted(tags.items()):
        code = "H" if max(numbers) < 1 << 16 else "I" if max(numbers) < 1 << 32 else "Q"
        packed = struct.pack(f"{order}{len(numbers)}{code}", *numbers)
        if len(packed) > inline_bytes:
            place = struct.pack(order + pointer_code, after + len(values))
            values += packed + bytes(-len(packed) % 8)
        else:
            place = packed.ljust(inline_bytes, b"\0")
        entries += struct.pack(order + "HH" + pointer_code, tag, _TYPES[code], len(numbers)) + place
    return (
        struct.pack(order + count_code, len(tags)) + entries + struct.pack(order + pointer_code, next_offset) + values
    )


def _cut(plane: NDArray[np.generic], layout: Layout) -> list[NDArray[np.generic]]:
    """Cut into strips, or into tiles that are filled up with zeros."""
    if layout.tile_px is None:
        return [plane[top : top + layout.rows_per_strip] for top in range(0, len(plane), layout.rows_per_strip)]
    side = layout.tile_px
    filled = np.pad(plane, ((0, -plane.shape[0] % side), (0, -plane.shape[1] % side), (0, 0)))
    rows, columns = range(0, filled.shape[0], side), range(0, filled.shape[1], side)
    return [filled[top : top + side, left : left + side] for top in rows for left in columns]


def _compress(block: NDArray[np.generic], layout: Layout, order: Order) -> bytes:
    raw = _predict(block, layout.predictor, order)
    if layout.compression == DEFLATE:
        return zlib.compress(raw)
    if layout.compression == LZW:
        return _compress_lzw(raw)
    if layout.compression == PACKBITS:
        return b"".join(bytes([len(raw[at : at + 128]) - 1]) + raw[at : at + 128] for at in range(0, len(raw), 128))
    return raw


def _predict(block: NDArray[np.generic], predictor: int, order: Order) -> bytes:
    if predictor == 2:
        whole = block.view(f"u{block.dtype.itemsize}")
        differences = np.diff(whole, axis=1, prepend=np.zeros_like(whole[:, :1]))
        return differences.astype(differences.dtype.newbyteorder(order)).tobytes()
    if predictor == 3:
        height, width, channels = block.shape
        big_endian = block.astype(block.dtype.newbyteorder(">")).view(np.uint8).reshape(height, width * channels, -1)
        bytes_by_rank = big_endian.swapaxes(1, 2).reshape(height, -1)
        differences = bytes_by_rank.copy()
        differences[:, channels:] -= bytes_by_rank[:, :-channels]
        return differences.tobytes()
    return block.astype(block.dtype.newbyteorder(order)).tobytes()


def _compress_lzw(raw: bytes) -> bytes:
    """Write literals of nine bits, with a clear code before the table would need ten."""
    codes = []
    for at in range(0, len(raw), 250):
        codes += [256, *raw[at : at + 250]]
    bits = "".join(f"{code:09b}" for code in [*codes, 257])
    bits += "0" * (-len(bits) % 8)
    return int(bits, 2).to_bytes(len(bits) // 8, "big")
