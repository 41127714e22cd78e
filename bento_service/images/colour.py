"""Convert a decoded image of any mode and bit depth to RGB or 8-bit grey, and name each conversion."""

import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops, ImageCms

from bento_service.domain.requests import ImageWarning
from bento_service.images.resize import RGBX_MODE

_DEEP_MODES = frozenset({"I", "I;16", "I;16B", "I;16L", "I;16N", "F"})
"""Pillow's one-channel modes of more than 8 bits."""
_GREY_MODES = frozenset({"1", "L", "LA", "La"}) | _DEEP_MODES
_CONVERSIONS = {
    **dict.fromkeys(_GREY_MODES, ImageWarning.GREYSCALE_CONVERTED),
    **dict.fromkeys(("P", "PA"), ImageWarning.PALETTE_CONVERTED),
    "CMYK": ImageWarning.CMYK_CONVERTED,
    "LAB": ImageWarning.LAB_CONVERTED,
}
_FLOAT_SCALES = (1.0, 255.0, 65_535.0)
_INTEGER_SCALES = (255.0, 65_535.0, 2.0**32 - 1, 2.0**64 - 1)
_BAND_ROWS = 64
_STRAIGHT_ALPHA = {"La": "LA", "RGBa": "RGBA", "PA": "RGBA"}


def to_rgb_or_grey(
    image: Image.Image, sample_bits: int, *, is_white_zero: bool = False
) -> tuple[Image.Image, list[ImageWarning]]:
    """Convert a loaded image to mode `RGB`, or to `L` where it is grey, with any transparency laid over white.

    Grey stays one channel, which costs a third to resize. At most two full-size copies exist at once.

    Args:
        image: Not changed.
        sample_bits: Significant bits of a sample, as the file declares.
        is_white_zero: Whether 0 is white, which Pillow does not invert in modes of more than 8 bits.

    Raises:
        ValueError: Pillow cannot convert the image's mode to RGB.
    """
    warnings = [ImageWarning.BIT_DEPTH_REDUCED] if sample_bits > 8 else []
    if image.mode in _CONVERSIONS:
        warnings.append(_CONVERSIONS[image.mode])
    if image.mode in _DEEP_MODES:
        image = _reduce_depth(image, sample_bits, is_white_zero=is_white_zero)
    elif image.mode == "LAB":
        image = _convert_lab(image)
    if image.has_transparency_data:
        warnings.append(ImageWarning.ALPHA_FLATTENED)
        return _flatten(image), warnings
    if image.mode not in {"L", "RGB"}:
        image = image.convert("L" if image.mode == "1" else "RGB")
    return image, warnings


def to_grey(image: Image.Image) -> Image.Image:
    """Convert an image in mode `RGB`, `L` or `RGBX_MODE` to `L`, as Pillow converts `RGB` (ITU-R 601 luma)."""
    if image.mode == RGBX_MODE:
        image = Image.frombuffer("RGBX", image.size, np.asarray(image), "raw", "RGBX", 0, 1)
    return image.convert("L")


def convert_inverted_cmyk(image: Image.Image) -> Image.Image:
    """Convert the inks of a JPEG in mode `CMYK`, where 255 means no ink, to `RGB`."""
    return ImageChops.invert(image).convert("RGB")


def _reduce_depth(image: Image.Image, sample_bits: int, *, is_white_zero: bool) -> Image.Image:
    """Convert one of `_DEEP_MODES` to `L`, or to `LA` where a PNG's tRNS makes one grey level transparent.

    By the samples' full scale, since Pillow clips (its issue 1108).
    """
    samples = np.asarray(image)
    reduced = reduce_samples(samples, sample_bits)
    grey = Image.fromarray(255 - reduced if is_white_zero else reduced)
    transparent = image.info.get("transparency")
    if isinstance(transparent, int):
        grey.putalpha(Image.fromarray(np.where(samples == transparent, 0, 255).astype(np.uint8)))
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


def reduce_samples(samples: NDArray[np.generic], sample_bits: int) -> NDArray[np.uint8]:
    """Scale samples of any type, shape (height, ...), to 8 bits.

    Unsigned samples of up to 16 bits keep their high byte, as Pillow does for 16-bit colour. Others are scaled by
    `find_scale`: NaN becomes the lowest value, infinities the ends.
    """
    if samples.dtype == np.uint8:
        return samples.astype(np.uint8, copy=False)
    if samples.dtype.kind == "u" and samples.dtype.itemsize == 2:
        return (samples.astype(np.uint16, copy=False) >> max(0, min(sample_bits, 16) - 8)).astype(np.uint8)
    low, high, _ = find_scale(samples)
    reduced = np.zeros(samples.shape, dtype=np.uint8)
    if not low < high:
        return reduced
    for band, result in zip(_cut_bands(samples), _cut_bands(reduced), strict=True):
        values: NDArray[np.floating] = band.astype(np.float64 if samples.dtype.itemsize == 8 else np.float32)
        # Halved first, because the span of two floats may be more than a float holds.
        np.multiply(values, 0.5, out=values)
        np.subtract(values, low * 0.5, out=values)
        np.multiply(values, 255.0 / (high * 0.5 - low * 0.5), out=values)
        np.nan_to_num(values, copy=False, nan=0.0, posinf=255.0, neginf=0.0)
        np.clip(values, 0.0, 255.0, out=values)
        result[...] = np.rint(values, out=values)
    return reduced


def find_scale(samples: NDArray[np.generic]) -> tuple[float, float, bool]:
    """Guess the values of black and white of signed, floating or 32-bit samples; the flag tells if the guess is safe.

    Black is 0, and white the smallest of 1, 255 and 65535 that no sample exceeds; for integers, of 255, 65535 and the
    full scales of 32 and 64 bits. Where there is none, or some samples are negative: the lowest and highest sample.
    """
    low, high = math.inf, -math.inf
    for band in _cut_bands(samples):
        finite = band[np.isfinite(band)] if samples.dtype.kind == "f" else band
        if finite.size:
            low, high = min(low, float(finite.min())), max(high, float(finite.max()))
    if low >= 0:
        for scale in _FLOAT_SCALES if samples.dtype.kind == "f" else _INTEGER_SCALES:
            if high <= scale:
                return 0.0, scale, True
    return low, high, low > high


def _cut_bands(samples: NDArray[np.generic]) -> list[NDArray[np.generic]]:
    """Cut into bands of rows, so that temporary arrays stay small for 50 megapixels."""
    return [samples[top : top + _BAND_ROWS] for top in range(0, len(samples), _BAND_ROWS)]
