"""What a model's input shows at a place lies on the photograph where the placement says."""

import io

import numpy as np
from hypothesis import assume, given
from hypothesis import strategies as st
from PIL import Image

from bento_service.domain.models import Fit, InputRecipe, Interpolation
from bento_service.explain.placement import place_input
from bento_service.images.geometry import BY_EXIF
from bento_service.images.preprocessing import ImageLimits, preprocess
from tests.unit.images.encodings import exif_with_orientation

LIMITS = ImageLimits(max_bytes=10_000_000, max_pixels=1_000_000)
FITS: tuple[Fit, ...] = ("crop", "squash", "letterbox")
FILTERS: tuple[Interpolation, ...] = ("nearest", "bilinear", "bicubic")
SIDES = st.integers(20, 200)

recipes = st.builds(
    InputRecipe,
    height_px=st.integers(16, 64),
    width_px=st.integers(16, 64),
    crop_fraction=st.sampled_from([0.5, 0.875, 1.0, 1.25]),
    interpolation=st.sampled_from(FILTERS),
    mean=st.just((0.5, 0.5, 0.5)),
    std=st.just((0.5, 0.5, 0.5)),
    fit=st.sampled_from(FITS),
    is_antialiased=st.booleans(),
)


@given(
    size=st.tuples(SIDES, SIDES),
    corner=st.tuples(st.floats(0, 0.75), st.floats(0, 0.75)),
    orientation=st.sampled_from(sorted(BY_EXIF)),
    recipe=recipes,
)
def test_the_place_of_a_pasted_object_maps_back_into_it(
    size: tuple[int, int], corner: tuple[float, float], orientation: int, recipe: InputRecipe
) -> None:
    width_px, height_px = size
    left, top = (int(share * side) for share, side in zip(corner, size, strict=True))
    right, bottom = left + width_px // 4, top + height_px // 4
    upright = np.zeros((height_px, width_px, 3), np.uint8)
    upright[top:bottom, left:right] = 255

    shown = preprocess(store(upright, orientation), recipe, LIMITS)
    box = place_input(shown.info, recipe)

    rows, columns = np.nonzero(shown.pixels_hwc[:, :, 0] > 127)
    assume(len(rows))
    # Half a pixel of the input, for the edge that the object covers in part, and one of the photograph, which filters
    # of single pixels round to.
    cell_width, cell_height = box.width_px / recipe.width_px, box.height_px / recipe.height_px
    for x in (box.left_px + (columns.min() + 0.5) * cell_width, box.left_px + (columns.max() + 0.5) * cell_width):
        assert left - cell_width / 2 - 1 <= x <= right + cell_width / 2 + 1
    for y in (box.top_px + (rows.min() + 0.5) * cell_height, box.top_px + (rows.max() + 0.5) * cell_height):
        assert top - cell_height / 2 - 1 <= y <= bottom + cell_height / 2 + 1


def store(upright: "np.typing.NDArray[np.uint8]", orientation: int) -> bytes:
    """Encode an image as a camera does that was held in this orientation."""
    turn = BY_EXIF[orientation]
    stored = upright[:: -1 if turn.is_flipped else 1, :: -1 if turn.is_mirrored else 1]
    if turn.is_transposed:
        stored = stored.swapaxes(0, 1)
    encoded = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(stored)).save(encoded, "PNG", exif=exif_with_orientation(orientation))
    return encoded.getvalue()
