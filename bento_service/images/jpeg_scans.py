"""How many scans a JPEG holds: each costs a pass over all its pixels, so a small file can ask for hours of work."""

import re

from bento_service.errors import UndecodableImageError

MAX_SCANS = 100
"""Ordinary progressive encoders write about ten (libjpeg's jpeg_simple_progression); libjpeg itself has no limit."""

_NEXT_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
"""In entropy-coded data 0xFF is followed by 0 or a restart marker (ITU-T T.81, B.1.1.2); all else ends the scan."""

_START_OF_SCAN = 0xDA
_END_OF_IMAGE = 0xD9


def check_jpeg_scans(encoded: bytes, first_scan: int) -> None:
    """Refuse a JPEG with more than `MAX_SCANS` scans.

    Args:
        encoded: The file.
        first_scan: Where the first scan's data begins.

    Raises:
        UndecodableImageError: There are more.
    """
    scans = 1
    position = first_scan
    while (marker := _NEXT_MARKER.search(encoded, position)) is not None:
        code = encoded[marker.start() + 1]
        if code == _END_OF_IMAGE:
            return
        scans += code == _START_OF_SCAN
        if scans > MAX_SCANS:
            raise UndecodableImageError(
                f"The JPEG has more than {MAX_SCANS} scans, which no ordinary encoder writes; export the image again.",
                max_scans=MAX_SCANS,
            )
        position = marker.end() + max(2, int.from_bytes(encoded[marker.end() : marker.end() + 2], "big"))
