"""How a stored picture is turned upright (EXIF orientation: CIPA DC-008, tag 274), after its resize, not before.

Turning a photograph of 12 megapixels takes as long as decoding it, turning what a model takes of it nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

import numpy as np
from numpy.typing import NDArray

from bento_service.images.geometry import Geometry


@dataclass(frozen=True, slots=True)
class Orientation:
    """What makes a stored picture upright: rows become columns, then left becomes right, then top becomes bottom."""

    is_transposed: bool = False
    is_mirrored: bool = False
    is_flipped: bool = False

    def turn(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return the upright view of stored pixels, shape (height, width, ...); nothing is copied."""
        upright = pixels.swapaxes(0, 1) if self.is_transposed else pixels
        return upright[:: -1 if self.is_flipped else 1, :: -1 if self.is_mirrored else 1]

    def find_stored(self, upright: Geometry) -> Geometry:
        """Return the geometry that cuts the same crop out of the stored picture."""
        left_px, top_px = upright.left_px, upright.top_px
        if self.is_mirrored:
            left_px = upright.resized_width_px - upright.left_px - upright.crop_width_px
        if self.is_flipped:
            top_px = upright.resized_height_px - upright.top_px - upright.crop_height_px
        if not self.is_transposed:
            return Geometry(
                resized_width_px=upright.resized_width_px,
                resized_height_px=upright.resized_height_px,
                left_px=left_px,
                top_px=top_px,
                crop_width_px=upright.crop_width_px,
                crop_height_px=upright.crop_height_px,
            )
        return Geometry(
            resized_width_px=upright.resized_height_px,
            resized_height_px=upright.resized_width_px,
            left_px=top_px,
            top_px=left_px,
            crop_width_px=upright.crop_height_px,
            crop_height_px=upright.crop_width_px,
        )


UPRIGHT: Final = Orientation()
BY_EXIF: Final[Mapping[int, Orientation]] = MappingProxyType(
    {
        1: UPRIGHT,
        2: Orientation(is_mirrored=True),
        3: Orientation(is_mirrored=True, is_flipped=True),
        4: Orientation(is_flipped=True),
        5: Orientation(is_transposed=True),
        6: Orientation(is_transposed=True, is_mirrored=True),
        7: Orientation(is_transposed=True, is_mirrored=True, is_flipped=True),
        8: Orientation(is_transposed=True, is_flipped=True),
    }
)
