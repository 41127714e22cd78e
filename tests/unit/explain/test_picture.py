import io

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from bento_service.domain.explanations import Box
from bento_service.domain.requests import ImageInfo
from bento_service.explain.picture import draw_explanation, lay_over
from bento_service.images.preprocessing import ImageLimits
from tests.unit.images.encodings import encode, exif_with_orientation, load_photograph

LIMITS = ImageLimits(max_bytes=20_000_000, max_pixels=20_000_000)
ORANGE, BLUE = [230, 159, 0], [0, 114, 178]


def strongest_at(row: int, column: int) -> NDArray[np.float32]:
    """A grid with one cell for the class and one, in the opposite corner, against it."""
    grid = np.zeros((4, 4), np.float32)
    grid[row, column], grid[3 - row, 3 - column] = 3, -3
    return grid


def test_what_speaks_for_the_class_is_orange_what_speaks_against_it_blue_and_what_is_not_seen_dark() -> None:
    photograph = np.full((400, 800, 3), 200, np.uint8)
    box = Box(left_px=400, top_px=0, width_px=800, height_px=800)  # the middle of 1600 x 800

    shown = lay_over(photograph, ImageInfo("PNG", 1600, 800), strongest_at(1, 3), box, 1.0)

    assert shown[150, 550].tolist() == pytest.approx(ORANGE, abs=10)
    assert shown[250, 250].tolist() == pytest.approx(BLUE, abs=10)
    assert shown[390, 590].tolist() == [200, 200, 200]
    assert shown[200, 50].tolist() == shown[200, 750].tolist() == [90, 90, 90]


def test_a_box_beyond_the_photograph_shows_the_cells_that_lie_on_it() -> None:
    photograph = np.zeros((200, 800, 3), np.uint8)
    letterbox = Box(left_px=0, top_px=-300, width_px=800, height_px=800)

    shown = lay_over(photograph, ImageInfo("PNG", 800, 200), strongest_at(1, 0), letterbox, 1.0)

    assert shown[0, 100].tolist() == pytest.approx(ORANGE, abs=10)
    assert shown[199, 700].tolist() == pytest.approx(BLUE, abs=10)


def test_opacity_blends_and_none_of_it_leaves_the_photograph() -> None:
    photograph = np.full((8, 8, 3), (100, 50, 0), np.uint8)
    grid = np.ones((2, 2), np.float32)

    half, none = (
        lay_over(photograph, ImageInfo("PNG", 8, 8), grid, Box(0, 0, 8, 8), opacity) for opacity in (0.5, 0.0)
    )

    grey = 59  # of ITU-R 601
    assert half[0, 0].tolist() == pytest.approx([(grey + colour) / 2 for colour in ORANGE], abs=1)
    assert (none == photograph).all()


def test_a_picture_is_upright_and_at_most_1024_px_a_side() -> None:
    encoded = encode(load_photograph().resize((2000, 500)), "JPEG", exif=exif_with_orientation(6))

    png = draw_explanation(encoded, LIMITS, strongest_at(0, 0), Box(0, 0, 500, 2000), 0.5)

    with Image.open(io.BytesIO(png)) as picture:
        assert (picture.format, picture.mode, picture.size) == ("PNG", "RGB", (256, 1024))
