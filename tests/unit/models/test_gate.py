from dataclasses import replace

import pytest

from bento_service.domain.models import InputRecipe, ModelCard, Parity
from bento_service.errors import ModelLoadError
from bento_service.models.gate import check_gate

CARD = ModelCard("tiny", "v1", ("cat",), InputRecipe(8, 6, 0.875, "bicubic", (0, 0, 0), (1, 1, 1)), "a test", "MIT")


@pytest.mark.parametrize(
    ("parity", "passes"),
    [
        (None, True),
        (Parity(200, 1.0, 0.0), True),
        (Parity(200, 0.995, 0.02), True),
        (Parity(200, 0.99, 0.0), False),
        (Parity(200, 1.0, 0.021), False),
        (Parity(200, 1.0, float("nan")), False),
    ],
)
def test_the_gate_takes_both_limits(parity: Parity | None, *, passes: bool) -> None:
    card = replace(CARD, parity=parity)

    assert card.warnings == (() if passes else ("inexact_model",))
    if passes:
        check_gate(card, "openvino")
        return
    with pytest.raises(ModelLoadError):
        check_gate(card, "openvino")


@pytest.mark.parametrize(("engine", "advice"), [("openvino", "LIGHTBOX_ENGINE=torch"), ("torch", "Set another model")])
def test_the_error_has_the_figures_the_limits_and_two_ways_out(engine: str, advice: str) -> None:
    with pytest.raises(ModelLoadError) as refusal:
        check_gate(replace(CARD, parity=Parity(200, 0.94, 0.081)), engine)

    for part in ("'tiny'", f"`{engine}`", "200", "94.0%", "0.0810", "99.5%", "0.02", advice, "LIGHTBOX_ALLOW_INEXACT"):
        assert part in refusal.value.message
