import pytest

from dashboard import map_wording
from tests.dashboard.explanations import explanation, grid_with


def test_a_map_is_described_in_one_sentence_with_method_exactness_and_the_size_of_a_cell() -> None:
    assert map_wording.description(explanation(image_px=(4032, 3024), box=(693.0, 189.0, 2646.0, 2646.0))) == (
        "Orange speaks for Egyptian cat, blue against it: an exact class activation map of 7 × 7 cells, each 378 × 378 "
        "px of the photograph."
    )
    assert "an estimated map by occlusion" in map_wording.description(explanation(method="occlusion"))


def test_an_estimate_says_what_its_strongest_cell_is_worth() -> None:
    halved = explanation(method="occlusion", grid=grid_with(2, 2, value=0.6931))
    assert "With its strongest cell covered, the score is 18% instead of 36%." in map_wording.details(halved)


@pytest.mark.parametrize(
    ("box", "words"),
    [((11.0, 3.0, 42.0, 42.0), True), ((0.0, 0.0, 64.0, 48.0), False), ((0.0, -8.0, 64.0, 64.0), False)],
    ids=["crop", "squash", "letterbox"],
)
def test_only_a_model_that_crops_is_said_not_to_see_all(box: tuple[float, float, float, float], words: bool) -> None:
    assert ("does not see the dark part" in map_wording.details(explanation(box=box))) is words


@pytest.mark.parametrize(
    ("cell", "place"),
    [((0, 0), "at the top left"), ((3, 3), "in the middle"), ((3, 6), "on the right"), ((6, 3), "at the bottom")],
)
def test_those_who_do_not_see_the_map_are_told_where_it_is_strongest(cell: tuple[int, int], place: str) -> None:
    drawn = explanation(box=(0.0, 0.0, 64.0, 48.0), grid=grid_with(*cell))
    assert map_wording.alternative("cat.jpg", drawn) == (
        f"cat.jpg with the map for Egyptian cat over it, which is strongest {place}"
    )


def test_a_cell_in_a_letterboxs_border_is_not_named_as_the_strongest() -> None:
    grid = grid_with(0, 0, value=9.0)
    grid[3][6] = 1.0
    drawn = explanation(box=(0.0, -100.0, 64.0, 248.0), grid=grid)
    assert "strongest on the right" in map_wording.alternative("cat.jpg", drawn)
