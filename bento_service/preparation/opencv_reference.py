"""The formula of OpenCV's resize in floats, over whole images: what served images are compared with."""

import numpy as np
from numpy.typing import NDArray

from bento_service.domain.models import Interpolation


def resize_by_formula(
    pixels: NDArray[np.uint8], size: tuple[int, int], interpolation: Interpolation
) -> NDArray[np.uint8]:
    """Resize to (width, height) without antialiasing: half-pixel centres, edges repeated, rounded once.

    Weights have eleven bits, as those of `cv2.resize`: with exact ones a few values in 100 differ by one or two, which
    moves an answer by up to 0.007 (PP-LCNet).

    Args:
        pixels: RGB or grey, 0-255, shape (height, width[, channels]).
        size: Width and height of the result.
        interpolation: Any but `box`.
    """
    across = _make_matrix(pixels.shape[1], size[0], interpolation)
    down = _make_matrix(pixels.shape[0], size[1], interpolation)
    by_row = np.tensordot(down, pixels.astype(np.float32), (1, 0))
    resized = np.moveaxis(np.tensordot(across, by_row, (1, 1)), 0, 1)
    rounded: NDArray[np.uint8] = np.clip(np.rint(resized), 0, 255).astype(np.uint8)
    return rounded


def _make_matrix(source_px: int, result_px: int, interpolation: Interpolation) -> NDArray[np.float32]:
    """Return the weight of each source pixel (column) in each pixel of the result (row)."""
    scale = 1.0 / (result_px / source_px)
    rows = np.arange(result_px)[:, np.newaxis]
    if interpolation == "nearest":
        taps, weights = np.floor(rows * scale), np.ones((result_px, 1))
    else:
        middles = (rows + 0.5) * scale - 0.5
        taps = np.floor(middles) + np.arange(-3, 5)
        weights = _weigh(np.abs(middles - taps), interpolation)
        weights = np.rint(weights / weights.sum(axis=1, keepdims=True) * 2048) / 2048
    matrix = np.zeros((result_px, source_px), np.float32)
    np.add.at(matrix, (rows, np.clip(taps.astype(np.intp), 0, source_px - 1)), weights)
    return matrix


def _weigh(distances: NDArray[np.float64], interpolation: Interpolation) -> NDArray[np.float64]:
    if interpolation == "bilinear":
        return np.maximum(0.0, 1.0 - distances)
    if interpolation == "bicubic":
        near = 1.25 * distances**3 - 2.25 * distances**2 + 1
        far = -0.75 * (distances**3 - 5 * distances**2 + 8 * distances - 4)
        return np.select([distances < 1, distances < 2], [near, far])
    return np.where(distances < 4, np.sinc(distances) * np.sinc(distances / 4), 0.0)
