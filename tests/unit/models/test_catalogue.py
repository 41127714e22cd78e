from dataclasses import replace

import pytest

from bento_service.domain.models import InputRecipe, ModelCard, Parity
from bento_service.errors import ModelLoadError
from bento_service.models.catalogue import check_gate

CARD = ModelCard("tiny", "v1", ("cat",), InputRecipe(8, 6, 0.875, "bicubic", (0, 0, 0), (1, 1, 1)), "a test", "MIT")


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


def test_the_error_for_torch_does_not_suggest_torch() -> None:
    with pytest.raises(ModelLoadError, match="Set another model"):
        check_gate(replace(CARD, parity=Parity(200, 0.94, 0.0)), "torch")
