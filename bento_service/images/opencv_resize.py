"""Resize as OpenCV does: without antialiasing, from a fixed number of pixels for each pixel of the result."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bento_service.domain.models import Interpolation
from bento_service.images.geometry import Axis, Geometry, Orientation

_BAND_PX = 200_000
"""Pixels that are copied out of an image at a time: numpy takes an image of Pillow's by a copy only."""
_WEIGHT_BITS = 11
"""The bits of a weight after the point (modules/imgproc/src/resize.cpp, INTER_RESIZE_COEF_BITS)."""
_CUBIC_A = -0.75


def resize_as_opencv(
    image: Image.Image, geometry: Geometry, interpolation: Interpolation, orientation: Orientation
) -> NDArray[np.uint8]:
    """Return the part of the resized upright image that lies within the crop, shape (height, width[, channels]).

    Equals `cv2.resize` of OpenCV 4 and 5 with INTER_NEAREST and INTER_LINEAR. A few values in 10,000 differ by one from
    INTER_CUBIC and INTER_LANCZOS4, and a few in 100 from an INTER_CUBIC that Intel's IPP computes
    (`python -m bench.opencv_resize`). Only the pixels that the crop depends on are read.

    Args:
        image: The stored image in mode `RGB`, `L` or `RGBX_MODE`.
        geometry: From `plan_geometry`, for the upright image.
        interpolation: Any but `box`.
        orientation: Makes the image upright.
    """
    width_px, height_px = orientation.turn_size(image.size)
    if interpolation == "nearest":
        rows, columns = _find_nearest(geometry.down, height_px), _find_nearest(geometry.across, width_px)
        return pick_pixels(image, orientation, rows, columns)
    down, across = (_weigh(*axis, interpolation) for axis in ((geometry.down, height_px), (geometry.across, width_px)))
    picked = pick_pixels(image, orientation, down.source_px, across.source_px)
    channels = picked.reshape(*picked.shape[:2], -1)
    summed = _sum_bilinear(channels, down, across) if interpolation == "bilinear" else _sum(channels, down, across)
    return np.clip(summed, 0, 255).astype(np.uint8).reshape(*summed.shape[:2], *picked.shape[2:])


