"""The map of an explanation, drawn over the service's preview of the photograph."""

import io
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageColor

from dashboard import preview
from dashboard.charts.palette import BLUE, ORANGE
from lightbox_client.contract import Explanation

FOR, AGAINST = ORANGE, BLUE
"""Told apart with any colour vision; without colour, a part that counts still has a tint."""


@dataclass(frozen=True, slots=True)
class Area:
    """A rectangle on the upright photograph, in its pixels."""

    left: float
    top: float
    right: float
    bottom: float

    @property
    def width(self) -> float:
        """The width in pixels."""
        return self.right - self.left

    @property
    def height(self) -> float:
        """The height in pixels."""
        return self.bottom - self.top

    def within(self, other: "Area") -> "Area":
        """Return the part that lies in another area."""
        return Area(
            max(self.left, other.left),
            max(self.top, other.top),
            min(self.right, other.right),
            min(self.bottom, other.bottom),
        )


def draw_map(png: bytes, explanation: Explanation, *, opacity: float) -> bytes:
    """Draw what speaks for the class in orange and what speaks against it in blue.

    The colours' strength is relative to the strongest visible part. The photograph turns grey, from half the opacity on
    wholly, so that its own colours are not taken for the map's. What the model does not see is dark, and cut off where
    there is much of it.

    Args:
        png: The service's preview of the photograph.
        explanation: The map, of the same photograph.
        opacity: That of the map, from 0 to 1.

    Returns:
        A PNG of at most `preview.OVERVIEW_PX`; its size depends on `explanation.box` alone.
    """
    with Image.open(io.BytesIO(png), formats=["PNG"]) as image:
        photograph = image.convert("RGB")
    seen, shown = seen_area(explanation), shown_area(explanation)
    across, down = photograph.width / explanation.image.width, photograph.height / explanation.image.height
    scale = min(
        preview.MAX_ENLARGEMENT * max(across, down),
        preview.OVERVIEW_PX[0] / shown.width,
        preview.OVERVIEW_PX[1] / shown.height,
    )
    picture = photograph.resize(
        (max(1, round(shown.width * scale)), max(1, round(shown.height * scale))),
        Image.Resampling.BICUBIC,
        box=(
            shown.left * across,
            shown.top * down,
            min(shown.right * across, photograph.width),
            min(shown.bottom * down, photograph.height),
        ),
    )
    picture = Image.blend(picture, picture.convert("L").convert("RGB"), min(1.0, 2 * opacity))
    left = min(round((seen.left - shown.left) * scale), picture.width - 1)
    top = min(round((seen.top - shown.top) * scale), picture.height - 1)
    right = max(left + 1, round((seen.right - shown.left) * scale))
    bottom = max(top + 1, round((seen.bottom - shown.top) * scale))
    frame = (left, top, right, bottom)
    strengths = _strengths(explanation, seen, (right - left, bottom - top))
    picture.paste(_tint(picture.crop(frame), strengths, opacity), frame)
    return preview.encode(preview.shade_outside(picture, frame) if hides_something(explanation) else picture)


def seen_area(explanation: Explanation) -> Area:
    """Return the part of the photograph that the model saw."""
    box = explanation.box
    return Area(box.left, box.top, box.left + box.width, box.top + box.height).within(_photograph(explanation))


def shown_area(explanation: Explanation) -> Area:
    """Return the part of the photograph that is drawn: what the model saw, and as much again on each side."""
    seen = seen_area(explanation)
    grown = Area(seen.left - seen.width, seen.top - seen.height, seen.right + seen.width, seen.bottom + seen.height)
    return grown.within(_photograph(explanation))


def hides_something(explanation: Explanation) -> bool:
    """Whether the model saw less than the whole photograph; half a pixel at an edge does not count."""
    seen, whole = seen_area(explanation), _photograph(explanation)
    return seen.width < whole.width - 1 or seen.height < whole.height - 1


def is_cut(explanation: Explanation) -> bool:
    """Whether the drawing leaves out a part of the photograph."""
    shown, whole = shown_area(explanation), _photograph(explanation)
    return shown.width < whole.width - 1 or shown.height < whole.height - 1


def _photograph(explanation: Explanation) -> Area:
    return Area(0, 0, explanation.image.width, explanation.image.height)


def _strengths(explanation: Explanation, seen: Area, size: tuple[int, int]) -> NDArray[np.float32]:
    """Return the map of the seen part, from -1 to 1, upsampled to `size`: width and height in pixels."""
    grid, box = np.asarray(explanation.grid, np.float32), explanation.box
    rows, columns = grid.shape
    part = (
        max(0.0, (seen.left - box.left) / box.width * columns),
        max(0.0, (seen.top - box.top) / box.height * rows),
        min(columns, (seen.right - box.left) / box.width * columns),
        min(rows, (seen.bottom - box.top) / box.height * rows),
    )
    # Pillow puts a cell's value at its centre, and repeats the outermost cells beyond theirs.
    field = np.asarray(Image.fromarray(grid).resize(size, Image.Resampling.BICUBIC, box=part), np.float32)
    return np.asarray(field / (np.abs(field).max() or 1), np.float32)


def _tint(picture: Image.Image, strengths: NDArray[np.float32], opacity: float) -> Image.Image:
    colours = np.asarray(picture, np.float32)
    ink = np.where(strengths[..., None] > 0, ImageColor.getrgb(FOR), ImageColor.getrgb(AGAINST))
    cover = np.abs(strengths)[..., None] * opacity
    return Image.fromarray(np.rint(colours + (ink - colours) * cover).astype(np.uint8))
