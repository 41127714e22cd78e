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
_FOR: Final = (0xE6, 0x9F, 0x00)
_AGAINST: Final = (0x00, 0x72, 0xB2)
"""Orange and blue of Okabe and Ito's palette, which people tell apart whatever their colour vision
(https://jfly.uni-koeln.de/color); those of the dashboard's map too."""
_LEAST = 1e-30
"""Keeps a grid of zeros without a colour."""
_UNSEEN = 0.45
"""Brightness of what the model does not see, where the map is opaque."""


def draw_explanation(
    encoded: bytes, limits: ImageLimits, grid: NDArray[np.float32], box: Box, opacity: float = DEFAULT_OPACITY
) -> bytes:
    """Return a PNG of the upright image, at most `MAX_PICTURE_PX` a side, with the map over it. Thread-safe.

    Raises as `images.preprocessing.preprocess`. For the other arguments see `lay_over`.
    """
    shown = draw_upright(encoded, limits, MAX_PICTURE_PX)
    return encode_png(lay_over(shown.pixels_hwc, shown.info, grid, box, opacity))


def lay_over(
    photograph_hwc: NDArray[np.uint8], image: ImageInfo, grid: NDArray[np.float32], box: Box, opacity: float
) -> NDArray[np.uint8]:
    """Draw what speaks for the class in orange and what speaks against it in blue, as strong as its share of the most.

    The photograph itself turns grey, wholly from half the opacity on, so that its colours are not taken for the map's,
    and what the model does not see turns dark.

    Args:
        photograph_hwc: RGB, upright.
        image: What the photograph was reduced from.
        grid: Shape (rows, columns).
        box: Where the grid lies on `image`.
        opacity: That of the map, 0 to 1.
    """
    height_px, width_px = photograph_hwc.shape[:2]
    left, right, columns = _clip(box.left_px, box.width_px, image.width_px, width_px, grid.shape[1])
    top, bottom, rows = _clip(box.top_px, box.height_px, image.height_px, height_px, grid.shape[0])
    strengths = grid / max(float(np.abs(grid).max()), _LEAST)
    smooth = Image.fromarray(strengths.astype(np.float32)).resize(
        (right - left, bottom - top), Image.Resampling.BILINEAR, box=(columns[0], rows[0], columns[1], rows[1])
    )
    share = np.asarray(smooth)[..., None]
    ink = np.where(share > 0, _FOR, _AGAINST)
    fade = min(1.0, 2 * opacity)
    photograph = Image.fromarray(photograph_hwc)
    grey = np.asarray(Image.blend(photograph, photograph.convert("L").convert("RGB"), fade), np.float32)
    picture = grey * (1 - fade * (1 - _UNSEEN))
    seen = grey[top:bottom, left:right]
    picture[top:bottom, left:right] = seen + (ink - seen) * np.abs(share) * opacity
    drawn: NDArray[np.uint8] = np.rint(picture).astype(np.uint8)
    return drawn


def _clip(
    start: float, length: float, image_px: int, shown_px: int, cells: int
) -> tuple[int, int, tuple[float, float]]:
    """Return where a side of the box begins and ends on the picture, in whole pixels, and which cells that shows."""
    scale = shown_px / image_px
    first = min(max(0, round(start * scale)), shown_px - 1)
    last = min(max(first + 1, round((start + length) * scale)), shown_px)
    first_cell, last_cell = ((edge / scale - start) / length * cells for edge in (first, last))
    return first, last, (max(0.0, first_cell), min(float(cells), last_cell))
