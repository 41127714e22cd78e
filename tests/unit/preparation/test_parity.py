import io
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from bento_service.domain.models import Parity
from bento_service.preparation.parity import compare, make_crops, measure_over
from bento_service.preparation.prepare import measure_nothing

distributions = arrays(np.float32, (4, 3), elements=st.floats(0, 1, width=32))


def test_equal_seeds_make_equal_crops(photographs: tuple[Path, ...]) -> None:
    assert list(make_crops(photographs[:2], 5, seed=3)) == list(make_crops(photographs[:2], 5, seed=3))
    assert list(make_crops(photographs[:2], 5, seed=3)) != list(make_crops(photographs[:2], 5, seed=4))


def test_each_photograph_comes_whole_first(photographs: tuple[Path, ...]) -> None:
    whole = [Image.open(io.BytesIO(crop)).size for crop in islice(make_crops(photographs, 6), len(photographs))]

    assert whole == [Image.open(path).size for path in photographs]


def test_crops_are_jpegs_and_pngs_of_many_sizes(photographs: tuple[Path, ...]) -> None:
    images = [Image.open(io.BytesIO(crop)) for crop in make_crops(photographs[:2], 20)]

    assert {image.format for image in images} == {"JPEG", "PNG"}
    assert len({image.size for image in images}) > 15


def test_without_photographs_nothing_is_measured(tmp_path: Path) -> None:
    assert measure_over(tmp_path / "nowhere") is measure_nothing


@given(distributions)
def test_a_path_agrees_with_itself(probabilities: np.ndarray) -> None:
    assert compare(probabilities, probabilities) == Parity(4, 1.0, 0.0)


@given(distributions, distributions)
def test_the_difference_is_the_same_both_ways(first: np.ndarray, second: np.ndarray) -> None:
    forth, back = compare(first, second), compare(second, first)

    assert forth == back
    assert 0 <= forth.max_probability_difference <= 1


def test_one_image_in_four_that_changes_class_leaves_three_quarters() -> None:
    reference = np.array([[0.6, 0.4]] * 4, np.float32)
    served = np.array([[0.6, 0.4]] * 3 + [[0.3, 0.7]], np.float32)

    parity = compare(reference, served)

    assert parity.top1_agreement == 0.75
    assert parity.max_probability_difference == pytest.approx(0.3)


@pytest.mark.parametrize("shape", [(0, 3), (4, 2), (3,)])
def test_what_cannot_be_compared_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="cannot compare"):
        compare(np.zeros(shape, np.float32), np.zeros((0, 3) if shape == (0, 3) else (4, 3), np.float32))