def pick_pixels(
    image: Image.Image, orientation: Orientation, rows: NDArray[np.intp], columns: NDArray[np.intp]
) -> NDArray[np.uint8]:
    """Return the pixels at some rows and columns of an upright image, shape (rows, columns[, channels]).

    The image is copied in bands, and never as a whole.
    """
    width_px, height_px = orientation.turn_size(image.size)
    rows = height_px - 1 - rows if orientation.is_flipped else rows
    columns = width_px - 1 - columns if orientation.is_mirrored else columns
    if orientation.is_transposed:
        rows, columns = columns, rows
    left_px, right_px, end_px = int(columns.min()), int(columns.max()) + 1, int(rows.max()) + 1
    picked = np.empty((len(rows), len(columns), *(() if image.mode == "L" else (3,))), dtype=np.uint8)
    band_px = max(1, _BAND_PX // (right_px - left_px))
    for top_px in range(int(rows.min()), end_px, band_px):
        bottom_px = min(top_px + band_px, end_px)
        is_here = (rows >= top_px) & (rows < bottom_px)
        if not is_here.any():
            continue
        band = np.asarray(image.crop((left_px, top_px, right_px, bottom_px)))
        # Several times as fast as an index of arrays.
        chosen = band.take(rows[is_here] - top_px, axis=0).take(columns - left_px, axis=1)
        picked[is_here] = chosen if chosen.ndim == 2 else chosen[:, :, :3]
    return picked.swapaxes(0, 1) if orientation.is_transposed else picked


@dataclass(frozen=True, slots=True)
class _Weights:
    """What the pixels of the result are made of, along one axis.

    `source_px` are the source pixels that count, ascending. Pixel `i` of the result is the sum of
    `values[tap, i] * source_px[places[tap, i]]` over the taps.
    """

    source_px: NDArray[np.intp]
    places: NDArray[np.intp]
    values: NDArray[np.int32]


def _find_nearest(axis: Axis, source_px: int) -> NDArray[np.intp]:
    """Return the source pixel of each pixel of the crop: below the left edge, not the middle as with Pillow."""
    pixels = np.floor(_result_px(axis) * _scale(axis, source_px))
    nearest: NDArray[np.intp] = np.minimum(pixels, source_px - 1).astype(np.intp)
    return nearest


def _weigh(axis: Axis, source_px: int, interpolation: Interpolation) -> _Weights:
    first, kernel = _KERNELS[interpolation]
    middles = ((_result_px(axis) + 0.5) * _scale(axis, source_px) - 0.5).astype(np.float32)
    floors = np.floor(middles)
    offsets = np.arange(first, 2 - first)[:, np.newaxis]
    weights = kernel((middles - floors).astype(np.float64) - offsets)
    values = np.rint(weights / weights.sum(axis=0) * 2**_WEIGHT_BITS).astype(np.int32)
    # Pixels at the edge count for those outside.
    taps = np.clip(floors.astype(np.intp) + offsets, 0, source_px - 1)
    pixels, places = np.unique(taps, return_inverse=True)
    return _Weights(pixels, places.reshape(taps.shape), values)


def _result_px(axis: Axis) -> NDArray[np.intp]:
    """Return the pixels of the resized image that lie within the crop."""
    return np.arange(max(axis.start_px, 0), min(axis.end_px, axis.resized_px))


def _scale(axis: Axis, source_px: int) -> float:
    # OpenCV's two roundings: they decide where a middle is at an edge.
    return 1.0 / (axis.resized_px / source_px)


def _sum(pixels_hwc: NDArray[np.uint8], down: _Weights, across: _Weights) -> NDArray[np.int64]:
    """Sum rows, then columns: OpenCV does columns first, with the same result, since it rounds once at the end."""
    by_row = np.zeros((down.places.shape[1], *pixels_hwc.shape[1:]), dtype=np.int32)
    for places, values in zip(down.places, down.values, strict=True):
        by_row += pixels_hwc.take(places, axis=0) * values[:, np.newaxis, np.newaxis]
    summed = np.full((len(by_row), across.places.shape[1], pixels_hwc.shape[2]), 1 << (2 * _WEIGHT_BITS - 1))
    for places, values in zip(across.places, across.values.astype(np.int64), strict=True):
        summed += by_row.take(places, axis=1) * values[:, np.newaxis]
    return summed >> (2 * _WEIGHT_BITS)


def _sum_bilinear(pixels_hwc: NDArray[np.uint8], down: _Weights, across: _Weights) -> NDArray[np.int32]:
    """Sum columns, then rows, with the shifts of OpenCV's `VResizeLinear` for bytes."""
    left, right = across.places
    by_column = pixels_hwc.take(left, axis=1) * across.values[0][:, np.newaxis]
    by_column += pixels_hwc.take(right, axis=1) * across.values[1][:, np.newaxis]
    by_column >>= 4
    summed = np.full((down.places.shape[1], *by_column.shape[1:]), 2, dtype=np.int32)
    for places, values in zip(down.places, down.values, strict=True):
        summed += (by_column.take(places, axis=0) * values[:, np.newaxis, np.newaxis]) >> 16
    return summed >> 2


def _weigh_linearly(distances: NDArray[np.float64]) -> NDArray[np.float64]:
    return 1 - np.abs(distances)


def _weigh_cubically(distances: NDArray[np.float64]) -> NDArray[np.float64]:
    """Keys' kernel: R. Keys, Cubic convolution interpolation for digital image processing, 1981."""
    away, a = np.abs(distances), _CUBIC_A
    near = ((a + 2) * away - (a + 3)) * away * away + 1
    return np.where(away <= 1, near, ((a * away - 5 * a) * away + 8 * a) * away - 4 * a)


def _weigh_by_lanczos(distances: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.sinc(distances) * np.sinc(distances / 4)


_KERNELS: Final[Mapping[str, tuple[int, Callable[[NDArray[np.float64]], NDArray[np.float64]]]]] = {
    "bilinear": (0, _weigh_linearly),
    "bicubic": (-1, _weigh_cubically),
    "lanczos": (-3, _weigh_by_lanczos),
}
"""The first pixel that counts, from the one below the middle on, and the weight by the distance from the middle.

As many pixels count on either side. `box` has none: OpenCV's INTER_AREA averages, so it is no resize of this kind.
"""
