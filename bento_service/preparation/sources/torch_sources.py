"""Classifiers in PyTorch from a person's own files: timm's and transformers' folders, and weights with `--arch`."""

import math
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from bento_service.errors import ModelLoadError, WrongFactsError
from bento_service.preparation.confinement import Limits, run_confined
from bento_service.preparation.sources.base import unknown_model
from bento_service.preparation.sources.discovery import (
    TIMM_WEIGHTS,
    Source,
    TimmFolder,
    TransformersFolder,
    Weights,
    is_safetensors,
)
from bento_service.preparation.sources.findings import NOTHING, ModelFindings
from bento_service.preparation.sources.hugging_face import CONFIG
from bento_service.preparation.sources.sequential import build_sequential, is_sequential
from bento_service.preparation.sources.timm_config import read_timm_config

if TYPE_CHECKING:
    from torch import Tensor, nn

_TORCH_MEMORY_BYTES: Final = 16 * 2**30
"""Address space that importing PyTorch with CUDA takes, beyond what the tensors do."""
_ARCHES = "`timm/<architecture>`, `torchvision/<name>`, or the layers as `Sequential(Conv2d(1, 32, 3), ReLU(), …)`"


@dataclass(frozen=True, slots=True, kw_only=True)
class TorchClassifier:
    """A module in evaluation mode, and what its weights say of its input and output.

    `size` is (height, width) where the architecture takes no other.
    """

    module: "nn.Module"
    channels: int
    classes: int
    size: tuple[int, int] | None = None
    found: ModelFindings = NOTHING


def load_source(source: Source, arch: str | None) -> TorchClassifier:
    """Load a source that is no ONNX file.

    Raises:
        ModelLoadError: Its files are damaged or do not fit the architecture, or `arch` is missing or unknown.
        ModuleNotFoundError: PyTorch, or a library that the source takes, is not installed.
    """
    match source:
        case TimmFolder():
            return _load_timm_folder(source.path)
        case TransformersFolder():
            return _load_transformers_folder(source.path)
        case Weights():
            if arch is None:
                raise ModelLoadError(
                    f"{source.path.name!r} has weights and no architecture: name it with --arch, as {_ARCHES}. "
                    "Of a network of your own, export ONNX (`torch.onnx.export`) and import that."
                )
            return _load_weights(source.path, arch)
    raise TypeError(f"{source} is no source of PyTorch's")


def _load_timm_folder(folder: Path) -> TorchClassifier:
    import timm

    stored = next(path for name in TIMM_WEIGHTS if (path := folder / name).is_file())
    try:
        # A copy, since timm would read a pickle in this process, and a path with `?` as a URL.
        with tempfile.TemporaryDirectory() as copied:
            copy = Path(copied)
            shutil.copyfile(folder / CONFIG, copy / CONFIG)
            if is_safetensors(stored):
                (copy / "model.safetensors").symlink_to(stored.resolve())
            else:
                _convert(stored, copy / "model.safetensors")
            module = timm.create_model(f"local-dir:{copy}", pretrained=True)
    except ModelLoadError:
        raise
    # timm raises any exception of an architecture's code for arguments or tensors that do not fit.
    except Exception as error:
        raise ModelLoadError(f"timm cannot load {folder}: {_first_line(error)}") from error
    cfg: Mapping[str, Any] = getattr(module, "pretrained_cfg", {})
    channels, height_px, width_px = cfg["input_size"]
    return TorchClassifier(
        module=module.eval().float(),
        channels=channels,
        classes=int(getattr(module, "num_classes", 0)),
        size=(height_px, width_px) if cfg.get("fixed_input_size") else None,
    )


