"""JPEG by libjpeg-turbo (simplejpeg): checks, and decoding in full or scaled down."""

import re

import simplejpeg
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile

from bento_service.domain.requests import ImageWarning
from bento_service.errors import UndecodableImageError
from bento_service.images.colour import convert_inverted_cmyk
from bento_service.images.resize import RGBX_MODE

OPT_IN_OVERSAMPLING = 5
"""The oversampling of `LIGHTBOX_SCALED_DECODING`. It fails the parity gate: probabilities move by up to 0.028
(`bench/results/scaled_decoding-2026-11-21.json`)."""
MAX_SCANS = 100
"""Each scan costs a pass over all pixels, so a small file with many could keep a decoder busy for hours.

Progressive encoders write about ten (libjpeg's jpeg_simple_progression); libjpeg has no limit.
"""

_DECODED_AS = {"Gray": "GRAY", "YCbCr": "RGBX", "RGB": "RGBX", "CMYK": "CMYK", "YCCK": "CMYK"}
"""By colour space. Decoding to four bytes a pixel costs no more than to three, and Pillow takes the buffer as it is."""
_DAMAGE = ("Premature end", "Corrupt JPEG data", "Inconsistent progression")
"""How libjpeg's messages of lost pixels begin."""
_STRAY_BYTES = "extraneous bytes"
"""In a message of stray bytes, which some cameras write; every browser shows such files."""
_NEXT_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
"""A marker that ends a scan: within entropy-coded data, 0xFF is followed by 0 or a restart marker (T.81, B.1.1.2)."""
_START_OF_SCAN = 0xDA
_END_OF_IMAGE = 0xD9


def decode_jpeg(encoded: bytes, size: tuple[int, int], scale: int) -> tuple[Image.Image | None, list[ImageWarning]]:
    """Decode a JPEG without applying its orientation.

    CMYK and YCCK are read as inverted, with or without Adobe's marker, as Chromium, Pillow and ImageMagick do: a file
    without the marker does not say, and encoders write inverted inks.

    Args:
        encoded: The file.
        size: Width and height as Pillow read them.
        scale: The divisor of a scaled decode, see `choose_scale`; 1 decodes in full.

    Returns:
        The image in mode `RGBX_MODE`, `RGB` or `L`; None where Pillow has to decode it: unusual subsampling, and
        harmless oddities such as stray bytes, which libjpeg-turbo reports as a warning.

    Raises:
        UndecodableImageError: The data are truncated or corrupt.
    """
    try:
        height_px, width_px, colour_space, _ = simplejpeg.decode_jpeg_header(encoded, strict=False)
    except ValueError:
        return None, []
    if (width_px, height_px) != size:
        raise UndecodableImageError(
            f"The JPEG is corrupt: it declares {size} and {(width_px, height_px)} pixels; export it again."
        )
    decoded_as = _DECODED_AS.get(colour_space)
    if decoded_as is None:
        return None, []
    try:
        pixels = simplejpeg.decode_jpeg(
            encoded, decoded_as, min_width=-(-width_px // scale), min_height=-(-height_px // scale), strict=True
        )
    except ValueError as error:
        if _STRAY_BYTES in str(error):
            return None, [ImageWarning.DAMAGE_TOLERATED]
        if str(error).startswith(_DAMAGE):
            raise UndecodableImageError(
                f"The JPEG is truncated or corrupt ({error}); send the whole file, or export it again."
            ) from error
        return None, []
    warnings = [ImageWarning.SCALED_DECODING] if scale > 1 else []
    mode = "L" if decoded_as == "GRAY" else RGBX_MODE
    image = Image.frombuffer(mode, pixels.shape[1::-1], pixels, "raw", mode, 0, 1)
    if decoded_as == "GRAY":
        warnings.append(ImageWarning.GREYSCALE_CONVERTED)
    elif decoded_as == "CMYK":
        warnings.append(ImageWarning.CMYK_CONVERTED)
        image = convert_inverted_cmyk(image)
    return image, warnings


def check_icc_profile(encoded: bytes) -> None:
    """Refuse a JPEG whose ICC profile would stop the decoder.

    Raises:
        UndecodableImageError: Pieces of the profile are missing, doubled or contradict each other (ICC.1:2022, B.4).
    """
    try:
        simplejpeg.decode_jpeg_header(encoded, strict=True)
    except ValueError as error:
        if "bad ICC marker" in str(error):
            raise UndecodableImageError(f"The JPEG's ICC profile is corrupt ({error}); export it again.") from error


def check_scans(encoded: bytes, image: JpegImageFile) -> None:
    """Refuse a JPEG with more than `MAX_SCANS` scans. `image` is the same, opened by Pillow.

    A sequential file whose first scan holds all components is not searched, since libjpeg stops at a further scan
    there; searching 2 MB would hold the GIL for half a millisecond.

    Raises:
        UndecodableImageError: There are more.
    """
    # Pillow stops reading before the first scan's data.
    first_scan = 0 if image.fp is None else image.fp.tell()
    if "progressive" not in image.info and _holds_all(encoded, first_scan, image.layers):
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


def choose_scale(stored: tuple[int, int], resized: tuple[int, int], min_oversampling: int) -> int:
    """Choose the divisor of a scaled decode, 8, 4, 2 or 1: the largest that keeps `min_oversampling` times `resized`.

    Only powers of two, for which libjpeg-turbo has SIMD code: decoding at 3/8 takes longer than at 1/2. Sizes are width
    and height in pixels.
    """
    for scale in (8, 4, 2):
        if all(-(-side // scale) >= min_oversampling * goal for side, goal in zip(stored, resized, strict=True)):
            return scale
    return 1


def _holds_all(encoded: bytes, scan_data: int, components: int) -> bool:
    """Whether the scan header that ends at `scan_data` names all components (ITU-T T.81, B.2.3)."""
    header = encoded[max(0, scan_data - 8 - 2 * components) : scan_data]
    return header[:2] == bytes((0xFF, _START_OF_SCAN)) and header[4:5] == bytes((components,))
