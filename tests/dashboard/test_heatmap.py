import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageColor

from dashboard import heatmap
from dashboard.preview import OUTSIDE_BRIGHTNESS, OVERVIEW_PX
from lightbox_client.contract import Explanation
from tests.dashboard.conftest import encode
from tests.dashboard.explanations import explanation, grid_with

GREY = (120, 120, 120)
FRAME_PX = 3
SIDES = st.integers(min_value=1, max_value=5_000)


def draw(drawn: Explanation, *, opacity: float = 1.0, colour: tuple[int, int, int] = GREY) -> NDArray[np.uint8]:
    """The map over a photograph of one colour, of which the service's preview has at most 640 px a side."""
    scale = min(1.0, 640 / max(drawn.image.width, drawn.image.height))
    size = tuple(max(1, round(side * scale)) for side in (drawn.image.width, drawn.image.height))
    png = heatmap.draw_map(encode(Image.new("RGB", (size[0], size[1]), colour), "PNG"), drawn, opacity=opacity)
    return np.asarray(Image.open(io.BytesIO(png)))


def peak(picture: NDArray[np.uint8]) -> tuple[float, float]:
    """The middle of the most orange pixels, in shares of width and height."""
    distance = np.abs(picture.astype(int) - ImageColor.getrgb(heatmap.FOR)).sum(axis=2)
    rows, columns = np.nonzero(distance <= distance.min() + 20)
    return (columns.mean() + 0.5) / picture.shape[1], (rows.mean() + 0.5) / picture.shape[0]


@pytest.mark.parametrize(
    ("image_px", "box", "centre"),
    [
        ((400, 300), (75.0, 25.0, 250.0, 250.0), (75 + 250 * 5.5 / 7, 25 + 250 * 1.5 / 7)),
        ((300, 400), (25.0, 75.0, 250.0, 250.0), (25 + 250 * 5.5 / 7, 75 + 250 * 1.5 / 7)),
        ((4032, 3024), (693.0, 189.0, 2646.0, 2646.0), (693 + 2646 * 5.5 / 7, 189 + 2646 * 1.5 / 7)),
        ((400, 300), (0.0, 0.0, 400.0, 300.0), (400 * 5.5 / 7, 300 * 1.5 / 7)),
        ((400, 300), (0.0, -50.0, 400.0, 400.0), (400 * 5.5 / 7, -50 + 400 * 1.5 / 7)),
    ],
    ids=["crop", "upright", "larger than its preview", "squash", "letterbox"],
)
def test_the_strongest_cell_lies_where_the_box_puts_it(
    image_px: tuple[int, int], box: tuple[float, float, float, float], centre: tuple[float, float]
) -> None:
    across, down = peak(draw(explanation(image_px=image_px, box=box, grid=grid_with(1, 5))))
    assert across * image_px[0] == pytest.approx(centre[0], abs=image_px[0] / 100)
    assert down * image_px[1] == pytest.approx(centre[1], abs=image_px[1] / 100)


def test_of_a_panorama_the_part_around_the_crop_is_drawn_large() -> None:
    panorama = explanation(image_px=(20_000, 1_000), box=(9_500.0, 0.0, 1_000.0, 1_000.0), grid=grid_with(3, 3))
    picture = draw(panorama)
    assert heatmap.is_cut(panorama)
    assert picture.shape[1] / picture.shape[0] == pytest.approx(3, abs=0.1)
    assert peak(picture) == pytest.approx((0.5, 0.5), abs=0.03)


def test_what_the_model_did_not_see_is_dark_and_without_a_map() -> None:
    grid = grid_with(0, 0, value=1.0, elsewhere=1.0)
    picture = draw(explanation(image_px=(400, 300), box=(75.0, 25.0, 250.0, 250.0), grid=grid))
    height, width, _ = picture.shape
    assert picture[height // 2, 4].tolist() == [round(120 * OUTSIDE_BRIGHTNESS)] * 3
    assert picture[height // 2, width // 2].tolist() == list(ImageColor.getrgb(heatmap.FOR))


def test_parts_for_a_class_are_orange_those_against_it_blue_and_others_stay_as_they_are() -> None:
    grid = [[4.0, 0.0, 0.0, 0.0, -4.0]]
    picture = draw(explanation(image_px=(500, 100), box=(0.0, 0.0, 500.0, 100.0), grid=grid))
    middle = picture[picture.shape[0] // 2]
    assert middle[5].tolist() == list(ImageColor.getrgb(heatmap.FOR))
    assert middle[-5].tolist() == list(ImageColor.getrgb(heatmap.AGAINST))
    assert middle[len(middle) // 2].tolist() == list(GREY)


def test_the_photograph_keeps_its_colours_below_a_transparent_map_and_turns_grey_below_others() -> None:
    drawn = explanation(image_px=(400, 300), box=(0.0, 0.0, 400.0, 300.0), grid=grid_with(0, 0))
    assert draw(drawn, opacity=0.0, colour=(200, 40, 90))[200, 300].tolist() == [200, 40, 90]
    red, green, blue = draw(drawn, opacity=0.5, colour=(200, 40, 90))[200, 300].tolist()
    assert red == green == blue


@settings(max_examples=25)
@given(st.tuples(SIDES, SIDES), st.tuples(*[st.floats(-300, 300)] * 2), st.tuples(*[st.floats(1, 6_000)] * 2))
def test_any_photograph_and_any_box_that_meets_it_can_be_drawn(
    image_px: tuple[int, int], corner: tuple[float, float], size: tuple[float, float]
) -> None:
    left, top = (min(start, side - 0.5) for start, side in zip(corner, image_px, strict=True))
    width, height = (length + max(0, -start) for length, start in zip(size, (left, top), strict=True))
    picture = draw(explanation(image_px=image_px, box=(left, top, width, height)))
    assert picture.shape[0] <= OVERVIEW_PX[1]
    assert picture.shape[1] <= OVERVIEW_PX[0]
