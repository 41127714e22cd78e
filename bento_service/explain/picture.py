"""The picture of an explanation: the photograph with the map over it."""

from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bento_service.domain.explanations import Box
from bento_service.domain.requests import ImageInfo
from bento_service.images.preprocessing import ImageLimits, draw_upright, encode_png

MAX_PICTURE_PX = 1024
"""Longest side of a picture, in pixels."""
DEFAULT_OPACITY = 0.5
_VIRIDIS: Final = ("440154", "472d7b", "3b528b", "2c728e", "21918c", "28ae80", "5ec962", "addc30", "fde725")
"""matplotlib's `viridis` in even steps: its lightness rises evenly, so people see the order of its colours whatever
their colour vision, and in print (https://bids.github.io/colormap)."""
_LEAST = 1e-30
"""Keeps a grid without a positive value dark."""
_UNSEEN = 128
"""Grey, for the parts of a photograph that the model does not see."""


def draw_explanation(
    encoded: bytes, limits: ImageLimits, grid: NDArray[np.float32], box: Box, opacity: float = DEFAULT_OPACITY
) -> bytes:
    """Return a PNG of the upright image, at most `MAX_PICTURE_PX` a side, with the map over it. Thread-safe.

    Dark is nothing or less, yellow the largest value of the grid. What lies outside `box` is greyed as much as the map
    covers the rest. `opacity` is that of the map, 0 to 1. Raises as `images.preprocessing.preprocess`.
    """
    shown = draw_upright(encoded, limits, MAX_PICTURE_PX)
    return encode_png(lay_over(shown.pixels_hwc, shown.info, grid, box, opacity))


def lay_over(
    photograph_hwc: NDArray[np.uint8], image: ImageInfo, grid: NDArray[np.float32], box: Box, opacity: float
) -> NDArray[np.uint8]:
    """Return a photograph, RGB, with the map over it; `box` is on the `image` that it was reduced from."""
    height_px, width_px = photograph_hwc.shape[:2]
    left, right, columns = _clip(box.left_px, box.width_px, image.width_px, width_px, grid.shape[1])
    top, bottom, rows = _clip(box.top_px, box.height_px, image.height_px, height_px, grid.shape[0])
    shares = np.clip(grid / max(float(grid.max()), _LEAST), 0, 1)
    smooth = Image.fromarray(shares.astype(np.float32)).resize(
        (right - left, bottom - top), Image.Resampling.BILINEAR, box=(columns[0], rows[0], columns[1], rows[1])
    )
    colours = np.full_like(photograph_hwc, _UNSEEN)
    colours[top:bottom, left:right] = _make_colours()[np.rint(np.asarray(smooth) * 255).astype(np.uint8)]
    blended = Image.blend(Image.fromarray(photograph_hwc), Image.fromarray(colours), opacity)
    return np.asarray(blended)


def _clip(
    start: float, length: float, image_px: int, shown_px: int, cells: int
) -> tuple[int, int, tuple[float, float]]:
    """Return where a side of the box begins and ends on the picture, in whole pixels, and which cells that shows."""
    scale = shown_px / image_px
    first = min(max(0, round(start * scale)), shown_px - 1)
    last = min(max(first + 1, round((start + length) * scale)), shown_px)
    first_cell, last_cell = ((edge / scale - start) / length * cells for edge in (first, last))
    return first, last, (max(0.0, first_cell), min(float(cells), last_cell))


def _make_colours() -> NDArray[np.uint8]:
    """Return the colours of 256 steps from nothing to the largest value, shape (256, 3)."""
    anchors = np.array([list(bytes.fromhex(colour)) for colour in _VIRIDIS])
    steps = np.linspace(0, len(anchors) - 1, 256)
    colours = np.empty((len(steps), 3), np.uint8)
    for channel in range(3):
        colours[:, channel] = np.rint(np.interp(steps, np.arange(len(anchors)), anchors[:, channel]))
    return colours
