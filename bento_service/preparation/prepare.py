"""Prepare models: load the weights, export them, measure their parity, store them. Needs PyTorch."""

import functools
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Final

from bento_service.domain.models import InputRecipe, Parity
from bento_service.errors import ModelLoadError
from bento_service.extras import Part, explain_missing, find_installation
from bento_service.models.store import FILE_FORMAT, PREPARE_ELSEWHERE, BentoModelStore
from bento_service.preparation.export import export
from bento_service.preparation.sources.base import BUNDLED_NAMES, LoadedModel
from bento_service.preparation.sources.bundled import load_bundled
from bento_service.preparation.sources.timm_models import load_timm
from bento_service.preparation.sources.torchvision_models import load_torchvision

if TYPE_CHECKING:
    from torch import nn

_HEX_DIGITS = 12

Progress = Callable[[str, str], None]
"""Called with a model's name and the current step, as a short phrase."""

LoadModel = Callable[[str], LoadedModel]
"""Loads a model by name with its weights; raises `ModelLoadError`."""

MeasureParity = Callable[[LoadedModel, Path], Mapping[str, Parity]]
"""Returns parity by engine name, for a model in memory and its ONNX file."""


_LOADERS: Final[Mapping[str, LoadModel]] = {"timm": load_timm, "torchvision": load_torchvision}
"""By the library that a name begins with; bundled models have none."""


def load_model(name: str) -> LoadedModel:
    """Load a model by the source that its name belongs to.

    Raises:
        ModelLoadError: There is no such source or model, or its weights cannot be had.
    """
    library, separator, _ = name.partition("/")
    loader = _LOADERS.get(library) if separator else load_bundled
    if loader is None:
        raise ModelLoadError(
            f"No source has a model {name!r}. Name a bundled model, `timm/<name>` or `torchvision/<name>`.", model=name
        )
    return loader(name)


def measure_nothing(model: LoadedModel, onnx_path: Path) -> Mapping[str, Parity]:
    """Return no parity, for machines without photographs."""
    return {}


def prepare_missing(
    names: Sequence[str],
    store: BentoModelStore,
    on_progress: Progress,
    *,
    load: LoadModel = load_model,
    measure_parity: MeasureParity = measure_nothing,
) -> None:
    """Load, export and store each model that a store lacks. Of several processes, one prepares a model and others wait.

    Raises:
        ModelLoadError: A model cannot be prepared; those before it in `names` are stored.
    """
    for name in names:
        if store.find(name) is not None:
            continue
        with store.lock(name):
            if store.find(name) is None:
                _prepare(name, store, functools.partial(on_progress, name), load, measure_parity)


def _prepare(
    name: str, store: BentoModelStore, announce: Callable[[str], None], load: LoadModel, measure_parity: MeasureParity
) -> None:
    announce("loading weights")
    try:
        model = load(name)
    except ModuleNotFoundError as error:
        here = find_installation()
        part: Part = "bundled" if name in BUNDLED_NAMES else "torch"
        missing = explain_missing(f"Preparing the model {name!r}", part, here)
        raise ModelLoadError(f"{missing} {PREPARE_ELSEWHERE}" if here.is_container else missing, model=name) from error

    def write_model(onnx_path: Path, program_path: Path) -> None:
        announce("exporting to ONNX")
        export(model, onnx_path=onnx_path, program_path=program_path)

    def measure(onnx_path: Path) -> Mapping[str, Parity]:
        announce("measuring parity")
        return measure_parity(model, onnx_path)

    card = model.to_card(compute_version(model.module, model.recipe))
    stored = store.save(card, write_model=write_model, measure=measure)
    failing = [engine for engine, parity in stored.parities.items() if not parity.passes_gate]
    announce(f"ready, but fails the parity gate on {', '.join(failing)}" if failing else "ready")


def compute_version(module: "nn.Module", recipe: InputRecipe) -> str:
    """Return twelve hex digits of a digest of all tensors (name, type, shape, bytes), the recipe and the file format.

    Equal weights and recipes have equal versions on every machine. Exported files are left out, since exporting twice
    does not give the same bytes.
    """
    digest = hashlib.sha256()
    digest.update(json.dumps([FILE_FORMAT, asdict(recipe)], sort_keys=True).encode())
    for name, tensor in sorted(module.state_dict().items()):
        values = tensor.detach().cpu().contiguous().numpy()
        digest.update(f"{name} {values.dtype.str} {values.shape}".encode())
        digest.update(values.tobytes())
    return digest.hexdigest()[:_HEX_DIGITS]
