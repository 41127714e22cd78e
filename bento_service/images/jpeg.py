"""JPEG through libjpeg-turbo (simplejpeg), exactly or, where the operator wants it, scaled down while decoding."""

import simplejpeg
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile

from bento_service.errors import UndecodableImageError
from bento_service.images.geometry import Geometry
from bento_service.images.intake_warning import IntakeWarning
from bento_service.images.resize import FOUR_CHANNELS

OPT_IN_OVERSAMPLING = 5
"""What `LIGHTBOX_SCALED_DECODING` asks for. It fails the parity gate: probabilities move by up to 0.028.

At 3 times it is by up to 0.077, and 3 % of the best classes differ (`bench/results/scaled_decoding-2026-11-21.json`).
"""

_GREY, _COLOUR = "Gray", "YCbCr"


def decode_plain_jpeg(
    encoded: bytes, header: JpegImageFile, geometry: Geometry, *, min_oversampling: int | None
) -> tuple[Image.Image | None, tuple[IntakeWarning, ...]]:
    """Decode a YCbCr or grey JPEG, without applying its orientation.

    Args:
        encoded: The file.
        header: Its header as Pillow read it.
        geometry: What the stored, not yet turned, image will be resized to.
        min_oversampling: A scaled decode keeps at least this many times that size; None decodes in full.

    Returns:
        The image in mode `FOUR_CHANNELS` or `L`, or None where Pillow has to decode it: CMYK, RGB, unusual subsampling,
        and files with stray bytes, which libjpeg-turbo reports as a warning and this module is strict about.

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
    if colour_space not in {_GREY, _COLOUR}:
        return None, ()
    resized = (geometry.resized_width_px, geometry.resized_height_px)
    scale = 1 if min_oversampling is None else choose_scale((width_px, height_px), resized, min_oversampling)
    is_grey = colour_space == _GREY
    try:
        pixels = simplejpeg.decode_jpeg(
            encoded,
            # Four bytes a pixel cost no more to decode than three, and Pillow takes them over as they are.
            "GRAY" if is_grey else "RGBX",
            min_width=-(-width_px // scale),
            min_height=-(-height_px // scale),
            strict=True,
        )
    except ValueError as error:
        if _is_damage(str(error)):
            raise UndecodableImageError(
                f"The JPEG is truncated or corrupt ({error}); send the whole file, or export it again."
            ) from error
        return None, (IntakeWarning.DAMAGE_TOLERATED,) if "extraneous bytes" in str(error) else ()
    mode = "L" if is_grey else FOUR_CHANNELS
    remarks = [IntakeWarning.SCALED_DECODING] if scale > 1 else []
    if is_grey:
        remarks.append(IntakeWarning.GREYSCALE_CONVERTED)
    return Image.frombuffer(mode, pixels.shape[1::-1], pixels, "raw", mode, 0, 1), tuple(remarks)


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
