import pytest

from bento_service.errors import ModelLoadError
from bento_service.preparation.sources.sequential import build_sequential, is_sequential

pytest.importorskip("torch", reason="needs the extra `torch`")


def test_layers_are_built_as_their_source_writes_them() -> None:
    module = build_sequential(
        "nn.Sequential(nn.Conv2d(1, 4, kernel_size=3, padding=1), nn.ReLU(),\n"
        "  Sequential(MaxPool2d(2, 2)), torch.nn.Flatten(), nn.Linear(4 * 3 * 3, 10))"
    )

    assert [type(layer).__name__ for layer in module] == ["Conv2d", "ReLU", "MaxPool2d", "Flatten", "Linear"]
    assert [tuple(tensor.shape) for tensor in module.state_dict().values()] == [(4, 1, 3, 3), (4,), (10, 36), (10,)]


@pytest.mark.parametrize(
    "arch",
    [
        "Sequential(__import__('os').abort())",
        "Sequential(Linear(*[1, 2]))",
        "Sequential(Linear(**{'in_features': 1}))",
        "Sequential(Linear(2 ** 99, 1))",
        "Sequential(Linear(1000000 * 1000001, 1))",
        "Sequential(Module())",
        "Sequential(Linear(x, 1))",
        "Sequential(Linear(1, 'a'))",
        "Sequential(",
        "Sequential(3)",
        "Sequential(Conv2d(-1, 2, 3))",
        "Sequential(Linear(1000000000, 1000000000))",
    ],
)
def test_anything_but_layers_with_numbers_is_refused(arch: str) -> None:
    assert is_sequential(arch)
    with pytest.raises(ModelLoadError, match="--arch cannot be read"):
        build_sequential(arch)
