from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from bento_service.domain.models import InputRecipe, ModelCard, Parity
from bento_service.errors import ModelLoadError
from bento_service.models.parity_gate import check_gate, compare

CARD = ModelCard("tiny", "v1", ("cat",), InputRecipe(8, 6, 0.875, "bicubic", (0, 0, 0), (1, 1, 1)), "a test", "MIT")

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
    reference = np.array([[0.6, 0.4]] * 4, np.float32)
    served = np.array([[0.6, 0.4]] * 3 + [[0.3, 0.7]], np.float32)

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
    assert parity.passes_gate is passes
    assert replace(CARD, parity=parity).warnings == (() if passes else ("inexact_model",))


def test_a_difference_that_is_no_number_does_not_pass() -> None:
    assert not Parity(200, 1.0, float("nan")).passes_gate


@pytest.mark.parametrize("parity", [None, Parity(200, 1.0, 0.001)])
def test_a_model_that_passes_or_was_not_measured_may_be_served(parity: Parity | None) -> None:
    check_gate(replace(CARD, parity=parity), "openvino")


def test_a_model_that_fails_is_refused_with_the_figures_the_limits_and_two_ways_out() -> None:
    card = replace(CARD, parity=Parity(200, 0.94, 0.081))

    with pytest.raises(ModelLoadError) as refusal:
        check_gate(card, "openvino")

    for part in ("'tiny'", "`openvino`", "200", "94.0%", "0.0810", "99.5%", "0.02", "LIGHTBOX_ENGINE=torch"):
        assert part in refusal.value.message
    assert "LIGHTBOX_ALLOW_INEXACT=true" in refusal.value.message


def test_a_model_that_fails_on_torch_is_not_sent_to_torch() -> None:
    with pytest.raises(ModelLoadError, match="Set another model"):
        check_gate(replace(CARD, parity=Parity(200, 0.94, 0.0)), "torch")


@pytest.mark.parametrize("shape", [(0, 3), (4, 2), (3,)])
def test_what_cannot_be_compared_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="cannot compare"):
        compare(np.zeros(shape, np.float32), np.zeros((0, 3) if shape == (0, 3) else (4, 3), np.float32))
