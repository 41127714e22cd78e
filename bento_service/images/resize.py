"""Resize and crop as Pillow does, with SIMD where the resizer has a wheel."""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bento_service.domain.models import Interpolation
from bento_service.images.geometry import UPRIGHT, Axis, Geometry, Orientation
from bento_service.images.opencv_resize import pick_pixels, resize_as_opencv

try:
    import cykooz_resizer as simd
except ImportError:
    # It has no wheel for Linux on ARM (ADR 32).
    simd = None

RGBX_MODE: Final = "CMYK"
"""The mode of images with four bytes a pixel: red, green, blue and an unused one.

Only in this mode can Pillow use a buffer without a copy and does the resizer treat all channels alike (in RGBA it
multiplies colours by alpha). Pass such images to nothing but `resize_and_crop` and `colour.to_grey`.
"""
MAX_ENLARGED_PX = 2_000_000
"""Above this size of the whole enlarged image, only the crop is computed, from the source pixels it depends on.

A few values in 10,000 then differ from timm's by one, because Pillow takes a box as 32-bit floats. Photographs stay
below; a 1 x 65535 JPEG would need 12 GB.
"""

_FILTERS: Final = {"bilinear": "bilinear", "bicubic": "catmull_rom", "lanczos": "lanczos3"}
"""The SIMD resizer's names by Pillow's. Pillow's bicubic is Catmull-Rom too (a = -0.5)."""
_REACH: Final = {"box": 0.5, "bilinear": 1, "bicubic": 2, "lanczos": 3}
"""Radius of each filter, in pixels of the larger of source and result."""


def resize_and_crop(
    image: Image.Image,
    geometry: Geometry,
    interpolation: Interpolation,
    orientation: Orientation = UPRIGHT,
    *,
    channel_count: int = 3,
    fill: int = 0,
    is_antialiased: bool = True,
) -> NDArray[np.uint8]:
    """Resize an image, crop it and make it upright.

    Enlarged images equal Pillow's exactly (but for `MAX_ENLARGED_PX`), and so do those of the nearest pixel. In reduced
    ones a few values in 1,000 differ by one, and a few in 100,000 by two: the SIMD resizer has 16-bit weights, Pillow
    22-bit ones. Without it Pillow reduces them too, and they equal Pillow's exactly. So they do with `box`, for which
    the SIMD resizer takes other pixels at the edges.
    All this is of antialiased ones; others are resized by `resize_as_opencv`.

    Args:
        image: The stored image in mode `RGB`, `L` or `RGBX_MODE`. After a scaled decode it is smaller than the image
            that `geometry` was planned for.
        geometry: From `plan_geometry`, for the upright image.
        interpolation: The input recipe's.
        orientation: Makes the image upright.
        channel_count: 3, or 1 for an image in mode `L` that is to stay grey.
        fill: The value of what the crop has outside the image, 0-255.
        is_antialiased: The input recipe's.

    Returns:
        RGB or grey, 0-255, shape (geometry.down.crop_px, geometry.across.crop_px, channel_count), C-contiguous and
        writable.
    """
    resize = _resize_visible if is_antialiased else resize_as_opencv
    visible = resize(image, geometry, interpolation, orientation)
    pixels_hwc = np.full((geometry.down.crop_px, geometry.across.crop_px, channel_count), fill, dtype=np.uint8)
    top_px, left_px = max(-geometry.down.start_px, 0), max(-geometry.across.start_px, 0)
    place = pixels_hwc[top_px : top_px + visible.shape[0], left_px : left_px + visible.shape[1]]
    for channel in range(channel_count):  # several times as fast as copying three of four bytes in one assignment
        place[:, :, channel] = visible if visible.ndim == 2 else visible[:, :, channel]
    return pixels_hwc


