"""Whether a PNG arrived whole, which Pillow does not check: it shows what it can of a damaged one."""

import struct
import zlib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from bento_service.errors import UndecodableImageError

_SIGNATURE_BYTES = 8
_FRAME_BYTES = 12
"""Length, type and checksum around a chunk's data."""
_COLOUR_TYPE_OFFSET, _PALETTE = 25, 3
_MIN_TRANSPARENCY_BYTES: Final[Mapping[int, int]] = {0: 2, 2: 6}
"""By colour type: a grey level, or a colour, of two bytes a sample."""


@dataclass(frozen=True, slots=True)
class PngChunk:
    """A chunk, and where it lies in the file with its length, type and checksum."""

    kind: bytes
    start: int
    end: int
    is_checksum_right: bool

    @property
    def is_critical(self) -> bool:
        """Whether the pixels cannot be decoded without it (PNG specification, 5.4)."""
        return self.kind[0] & 0x20 == 0


def walk_png_chunks(encoded: bytes) -> Iterator[PngChunk]:
    """Yield the chunks up to IEND.

    Raises:
        UndecodableImageError: A chunk is cut off, or there is no IEND.
    """
    view = memoryview(encoded)
    start = _SIGNATURE_BYTES
    kind = b""
    while kind != b"IEND":
        if start + _FRAME_BYTES > len(view):
            raise UndecodableImageError("The PNG is truncated: it ends before its IEND chunk; send the whole file.")
        length, kind = struct.unpack_from(">I4s", view, start)
        end = start + _FRAME_BYTES + length
        if end > len(view):
            raise UndecodableImageError(
                f"The PNG is truncated: its {kind!r} chunk needs {end} bytes and the file has {len(view)}; "
                "send the whole file."
            )
        checksum = int.from_bytes(view[end - 4 : end], "big")
        yield PngChunk(kind, start, end, zlib.crc32(view[start + 4 : end - 4]) == checksum)
        start = end


def check_png_chunks(encoded: bytes) -> None:
    """Verify each chunk's checksum and the place of the one with transparency (PNG specification, 5.3, 5.6 and 13.2).

    Raises:
        UndecodableImageError: A chunk is cut off, its checksum is wrong, or transparency is not where it counts.
    """
    before: set[bytes] = set()
    for chunk in walk_png_chunks(encoded):
        if not chunk.is_checksum_right:
            raise UndecodableImageError(
                f"The PNG is corrupt: the checksum of its {chunk.kind!r} chunk is wrong; export the image again."
            )
        if chunk.kind == b"tRNS" and not is_transparency_usable(encoded, chunk, before):
            raise UndecodableImageError("The PNG's tRNS chunk is too short or misplaced; export the image again.")
        before.add(chunk.kind)


def is_transparency_usable(encoded: bytes, chunk: PngChunk, before: Collection[bytes]) -> bool:
    """Whether a tRNS chunk counts, as in libpng: sound, before the pixels, and after the palette if there is one.

    `before` has the types of the chunks that precede it.
    """
    colour_type = encoded[_COLOUR_TYPE_OFFSET]
    is_long_enough = chunk.end - chunk.start - _FRAME_BYTES >= _MIN_TRANSPARENCY_BYTES.get(colour_type, 1)
    is_in_place = b"IDAT" not in before and (colour_type != _PALETTE or b"PLTE" in before)
    return chunk.is_checksum_right and is_long_enough and is_in_place
