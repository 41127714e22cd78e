import numpy as np
import pytest
from numpy.typing import NDArray

from bento_service.domain.models import InputRecipe
from bento_service.engines.torch.cuda_model import (
    Classify,
    Precision,
    choose_precision,
    list_candidates,
    make_probes,
    measure_parity,
)

RECIPE = InputRecipe(40, 24, 0.875, "bicubic", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
PROBES = make_probes(RECIPE, 120)
DECIDED = np.tile(np.array([[0.7, 0.2, 0.1]], dtype=np.float32), (120, 1))


def answer(scores: NDArray[np.float32]) -> Classify:
    return lambda batch_nhwc: scores[: len(batch_nhwc)]


def fail(batch_nhwc: NDArray[np.uint8]) -> NDArray[np.float32]:
    raise RuntimeError("expected Float but found Half")


AS_F32 = answer(DECIDED)


def choose(*, fp16: Classify = AS_F32, bf16: Classify = AS_F32, f32: Classify = AS_F32) -> Precision:
    ways: dict[Precision, Classify] = {"fp16": fp16, "bf16": bf16, "f32": f32}
    return choose_precision(list_candidates("auto", has_bf16=True), ways.__getitem__, DECIDED, PROBES)[0]


OFF = answer(DECIDED + 0.03)


@pytest.mark.parametrize(
    ("fp16", "bf16", "chosen"),
    [
        pytest.param(answer(DECIDED + 0.01), AS_F32, "fp16", id="fp16 answers as f32"),
        pytest.param(OFF, AS_F32, "bf16", id="bf16 is next"),
        pytest.param(OFF, OFF, "f32", id="f32 is last"),
        pytest.param(answer(np.full_like(DECIDED, np.nan)), AS_F32, "bf16", id="an overflow fails the gate"),
        pytest.param(fail, AS_F32, "bf16", id="an error fails it too"),
    ],
)
def test_the_fastest_precision_that_passes_the_gate_is_chosen(fp16: Classify, bf16: Classify, chosen: str) -> None:
    assert choose(fp16=fp16, bf16=bf16) == chosen


def test_the_reason_for_a_skipped_precision_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    choose(fp16=fail)

    assert "found Half" in caplog.text


def test_a_model_that_fails_in_every_arithmetic_fails() -> None:
    with pytest.raises(RuntimeError, match="found Half"):
        choose(fp16=fail, bf16=fail, f32=fail)


def test_a_configured_precision_is_used_even_if_it_fails_the_gate() -> None:
    precision, parity = choose_precision(list_candidates("fp16", has_bf16=True), lambda precision: OFF, DECIDED, PROBES)
    assert precision == "fp16"
    assert not parity.passes_gate


def test_bf16_that_a_gpu_only_emulates_is_not_tried() -> None:
    assert list_candidates("auto", has_bf16=False) == ("fp16", "f32")


def test_probes_are_the_same_each_time_and_all_different() -> None:
    np.testing.assert_array_equal(make_probes(RECIPE, 120), PROBES)
    assert PROBES.shape == (120, 40, 24, 3)
    assert len({probe.tobytes() for probe in PROBES}) == 120


def test_undecided_images_do_not_count_for_the_best_class() -> None:
    level = np.tile(np.array([[0.501, 0.499, 0.0]], dtype=np.float32), (50, 1))
    swapped = level[:, [1, 0, 2]]
    parity = measure_parity(np.concatenate([DECIDED, level]), np.concatenate([DECIDED, swapped]))
    assert parity.top1_agreement == 1
    assert parity.max_probability_difference == pytest.approx(0.002, abs=1e-4)
    assert parity.passes_gate


def test_a_decided_best_class_that_changes_counts() -> None:
    served = DECIDED.copy()
    served[0] = [0.2, 0.7, 0.1]
    parity = measure_parity(DECIDED, served)
    assert parity.top1_agreement == pytest.approx(119 / 120)
    assert parity.max_probability_difference == pytest.approx(0.5)


def test_too_few_decided_images_are_no_evidence() -> None:
    assert not measure_parity(DECIDED[:99], DECIDED[:99]).passes_gate