def _resize_visible(
    image: Image.Image, geometry: Geometry, interpolation: Interpolation, orientation: Orientation
) -> NDArray[np.uint8]:
    """Return the part of the resized upright image that lies within the crop, shape (height, width[, channels])."""
    if interpolation == "nearest":
        return _pick_nearest(image, geometry, orientation)
    stored = orientation.find_stored(geometry)
    is_enlarged = image.width < stored.across.resized_px or image.height < stored.down.resized_px
    if is_enlarged or interpolation == "box":
        return np.asarray(_resize_upright(image, geometry, interpolation, orientation))
    width_px, height_px = orientation.turn_size(image.size)
    # Pillow 13 takes columns before rows where the height loses more than twice as many pixels as the width.
    is_upright_columns_first = height_px - geometry.down.resized_px > 2 * (width_px - geometry.across.resized_px)
    is_columns_first = is_upright_columns_first is not orientation.is_transposed
    if simd is None:
        reduced = _resize_whole(
            image, stored, interpolation, is_columns_first=is_columns_first and orientation.is_transposed
        )
    else:
        reduced = _reduce_visible(image, stored, interpolation, last_axis=0 if is_columns_first else 1)
    return orientation.turn(np.asarray(reduced))


@dataclass(frozen=True, slots=True)
class _Span:
    """The part of a crop within the image, along one axis: in pixels of the result, and in those of the source."""

    start_px: int
    length_px: int
    scale: float
    source_px: int
    source_start: float
    source_length: float

    def find_nearest(self) -> NDArray[np.intp]:
        """Return the source pixel at the middle of each pixel of the result, as Pillow picks them."""
        if self.start_px + self.length_px > MAX_ENLARGED_PX:
            middles = (np.arange(self.start_px, self.start_px + self.length_px) + 0.5) * self.scale
        else:
            # Pillow adds up the steps (libImaging/Geometry.c), and the sum decides where a middle is at an edge.
            steps = np.full(self.start_px + self.length_px, self.scale)
            steps[0] = 0.5 * self.scale
            middles = np.cumsum(steps)[self.start_px :]
        return np.minimum(middles.astype(np.intp), self.source_px - 1)

    def find_weighing(self, interpolation: Interpolation) -> tuple[int, int]:
        """Return the range of source pixels that the crop depends on, at most one pixel too wide at either end."""
        reach_px = _REACH[interpolation] * max(self.scale, 1.0) + 1
        stop = self.source_start + self.source_length
        return max(math.floor(self.source_start - reach_px), 0), min(math.ceil(stop + reach_px), self.source_px)


def _cut(axis: Axis, source_px: int) -> _Span:
    """Clip a crop to the image."""
    scale = source_px / axis.resized_px
    start_px = max(axis.start_px, 0)
    length_px = min(axis.end_px, axis.resized_px) - start_px
    source_start = start_px * scale
    # Clipped, because a product may round beyond the edge.
    source_length = min(length_px * scale, source_px - source_start)
    return _Span(start_px, length_px, scale, source_px, source_start, source_length)


def _pick_nearest(image: Image.Image, geometry: Geometry, orientation: Orientation) -> NDArray[np.uint8]:
    """Return the part of the upright image, resized to the nearest pixels, that lies within the crop.

    Picked from the upright image, since the nearest of two equally near pixels is the right one or the lower one.
    """
    across, down = map(_cut, geometry, orientation.turn_size(image.size))
    return pick_pixels(image, orientation, down.find_nearest(), across.find_nearest())


