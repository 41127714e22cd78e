"""Whether a PNG arrived whole, which Pillow does not check: it shows what it can of a damaged one."""

import struct
import zlib

from bento_service.errors import UndecodableImageError

_SIGNATURE_BYTES = 8
_FRAME_BYTES = 12
"""Length, type and checksum around a chunk's data."""


def check_png_chunks(encoded: bytes) -> None:
    """Walk the chunks up to IEND and verify the checksum of each (PNG specification, 5.3 and 13.2).

    Raises:
        UndecodableImageError: A chunk is cut off or its checksum is wrong.
    """
    view = memoryview(encoded)
    start = _SIGNATURE_BYTES
    while True:
        if start + _FRAME_BYTES > len(view):
            raise UndecodableImageError("The PNG is truncated: it ends before its IEND chunk; send the whole file.")
        length, kind = struct.unpack_from(">I4s", view, start)
        end = start + _FRAME_BYTES + length
        if end > len(view):
            raise UndecodableImageError(
                f"The PNG is truncated: its {kind!r} chunk needs {end} bytes and the file has {len(view)}; "
                "send the whole file."
            )
        if zlib.crc32(view[start + 4 : end - 4]) != int.from_bytes(view[end - 4 : end], "big"):
            raise UndecodableImageError(
                f"The PNG is corrupt: the checksum of its {kind!r} chunk is wrong; export the image again."
            )
        if kind == b"IEND":
            return
        start = end
