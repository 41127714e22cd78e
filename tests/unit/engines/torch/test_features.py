"""The last feature map of torch programs, by heads as PyTorch's models have them."""

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from bento_service.engines.torch.cuda_lanes import LaneModel
from bento_service.engines.torch.cuda_model import Precision, ready_model
from bento_service.engines.torch.engine import CudaProgram, TorchEngine
from bento_service.engines.torch.features import return_features
from bento_service.engines.torch.program import load_program
from bento_service.errors import InferenceFailedError
from bento_service.preparation.export import make_serving_graph
from tests.fakes.cuda import FakeRuntime
from tests.unit.engines.torch.small_programs import CARD, CLASSES, RECIPE

STEM = (nn.Conv2d(3, 6, 3, stride=2), nn.Hardswish())
POOL = nn.AdaptiveAvgPool2d(1)


class ChannelsLast(nn.Module):
    """A head as Swin's: the mean over rows and columns that come before the channels."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(6, CLASSES)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.linear(features.permute(0, 2, 3, 1).mean((1, 2)))
        return logits


HEADS: dict[str, tuple[nn.Module, ...]] = {
    "linear": (POOL, nn.Flatten(), nn.Dropout(), nn.Linear(6, CLASSES)),
    "convolution": (POOL, nn.Conv2d(6, CLASSES, 1), nn.Flatten()),
    "two layers": (POOL, nn.Flatten(), nn.Linear(6, 5), nn.Linear(5, CLASSES)),
    "channels last": (ChannelsLast(),),
}
OTHERS: dict[str, tuple[nn.Module, ...]] = {
    "an activation in between": (POOL, nn.Hardswish(), nn.Flatten(), nn.Linear(6, CLASSES)),
    "the largest of each map": (nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(6, CLASSES)),
    "pooling of parts": (nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(24, CLASSES)),
}


def trace(*head: nn.Module) -> torch.fx.GraphModule:
    torch.manual_seed(0)
    graph = make_serving_graph(nn.Sequential(*STEM, *head).eval(), RECIPE)
    example = torch.zeros(2, *RECIPE.shape_hwc, dtype=torch.uint8)
    shapes = {"images": {0: torch.export.Dim("batch", min=1)}}
    return torch.export.export(graph, (example,), dynamic_shapes=shapes).module(check_guards=False)


@pytest.mark.parametrize("head", HEADS.values(), ids=HEADS)
def test_the_map_before_pooling_comes_with_the_same_scores(
    head: tuple[nn.Module, ...], images: NDArray[np.uint8]
) -> None:
    module = trace(*head)
    tapped = return_features(module)
    assert tapped is not None
    batch = torch.from_numpy(images)

    with torch.inference_mode():
        scores, features = tapped(batch)
        pixels = (batch.permute(0, 3, 1, 2).float() / 255 - 0.5) / 0.25
        torch.testing.assert_close(features, nn.Sequential(*STEM)(pixels))
        assert torch.equal(scores, module(batch))
    parameters = dict(module.named_parameters())
    assert all(parameter is parameters[name] for name, parameter in tapped.named_parameters())


@pytest.mark.parametrize("head", OTHERS.values(), ids=OTHERS)
def test_a_program_with_another_head_has_no_features(head: tuple[nn.Module, ...]) -> None:
    assert return_features(trace(*head)) is None


@pytest.mark.parametrize(("precision", "tolerance"), [("f32", 1e-4), ("fp16", 0.05)])
def test_a_gpus_model_returns_the_features_of_the_cpus(
    path: Path, images: NDArray[np.uint8], precision: Precision, tolerance: float
) -> None:
    scores, features = TorchEngine(path, CARD, device="cpu", threads=1).infer_with_features(images)
    model = ready_model(load_program(path, "small", "cpu"), RECIPE, candidates=[precision], compiler=None, device="cpu")
    lane_model = LaneModel(model.forward, RECIPE, CLASSES, model.forward_with_features)
    program = CudaProgram(lane_model, max_batch=8, lanes=1, runtime=FakeRuntime())

    answers = program.infer_with_features(images)

    for answer, expected in zip(answers, (scores, features), strict=True):
        assert answer.dtype == np.float32
        np.testing.assert_allclose(answer, expected, atol=tolerance * np.abs(expected).max())


def test_a_closed_engine_returns_no_features(path: Path, images: NDArray[np.uint8]) -> None:
    engine = TorchEngine(path, CARD, device="cpu", threads=1)
    engine.close()

    with pytest.raises(InferenceFailedError, match="closed"):
        engine.infer_with_features(images)
