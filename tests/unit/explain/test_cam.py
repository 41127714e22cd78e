import numpy as np
import pytest
from numpy.typing import NDArray

from bento_service.explain.cam import map_class
from bento_service.models.class_head import ClassHead

CLASS_ID = 3


@pytest.fixture
def head() -> ClassHead:
    random = np.random.default_rng(1)
    return ClassHead(random.normal(size=(5, 1280)).astype(np.float32), random.normal(size=5).astype(np.float32))


@pytest.fixture
def features() -> NDArray[np.float32]:
    return np.random.default_rng(2).uniform(0, 6, (1280, 7, 9)).astype(np.float32)


def test_the_mean_of_the_map_and_the_bias_are_the_logit(head: ClassHead, features: NDArray[np.float32]) -> None:
    grid, bias = map_class(features, head, CLASS_ID)

    logit = head.weights[CLASS_ID] @ features.mean(axis=(1, 2)) + head.bias[CLASS_ID]
    assert grid.shape == (7, 9)
    assert float(grid.mean()) + bias == pytest.approx(float(logit), abs=1e-4)


def test_the_map_is_that_of_the_gradients(head: ClassHead, features: NDArray[np.float32]) -> None:
    torch = pytest.importorskip("torch", reason="needs the extra `torch`")
    maps = torch.tensor(features, requires_grad=True)
    logit = torch.nn.functional.linear(maps.mean((1, 2)), torch.tensor(head.weights), torch.tensor(head.bias))
    logit[CLASS_ID].backward()
    # HiResCAM (Draelos and Carin, 2020), which is Grad-CAM's before the ReLU for such a head; the mean over the cells
    # divides by their number, and a contribution to the mean does not.
    by_gradients = (maps.grad * maps.detach()).sum(0) * (7 * 9)

    grid, _ = map_class(features, head, CLASS_ID)

    assert np.abs(grid - by_gradients.numpy()).max() < 1e-4 * np.abs(grid).max()
