"""JPEG through libjpeg-turbo (simplejpeg), exactly or, where the operator wants it, scaled down while decoding."""

import simplejpeg
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile

from bento_service.errors import UndecodableImageError
from bento_service.images.intake_warning import IntakeWarning

OPT_IN_OVERSAMPLING = 5
"""What `LIGHTBOX_SCALED_DECODING` asks for. It fails the parity gate: probabilities move by up to 0.028.

At 3 times it is by up to 0.077, and 3 % of the best classes differ (`bench/results/scaled_decoding-2026-11-21.json`).
"""

ZERO_COPY_FROM_PX = 1_000_000
"""From here on colour is decoded to four bytes a pixel, which Pillow takes over as they are; three bytes it copies.

At 12 megapixels the copy takes as long as the decoding. Below, the fourth byte costs more than it saves.
"""

_GREY, _COLOUR = "Gray", "YCbCr"


def decode_plain_jpeg(
    encoded: bytes, header: JpegImageFile, resized: tuple[int, int], *, min_oversampling: int | None
) -> tuple[Image.Image | None, tuple[IntakeWarning, ...]]:
    """Decode a YCbCr or grey JPEG, without applying its orientation.

    Args:
        encoded: The file.
        header: Its header as Pillow read it.
        resized: Width and height in pixels that the stored, not yet turned, image will be resized to.
        min_oversampling: A scaled decode keeps at least this many times the size `resized`; None decodes in full.

    Returns:
        The image in mode `RGB`, `RGBX` or `L`, or None where Pillow has to decode it: CMYK, RGB, unusual subsampling,
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
    scale = 1 if min_oversampling is None else choose_scale((width_px, height_px), resized, min_oversampling)
    decoded_width_px, decoded_height_px = -(-width_px // scale), -(-height_px // scale)
    mode = "L" if colour_space == _GREY else "RGB"
    if mode == "RGB" and decoded_width_px * decoded_height_px >= ZERO_COPY_FROM_PX:
        mode = "RGBX"
    try:
        pixels = simplejpeg.decode_jpeg(
            encoded,
            "GRAY" if mode == "L" else mode,
            min_width=decoded_width_px,
            min_height=decoded_height_px,
            strict=True,
        )
    except ValueError as error:
        if _is_damage(str(error)):
            raise UndecodableImageError(
                f"The JPEG is truncated or corrupt ({error}); send the whole file, or export it again."
            ) from error
        return None, (IntakeWarning.DAMAGE_TOLERATED,) if "extraneous bytes" in str(error) else ()
    image = Image.frombuffer(mode, pixels.shape[1::-1], pixels, "raw", mode, 0, 1)
    return image, (IntakeWarning.SCALED_DECODING,) if scale > 1 else ()


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
