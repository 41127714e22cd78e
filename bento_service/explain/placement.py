"""Where the input of a model lies on the photograph that it was made from."""

from bento_service.domain.explanations import Box
from bento_service.domain.models import InputRecipe
from bento_service.domain.requests import ImageInfo
from bento_service.images.geometry import Axis, plan_geometry


def place_input(image: ImageInfo, recipe: InputRecipe) -> Box:
    """Return the rectangle of the upright image that a model's input shows.

    It reaches beyond the image where the input has a border: of a letterbox, or of a crop fraction above 1. Exact for
    every recipe and orientation, since the resize is planned on the upright image.
    """
    across, down = plan_geometry(image.width_px, image.height_px, recipe)
    left_px, width_px = _place(across, image.width_px)
    top_px, height_px = _place(down, image.height_px)
    return Box(left_px, top_px, width_px, height_px)


def _place(axis: Axis, side_px: int) -> tuple[float, float]:
    """Return start and length of the crop before the resize."""
    px_per_resized_px = side_px / axis.resized_px
    return axis.start_px * px_per_resized_px, axis.crop_px * px_per_resized_px