def _load_transformers_folder(folder: Path) -> TorchClassifier:
    from torch import nn
    from transformers import AutoModelForImageClassification

    try:
        model = AutoModelForImageClassification.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False, use_safetensors=True
        )
    # transformers raises any exception of an architecture's code for configurations that do not fit.
    except Exception as error:
        raise ModelLoadError(f"transformers cannot load {folder}: {_first_line(error)}") from error

    class Logits(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, pixels: "Tensor") -> "Tensor":
            logits: Tensor = self.model(pixel_values=pixels).logits
            return logits

    size = getattr(model.config, "image_size", None)
    return TorchClassifier(
        module=Logits().eval().float(),
        channels=getattr(model.config, "num_channels", 3),
        classes=model.config.num_labels,
        size=(size, size) if isinstance(size, int) else None,
    )


def _load_weights(path: Path, arch: str) -> TorchClassifier:
    tensors = _read_tensors(path)
    library, _, name = arch.partition("/")
    if is_sequential(arch):
        return _fill_sequential(tensors, arch)
    if library == "timm" and name:
        return _fill_timm(tensors, name)
    if library == "torchvision" and name:
        return _fill_torchvision(tensors, name)
    raise ModelLoadError(f"--arch is {arch!r}; it is one of {_ARCHES}.")


def _read_tensors(path: Path) -> "Mapping[str, Tensor]":
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        if is_safetensors(path):
            return load_file(path)
        with tempfile.TemporaryDirectory() as folder:
            converted_path = Path(folder, "weights.safetensors")
            names = _convert(path, converted_path)
            tensors = load_file(converted_path)
            return {name: tensors[name] for name in names}
    except SafetensorError as error:
        raise ModelLoadError(f"The weights {path.name!r} cannot be read: {error}.") from error


def _convert(path: Path, converted_path: Path) -> Sequence[str]:
    """Write a file of PyTorch's as safetensors, in a child process; return the tensors' names in the file's order."""
    limits = Limits.of_file(path.stat().st_size)
    limits = replace(limits, memory_bytes=limits.memory_bytes + _TORCH_MEMORY_BYTES, wall_s=limits.wall_s + 40)
    asked = {"path": str(path.absolute()), "converted_path": str(converted_path)}
    names: Sequence[str] = run_confined("convert_weights", asked, limits, subject=path.name)["names"]
    return names


def _fill_sequential(tensors: "Mapping[str, Tensor]", arch: str) -> TorchClassifier:
    """Fill layers with the tensors of the same names, or in the order of the file: a chain's is that of its layers."""
    module = build_sequential(arch)
    wanted = module.state_dict()
    if set(wanted) == set(tensors):
        tensors = {name: tensors[name] for name in wanted}
    for (name, layer), (stored_name, tensor) in zip_longest(
        wanted.items(), tensors.items(), fillvalue=("nothing", None)
    ):
        if layer is None or tensor is None or layer.shape != tensor.shape:
            raise ModelLoadError(
                f"The layers of --arch do not fit the weights: {name}{_shape_of(layer)} in the layers meets "
                f"{stored_name}{_shape_of(tensor)} in the file. They are compared in their order, which a file that "
                "`torch.save` made keeps and a safetensors file does not."
            )
    module.load_state_dict(dict(zip(wanted, tensors.values(), strict=True)))
    weights = [tensor for tensor in tensors.values() if tensor.ndim >= 2]
    if not weights:
        raise WrongFactsError("The layers of --arch have neither Conv2d nor Linear: they are no classifier.")
    return TorchClassifier(module=module.eval().float(), channels=_find_channels(module), classes=weights[-1].shape[0])


