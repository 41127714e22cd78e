import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from bento_service.domain import Parity
from bento_service.models.parity import compare, passes_gate

distributions = arrays(np.float32, (4, 3), elements=st.floats(0, 1, width=32))


@given(distributions)
def test_a_path_agrees_with_itself(probabilities: np.ndarray) -> None:
    assert compare(probabilities, probabilities) == Parity(4, 1.0, 0.0)


@given(distributions, distributions)
def test_the_difference_is_the_same_both_ways(first: np.ndarray, second: np.ndarray) -> None:
    forth, back = compare(first, second), compare(second, first)

    assert forth == back
    assert 0 <= forth.max_probability_difference <= 1


def test_one_image_in_four_that_changes_class_leaves_three_quarters() -> None:
    reference = np.float32([[0.6, 0.4]] * 4)
    served = np.float32([[0.6, 0.4]] * 3 + [[0.3, 0.7]])

    parity = compare(reference, served)

    assert parity.top1_agreement == 0.75
    assert parity.max_probability_difference == pytest.approx(0.3)


@pytest.mark.parametrize(
    ("parity", "passes"),
    [
        (Parity(200, 1.0, 0.0), True),
        (Parity(200, 0.995, 0.02), True),
        (Parity(200, 0.99, 0.0), False),
        (Parity(200, 1.0, 0.021), False),
    ],
)
def test_the_gate_takes_both_limits(parity: Parity, *, passes: bool) -> None:
    assert passes_gate(parity) is passes


@pytest.mark.parametrize("shape", [(0, 3), (4, 2), (3,)])
def test_what_cannot_be_compared_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="cannot compare"):
        compare(np.zeros(shape, np.float32), np.zeros((0, 3) if shape == (0, 3) else (4, 3), np.float32))