def _resize_upright(
    image: Image.Image, geometry: Geometry, interpolation: Interpolation, orientation: Orientation
) -> Image.Image:
    """Make an image upright, then resize it by Pillow; return the part within the crop.

    Used where a resize before the turn gives other values: an enlargement, since Pillow's two passes round differently,
    and `box`, which counts a pixel at its edge to the one side.
    """
    across, down = map(_cut, geometry, orientation.turn_size(image.size))
    resampling = Image.Resampling[interpolation.upper()]
    if geometry.across.resized_px * geometry.down.resized_px <= MAX_ENLARGED_PX:
        return _resize_whole(_turn(image, orientation), geometry, interpolation)
    (left, right), (top, bottom) = across.find_weighing(interpolation), down.find_weighing(interpolation)
    columns, rows = orientation.find_stored(
        Geometry(Axis(across.source_px, left, right - left), Axis(down.source_px, top, bottom - top))
    )
    part = _turn(image.crop((columns.start_px, rows.start_px, columns.end_px, rows.end_px)), orientation)
    # Pillow resizes rows first for any shape. Two calls keep that order for the part, whose shape differs.
    start = across.source_start - left
    box: tuple[float, float, float, float] = (start, 0, min(start + across.source_length, part.width), part.height)
    part = part.resize((across.length_px, part.height), resampling, box)
    start = down.source_start - top
    box = (0, start, part.width, min(start + down.source_length, part.height))
    return part.resize((across.length_px, down.length_px), resampling, box)


def _turn(image: Image.Image, orientation: Orientation) -> Image.Image:
    if orientation == UPRIGHT:
        return image
    turned = np.ascontiguousarray(orientation.turn(np.asarray(image)))
    return Image.frombuffer(image.mode, turned.shape[1::-1], turned, "raw", image.mode, 0, 1)


def _resize_whole(
    image: Image.Image, geometry: Geometry, interpolation: Interpolation, *, is_columns_first: bool = False
) -> Image.Image:
    """Return the part of the resized image that lies within the crop, by Pillow.

    The whole image is resized, because Pillow takes a box as 32-bit floats, which changes roundings.
    """
    across, down = map(_cut, geometry, image.size)
    resampling = Image.Resampling[interpolation.upper()]
    if is_columns_first:
        image = image.resize((image.width, geometry.down.resized_px), resampling)
    resized = image.resize((geometry.across.resized_px, geometry.down.resized_px), resampling)
    right_px, bottom_px = across.start_px + across.length_px, down.start_px + down.length_px
    return resized.crop((across.start_px, down.start_px, right_px, bottom_px))


def _reduce_visible(
    image: Image.Image, geometry: Geometry, interpolation: Interpolation, *, last_axis: int
) -> Image.Image:
    """Return the part of the reduced image that lies within the crop, by the SIMD resizer.

    `last_axis` is the one that is reduced last, as by Pillow: 0 for across, 1 for down.
    """
    # One axis a call: with both, cykooz_resizer 4.0.1 takes columns first, and reads out of bounds where a crop begins
    # or ends at a weight of zero.
    spans = [*map(_cut, geometry, image.size)]
    last = spans[last_axis]
    first_px, end_px = last.find_weighing(interpolation)
    size = [span.length_px for span in spans]
    box = [span.source_start for span in spans] + [span.source_length for span in spans]
    size[last_axis] = end_px - first_px
    box[last_axis], box[last_axis + 2] = first_px, end_px - first_px
    image = _convolve(image, size, box, interpolation)
    start = last.source_start - first_px
    box = [0, 0, *image.size]
    box[last_axis], box[last_axis + 2] = start, min(last.source_length, image.size[last_axis] - start)
    return _convolve(image, [span.length_px for span in spans], box, interpolation)


def _convolve(image: Image.Image, size: list[int], box: list[float], interpolation: Interpolation) -> Image.Image:
    """Resize a box (left, top, width, height) of an image, in the calling thread and without the GIL."""
    resized = Image.new(image.mode, (size[0], size[1]))
    convolution = simd.ResizeAlg.convolution(getattr(simd.FilterType, _FILTERS[interpolation]))
    options = simd.ResizeOptions(resize_alg=convolution, crop_box=simd.CropBox(*box))
    # Creating one is free. A shared one would keep memory for the largest image and serve one thread at a time.
    simd.Resizer().resize_pil(image, resized, options)
    return resized
