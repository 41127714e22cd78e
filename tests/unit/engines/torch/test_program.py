from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import fx

from bento_service.engines.torch.program import fold_batch_norms, load_program, lower_weights


@pytest.fixture
def module(path: Path) -> fx.GraphModule:
    return load_program(path, "small", "cpu")


def test_batch_norms_are_folded_unless_their_convolution_has_another_user(
    module: fx.GraphModule, images: NDArray[np.uint8]
) -> None:
    with torch.inference_mode():
        expected = module(torch.from_numpy(images))
        assert [fold_batch_norms(module), fold_batch_norms(module)] == [2, 0]
        torch.testing.assert_close(module(torch.from_numpy(images)), expected, atol=1e-6, rtol=1e-5)
    assert sum(node.target == torch.ops.aten.batch_norm.default for node in module.graph.nodes) == 2


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_lowered_weights_answer_under_autocast_nearly_as_before_and_in_f32(
    module: fx.GraphModule, images: NDArray[np.uint8], dtype: torch.dtype
) -> None:
    batch = torch.from_numpy(images)
    with torch.inference_mode():
        expected = module(batch)
        lower_weights(module, dtype)
        with torch.autocast("cpu", dtype=dtype, cache_enabled=False):
            scores = module(batch)
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
