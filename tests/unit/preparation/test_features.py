"""Class activation maps of served graphs, against their definition by gradients in PyTorch."""

from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from bento_service.domain.models import InputRecipe
from bento_service.engines.onnxruntime_engine import ONNXRuntimeEngine
from bento_service.engines.openvino_engine import OpenVINOEngine
from bento_service.models.class_head import read_class_head
from bento_service.models.store import BentoModelStore
from bento_service.preparation.sources.base import LoadedModel

torch = pytest.importorskip("torch", reason="needs the extra `torch`")
from torch import nn  # noqa: E402

from bento_service.preparation.export import export  # noqa: E402
from bento_service.preparation.sources.bundled import load_bundled  # noqa: E402

SMALL = InputRecipe(24, 32, 1.0, "bicubic", (0.4, 0.5, 0.6), (0.2, 0.25, 0.3))


def load_small() -> LoadedModel:
    torch.manual_seed(0)
    convolutions = [nn.Conv2d(3, 8, 3, stride=2), nn.BatchNorm2d(8), nn.Hardswish(), nn.Conv2d(8, 6, 3), nn.ReLU()]
    module = nn.Sequential(*convolutions, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(), nn.Linear(6, 3))
    return LoadedModel(
        name="small",
        labels=("cat", "dog", "other"),
        recipe=SMALL,
        source="here",
        licence="none",
        module=module.eval(),
    )


def differentiate(
    model: LoadedModel, pooling: nn.Module, images: NDArray[np.uint8], class_id: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return Grad-CAM (before its ReLU) and HiResCAM of a class, shape (n, rows, columns).

    Grad-CAM: Selvaraju et al., arXiv:1610.02391, equations 1 and 2. HiResCAM: Draelos and Carin, arXiv:2011.08891.
    """
    maps = []
    hook = pooling.register_forward_pre_hook(lambda _, inputs: maps.append(inputs[0].requires_grad_()))
    mean, std = (torch.tensor(values).view(1, -1, 1, 1) for values in (model.recipe.mean, model.recipe.std))
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255
    score = model.module((pixels - mean) / std)[:, class_id].sum()
    hook.remove()
    [features] = maps
    [gradient] = torch.autograd.grad(score, features)
    grad_cam = (gradient.mean((2, 3), keepdim=True) * features).sum(1)
    return grad_cam.detach().numpy(), (gradient * features).sum(1).detach().numpy()


@pytest.mark.parametrize("name", ["efficientnet_lite0", "small"])
def test_a_class_activation_map_is_what_gradients_say(name: str, bentoml_home: Path, tmp_path: Path) -> None:
    if name == "small":
        pooling: nn.Module
        model, onnx_path = load_small(), tmp_path / "model.onnx"
        export(model, onnx_path=onnx_path, program_path=tmp_path / "model.pt2")
        pooling = next(part for part in model.module.modules() if isinstance(part, nn.AdaptiveAvgPool2d))
    else:
        model, onnx_path = load_bundled(name), BentoModelStore().load(name).onnx_path
        pooling = model.module.get_submodule("global_pool")
    head = read_class_head(onnx_path)
    assert head is not None
    shape = (2, *model.recipe.shape_hwc)
    images = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    card = model.to_card("")

    for open_engine in (
        lambda: OpenVINOEngine(onnx_path, card, lanes=1, threads=1),
        lambda: ONNXRuntimeEngine(onnx_path, card, device="cpu", lanes=1, threads=1),
    ):
        with closing(open_engine()) as engine:
            scores, features = engine.infer_with_features(images)
            class_id = int(scores[0].argmax())
            maps = np.einsum("c,nchw->nhw", head.weights[class_id], features)
            places = maps.shape[1] * maps.shape[2]
            for defined in differentiate(model, pooling, images, class_id):
                np.testing.assert_allclose(maps / places, defined, atol=1e-4)
