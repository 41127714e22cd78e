"""How many scans a JPEG holds: each costs a pass over all its pixels, so a small file can ask for hours of work."""

import re

from PIL.JpegImagePlugin import JpegImageFile

from bento_service.errors import UndecodableImageError

MAX_SCANS = 100
"""Ordinary progressive encoders write about ten (libjpeg's jpeg_simple_progression); libjpeg itself has no limit."""

_NEXT_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
"""In entropy-coded data 0xFF is followed by 0 or a restart marker (ITU-T T.81, B.1.1.2); all else ends the scan."""

_START_OF_SCAN = 0xDA
_END_OF_IMAGE = 0xD9


def check_jpeg_scans(encoded: bytes, header: JpegImageFile) -> None:
    """Refuse a JPEG with more than `MAX_SCANS` scans.

    A sequential one whose first scan holds all its components is not searched, which would hold Python's lock for half
    a millisecond in 2 MB: to libjpeg a further scan is an error there.

    Args:
        encoded: The file.
        header: Its header as Pillow read it, up to the first scan's data.

    Raises:
        UndecodableImageError: There are more.
    """
    first_scan = 0 if header.fp is None else header.fp.tell()
    if "progressive" not in header.info and _holds_all(encoded, first_scan, header.layers):
        return
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


def _holds_all(encoded: bytes, scan_data: int, components: int) -> bool:
    """Whether the scan header that ends at `scan_data` names all components (ITU-T T.81, B.2.3)."""
    header = encoded[max(0, scan_data - 8 - 2 * components) : scan_data]
    return header[:2] == bytes((0xFF, _START_OF_SCAN)) and header[4:5] == bytes((components,))
