"""JPEG through libjpeg-turbo (simplejpeg), exactly or, where the operator wants it, scaled down while decoding."""

import simplejpeg
from PIL import Image, ImageChops
from PIL.JpegImagePlugin import JpegImageFile

from bento_service.errors import UndecodableImageError
from bento_service.images.geometry import Geometry
from bento_service.images.intake_warning import IntakeWarning
from bento_service.images.resize import FOUR_CHANNELS

OPT_IN_OVERSAMPLING = 5
"""What `LIGHTBOX_SCALED_DECODING` asks for. It fails the parity gate: probabilities move by up to 0.028.

At 3 times it is by up to 0.077, and 3 % of the best classes differ (`bench/results/scaled_decoding-2026-11-21.json`).
"""

_DECODED_AS = {"Gray": "GRAY", "YCbCr": "RGBX", "RGB": "RGBX", "CMYK": "CMYK", "YCCK": "CMYK"}
"""What to decode each colour space to. Four bytes a pixel cost no more than three, and Pillow takes them over as is."""


def decode_plain_jpeg(
    encoded: bytes, header: JpegImageFile, geometry: Geometry, *, min_oversampling: int | None
) -> tuple[Image.Image | None, tuple[IntakeWarning, ...]]:
    """Decode a JPEG without applying its orientation.

    The components of CMYK and YCCK are read as inverted, with or without Adobe's marker, as Chromium, Pillow and
    ImageMagick do: nothing in a file without the marker says which way they are, and encoders write them inverted.

    Args:
        encoded: The file.
        header: Its header as Pillow read it.
        geometry: What the stored, not yet turned, image will be resized to.
        min_oversampling: A scaled decode keeps at least this many times that size; None decodes in full.

    Returns:
        The image in mode `FOUR_CHANNELS`, `RGB` or `L`, or None where Pillow has to decode it: unusual subsampling, and
        files with stray bytes, which libjpeg-turbo reports as a warning and this module is strict about.

    Raises:
        UndecodableImageError: The data are truncated or corrupt.
    """
    try:
        height_px, width_px, colour_space, _ = simplejpeg.decode_jpeg_header(encoded, strict=False)
    except ValueError:
        return None, ()
    if (width_px, height_px) != header.size:
        raise UndecodableImageError(
            f"The JPEG is corrupt: it declares {header.size} and {(width_px, height_px)} pixels; export it again."
        )
    decoded_as = _DECODED_AS.get(colour_space)
    if decoded_as is None:
        return None, ()
    resized = (geometry.resized_width_px, geometry.resized_height_px)
    scale = 1 if min_oversampling is None else choose_scale((width_px, height_px), resized, min_oversampling)
    try:
        pixels = simplejpeg.decode_jpeg(
            encoded, decoded_as, min_width=-(-width_px // scale), min_height=-(-height_px // scale), strict=True
        )
    except ValueError as error:
        if _is_damage(str(error)):
            raise UndecodableImageError(
                f"The JPEG is truncated or corrupt ({error}); send the whole file, or export it again."
            ) from error
        return None, (IntakeWarning.DAMAGE_TOLERATED,) if "extraneous bytes" in str(error) else ()
    remarks = [IntakeWarning.SCALED_DECODING] if scale > 1 else []
    mode = "L" if decoded_as == "GRAY" else FOUR_CHANNELS
    image = Image.frombuffer(mode, pixels.shape[1::-1], pixels, "raw", mode, 0, 1)
    if decoded_as == "GRAY":
        remarks.append(IntakeWarning.GREYSCALE_CONVERTED)
    elif decoded_as == "CMYK":
        remarks.append(IntakeWarning.CMYK_CONVERTED)
        image = ImageChops.invert(image).convert("RGB")
    return image, tuple(remarks)


def check_jpeg_header(encoded: bytes) -> None:
    """Refuse a JPEG whose ICC profile lies in pieces that do not fit together, which stops the decoder.

    Raises:
        UndecodableImageError: Pieces are missing, doubled or contradict each other (ICC.1:2022, B.4).
    """
    try:
        simplejpeg.decode_jpeg_header(encoded, strict=True)
    except ValueError as error:
        if _BROKEN_PROFILE in str(error):
            raise UndecodableImageError(f"The JPEG's ICC profile is corrupt ({error}); export it again.") from error


def choose_scale(stored: tuple[int, int], resized: tuple[int, int], min_oversampling: int) -> int:
    """Choose by how much to divide both sides while decoding, 8, 4, 2 or 1, to keep `min_oversampling` times `resized`.

    Powers of two only, for which libjpeg-turbo has SIMD code: decoding at 3/8 takes longer than at 1/2. Sizes are width
    and height in pixels.
    """
    for scale in (8, 4, 2):
        if all(-(-side // scale) >= min_oversampling * goal for side, goal in zip(stored, resized, strict=True)):
            return scale
    return 1


def _is_damage(complaint: str) -> bool:
    """Whether libjpeg's complaint is about pixels that are lost.

    Stray bytes, odd version numbers and the like are not: some cameras write them, and every browser shows such files.
    """
    if "extraneous bytes" in complaint:
        return False
    return complaint.startswith(("Premature end", "Corrupt JPEG data", "Inconsistent progression"))


_BROKEN_PROFILE = "bad ICC marker"
