"""From whatever a file holds to RGB or plain grey, with a name for each conversion."""

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageCms

from bento_service.images.depth import DEEP_MODES, to_eight_bits
from bento_service.images.intake_warning import IntakeWarning

_GREY_MODES = frozenset({"1", "L", "LA", "La"}) | DEEP_MODES
_STRAIGHT_ALPHA = {"La": "LA", "RGBa": "RGBA", "PA": "RGBA"}


@dataclass(frozen=True, slots=True)
class SampleLayout:
    """What Pillow's mode does not say of a file's samples.

    `bits` a sample; `is_white_zero` where a TIFF counts from white.
    """

    bits: int = 8
    is_white_zero: bool = False


def to_rgb_or_grey(image: Image.Image, layout: SampleLayout) -> tuple[Image.Image, tuple[IntakeWarning, ...]]:
    """Convert a loaded image to mode `RGB`, or to `L` where it is grey, and name what was done.

    Grey stays one channel until the end of the intake, where it costs a third to resize. Transparency of every kind
    is laid over white. At most two copies at full size exist at once.

    Raises:
        ValueError: Pillow has no way from the image's mode to RGB.
    """
    warnings: list[IntakeWarning] = []
    if layout.bits > 8:
        warnings.append(IntakeWarning.BIT_DEPTH_REDUCED)
    if image.mode in _GREY_MODES:
        warnings.append(IntakeWarning.GREYSCALE_CONVERTED)
    elif image.mode in {"P", "PA"}:
        warnings.append(IntakeWarning.PALETTE_CONVERTED)
    elif image.mode == "CMYK":
        warnings.append(IntakeWarning.CMYK_CONVERTED)
    elif image.mode == "LAB":
        warnings.append(IntakeWarning.LAB_CONVERTED)
    if image.mode in DEEP_MODES:
        image = _reduce_depth(image, layout)
    elif image.mode == "LAB":
        image = _convert_lab(image)
    if image.has_transparency_data:
        warnings.append(IntakeWarning.ALPHA_FLATTENED)
        return _flatten(image), tuple(warnings)
    if image.mode not in {"L", "RGB"}:
        image = image.convert("L" if image.mode == "1" else "RGB")
    return image, tuple(warnings)


def _reduce_depth(image: Image.Image, layout: SampleLayout) -> Image.Image:
    """Reduce to `L`, or to `LA` where PNG's tRNS names one grey level as transparent."""
    grey = to_eight_bits(image, sample_bits=layout.bits, is_white_zero=layout.is_white_zero)
    transparent = image.info.get("transparency")
    if not isinstance(transparent, int):
        return grey
    alpha = np.where(np.asarray(image) == transparent, 0, 255).astype(np.uint8)
    grey.putalpha(Image.fromarray(alpha))
    return grey


def _convert_lab(image: Image.Image) -> Image.Image:
    converted = ImageCms.profileToProfile(
        image, ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB"), outputMode="RGB"
    )
    if converted is None:
        raise ValueError("conversion from LAB to RGB gave no image")
    return converted


def _flatten(image: Image.Image) -> Image.Image:
    """Lay an image with transparency over white."""
    if image.mode in {"1", "L"}:
        image = image.convert("LA")
    elif image.mode in {"P", "RGB"}:
        image = image.convert("RGBA")
    elif image.mode in _STRAIGHT_ALPHA:
        image = image.convert(_STRAIGHT_ALPHA[image.mode])
    canvas = Image.new("L" if image.mode == "LA" else "RGB", image.size, "white")
    canvas.paste(image, mask=image)
    return canvas
