from pathlib import Path

import numpy as np
import pytest
import torch
from torch import fx

from bento_service.engines.torch.program import fold_batch_norms, load_program, lower_weights
from tests.unit.engines.torch.small_programs import CLASSES, SIDE_PX, write_small_program


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small_program(tmp_path_factory.mktemp("program") / "model.pt2")


@pytest.fixture
def module(path: Path) -> fx.GraphModule:
    return load_program(path, "small", "cpu")


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(7).integers(0, 256, (5, SIDE_PX, SIDE_PX, 3), dtype=np.uint8))


def count(module: fx.GraphModule, target: object) -> int:
    return sum(node.target == target for node in module.graph.nodes)


def test_a_folded_program_gives_the_answers_of_the_one_it_was(module: fx.GraphModule, images: torch.Tensor) -> None:
    with torch.inference_mode():
        expected = module(images)
        fold_batch_norms(module)

        torch.testing.assert_close(module(images), expected, atol=1e-6, rtol=1e-5)


def test_batch_norms_are_folded_unless_their_convolution_has_another_user(module: fx.GraphModule) -> None:
    assert fold_batch_norms(module) == 2

    assert count(module, torch.ops.aten.batch_norm.default) == 2


def test_folding_twice_folds_nothing_more(module: fx.GraphModule, images: torch.Tensor) -> None:
    fold_batch_norms(module)

    assert fold_batch_norms(module) == 0
    assert module(images).shape == (5, CLASSES)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_lowered_weights_answer_under_autocast_nearly_as_before_and_in_f32(
    module: fx.GraphModule, images: torch.Tensor, dtype: torch.dtype
) -> None:
    with torch.inference_mode():
        expected = module(images)
        lower_weights(module, dtype)
        with torch.autocast("cpu", dtype=dtype, cache_enabled=False):
            scores = module(images)

    assert scores.dtype == torch.float32
    assert 0 < (scores - expected).abs().max() < 0.05


def test_only_the_weights_of_convolutions_and_linear_layers_are_lowered(module: fx.GraphModule) -> None:
    fold_batch_norms(module)
    lower_weights(module, torch.float16)

    parameters = dict(module.named_parameters())
    assert parameters["module.stem.0.weight"].dtype == torch.float16
    assert parameters["module.classifier.bias"].dtype == torch.float16
    assert parameters["module.first_norm.weight"].dtype == torch.float32
    assert module.get_buffer("mean").dtype == torch.float32


def test_convolutions_lie_channels_last(module: fx.GraphModule) -> None:
    weight = module.get_parameter("module.stem.0.weight")

    assert weight.is_contiguous(memory_format=torch.channels_last)
