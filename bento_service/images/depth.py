"""From samples of more than 8 bits to 8, by their full scale: Pillow's own conversion clips (its issue 1108)."""

import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image

DEEP_MODES = frozenset({"I", "I;16", "I;16B", "I;16L", "I;16N", "F"})
"""Pillow's modes of one channel with more than 8 bits."""

_FLOAT_SCALES = (1.0, 255.0, 65_535.0)
_INTEGER_SCALES = (255.0, 65_535.0, 2.0**32 - 1, 2.0**64 - 1)
_BAND_ROWS = 64


def to_eight_bits(image: Image.Image, *, sample_bits: int, is_white_zero: bool) -> Image.Image:
    """Convert a loaded image of one of `DEEP_MODES` to mode `L`.

    Args:
        image: Not changed.
        sample_bits: Significant bits a sample, as the file declares.
        is_white_zero: The file counts from white (TIFF's WhiteIsZero), which Pillow leaves as it is in these modes.
    """
    grey = reduce_samples(np.asarray(image), sample_bits)
    return Image.fromarray(255 - grey if is_white_zero else grey)


def reduce_samples(samples: NDArray[np.generic], sample_bits: int) -> NDArray[np.uint8]:
    """Scale samples of any type, shape (height, ...), to 8 bits.

    Unsigned samples of up to 16 bits keep their high byte, as Pillow does for 16-bit colour. Others go by
    `find_scale`. NaN counts as the lowest value, infinities as the ends.
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
    """Return the values of black and white that signed, floating or 32-bit samples seem to use, and if they are known.

    From 0 to the smallest of 1, 255 and 65535 that holds them all; for integers, of 255, 65535 and the full scales of
    32 and 64 bits. Where none does, or some are negative, they are not known: then the lowest and the highest value.
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
    """Cut into bands of rows, so that what is computed from one takes little memory beside 50 megapixels."""
    return [samples[top : top + _BAND_ROWS] for top in range(0, len(samples), _BAND_ROWS)]