def _find_channels(module: "nn.Sequential") -> int:
    """Return the channels of the image that a chain takes, by its first layer with weights.

    Raises:
        WrongFactsError: That is Linear, and takes neither a grey nor a colour image with equal sides.
    """
    from torch import nn

    first = next(layer for layer in module if isinstance(layer, nn.Conv2d | nn.Linear))
    if isinstance(first, nn.Conv2d):
        return first.in_channels
    features = first.in_features
    for channels in (1, 3):
        if channels * math.isqrt(features // channels) ** 2 == features:
            return channels
    raise WrongFactsError(
        f"The first layer takes {features:,} values, and an image with equal sides has 1 or 3 times the square of one. "
        "Export ONNX (`torch.onnx.export`) and import that."
    )


def _shape_of(tensor: "Tensor | None") -> str:
    return "" if tensor is None else f" of the shape {tuple(tensor.shape)}"


def _fill_timm(tensors: "Mapping[str, Tensor]", name: str) -> TorchClassifier:
    import timm

    architecture = name.partition(".")[0]
    if architecture not in timm.list_models():
        raise unknown_model(f"timm/{name}", [f"timm/{known}" for known in timm.list_models()], allowed=_TAKEN)
    cfg = timm.get_pretrained_cfg(name if timm.models.is_model_pretrained(name) else architecture)
    described: dict[str, Any] = cfg.to_dict() if cfg else {}
    classes = _count_classes(tensors, str(described.get("classifier", "")))
    first = tensors.get(f"{described.get('first_conv')}.weight")
    channels = int(first.shape[1]) if first is not None and first.ndim == 4 else 3
    module = timm.create_model(architecture, pretrained=False, num_classes=classes, in_chans=channels)
    _fill(module, tensors, f"timm/{architecture}")
    # Weights that timm names have a recipe; an architecture alone has none.
    found = read_timm_config(_to_json(described)) if "." in name and cfg else NOTHING
    size = tuple(described["input_size"][1:]) if described.get("fixed_input_size") else None
    found = ModelFindings(recipe=found.recipe)
    return TorchClassifier(module=module.eval(), channels=channels, classes=classes, size=size, found=found)


def _fill_torchvision(tensors: "Mapping[str, Tensor]", name: str) -> TorchClassifier:
    from torchvision import models

    names = models.list_models(module=models)
    if name not in names:
        raise unknown_model(f"torchvision/{name}", [f"torchvision/{known}" for known in names], allowed=_TAKEN)
    last = [
        key for key in models.get_model(name, weights=None, **_NO_INIT.get(name, {})).state_dict() if "aux" not in key
    ]
    classes = _count_classes(tensors, last[-1].rpartition(".")[0])
    module = models.get_model(name, weights=None, num_classes=classes, **_NO_INIT.get(name, {}))
    if any(".aux" in f".{key}" for key in module.state_dict()) and not any("aux" in key for key in tensors):
        module = models.get_model(name, weights=None, num_classes=classes, aux_logits=False, **_NO_INIT.get(name, {}))
    _fill(module, tensors, f"torchvision/{name}")
    return TorchClassifier(module=module.eval(), channels=3, classes=classes)


_TAKEN = f"--arch is {_ARCHES}."
_NO_INIT: Final[Mapping[str, Mapping[str, Any]]] = {
    name: {"init_weights": False} for name in ("googlenet", "inception_v3")
}
"""These two warn that they initialise weights, and take half a minute for it."""


def _count_classes(tensors: "Mapping[str, Tensor]", classifier: str) -> int:
    weight = tensors.get(f"{classifier}.weight")
    if weight is None:
        found = ", ".join(list(tensors)[-3:])
        raise ModelLoadError(
            f"The weights have no tensor {classifier}.weight, where this architecture has its classes; the last ones "
            f"are {found}. Name the architecture that they were trained with."
        )
    return int(weight.shape[0])


def _fill(module: "nn.Module", tensors: "Mapping[str, Tensor]", arch: str) -> None:
    try:
        module.load_state_dict(dict(tensors))
    except RuntimeError as error:
        lines = [line.strip() for line in str(error).splitlines()[1:3]]
        raise ModelLoadError(f"The weights do not fit {arch}: {' '.join(lines)[:400]}") from error


def _to_json(described: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return timm's configuration as a JSON file would hold it."""
    return {key: list(value) if isinstance(value, tuple) else value for key, value in described.items()}


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
