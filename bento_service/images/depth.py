"""From samples of 16 or 32 bits to 8, by their full scale: Pillow's own conversion clips (its issue 1108)."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

DEEP_MODES = frozenset({"I", "I;16", "I;16B", "I;16L", "I;16N", "F"})
"""Pillow's modes of one channel with more than 8 bits."""


def to_eight_bits(image: Image.Image, *, sample_bits: int, is_white_zero: bool) -> Image.Image:
    """Convert a loaded image of one of `DEEP_MODES` to mode `L`.

    Unsigned samples of up to 16 bits keep their high byte, as Pillow does for 16-bit colour. Others have no full scale
    of their own: see `_stretch`.

    Args:
        image: Not changed.
        sample_bits: Significant bits a sample, as the file declares.
        is_white_zero: The file counts from white (TIFF's WhiteIsZero), which Pillow leaves as it is in these modes.
    """
    samples = np.asarray(image)
    if samples.dtype.kind == "u" and samples.dtype.itemsize == 2:
        grey = (samples >> max(0, min(sample_bits, 16) - 8)).astype(np.uint8)
    else:
        grey = _stretch(samples)
    return Image.fromarray(255 - grey if is_white_zero else grey)


def _stretch(samples: NDArray[np.generic]) -> NDArray[np.uint8]:
    """Scale signed or floating samples by the full scale that they seem to use.

    From 0 to the smallest of 1, 255 and 65535 that holds them all (integers: 255 or 65535); where none does, or some
    are negative, from the lowest to the highest. NaN counts as the lowest, infinities as the ends.
    """
    values = samples.astype(np.float32)
    is_finite = np.isfinite(values)
    low = float(values.min(where=is_finite, initial=np.inf))
    high = float(values.max(where=is_finite, initial=-np.inf))
    scales = (1.0, 255.0, 65_535.0) if samples.dtype.kind == "f" else (255.0, 65_535.0)
    if low >= 0:
        fitting = [scale for scale in scales if high <= scale]
        low, high = (0.0, fitting[0]) if fitting else (low, high)
    if not low < high:
        return np.zeros(values.shape, dtype=np.uint8)
    # Halved first, because the span of two float32 may be more than a float32 holds; in place, because 50 megapixels
    # are 200 MB a copy.
    values *= 0.5
    values -= low * 0.5
    values *= 255.0 / ((high - low) * 0.5)
    np.nan_to_num(values, copy=False, nan=0.0, posinf=255.0, neginf=0.0)
    np.clip(values, 0.0, 255.0, out=values)
    return np.rint(values, out=values).astype(np.uint8)
