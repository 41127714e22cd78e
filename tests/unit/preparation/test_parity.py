import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from bento_service.domain.models import Parity
from bento_service.preparation.parity import compare, make_crops

distributions = arrays(np.float32, (4, 3), elements=st.floats(0, 1, width=32))


def test_crops_follow_the_whole_photographs(photographs: tuple[Path, ...]) -> None:
    crops = list(make_crops(photographs, 20, seed=3))
    images = [Image.open(io.BytesIO(crop)) for crop in crops]

    assert [image.size for image in images[: len(photographs)]] == [Image.open(path).size for path in photographs]
    assert {image.format for image in images} == {"JPEG", "PNG"}
    assert len({image.size for image in images}) > 15
    assert crops == list(make_crops(photographs, 20, seed=3))
    assert crops != list(make_crops(photographs, 20, seed=4))


@given(distributions, distributions)
def test_the_difference_is_symmetric(first: np.ndarray, second: np.ndarray) -> None:
    assert compare(first, first) == Parity(4, 1.0, 0.0)
    assert compare(first, second) == compare(second, first)
    assert 0 <= compare(first, second).max_probability_difference <= 1


def test_agreement_is_the_share_of_equal_classes() -> None:
    reference = np.array([[0.6, 0.4]] * 4, np.float32)
    served = np.array([[0.6, 0.4]] * 3 + [[0.3, 0.7]], np.float32)

    parity = compare(reference, served)

    assert parity.top1_agreement == 0.75
    assert parity.max_probability_difference == pytest.approx(0.3)


@pytest.mark.parametrize("shape", [(0, 3), (4, 2), (3,)])
def test_shapes_that_differ_or_are_empty_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="cannot compare"):
        compare(np.zeros(shape, np.float32), np.zeros((0, 3) if shape == (0, 3) else (4, 3), np.float32))
