"""Prepare models: load the weights, export them, measure their parity, store them. Needs PyTorch."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from bento_service.domain.models import InputRecipe, ModelCard, Parity
from bento_service.errors import ModelLoadError
from bento_service.models.store import FILE_FORMAT, PREPARE_ELSEWHERE, BentoModelStore
from bento_service.preparation.export import export
from bento_service.preparation.sources.base import LoadedModel, ModelSource
from bento_service.preparation.sources.bundled import BundledSource
from bento_service.preparation.sources.timm_models import TimmSource
from bento_service.preparation.sources.torchvision_models import TorchvisionSource

if TYPE_CHECKING:
    from torch import nn

_HEX_DIGITS = 12

Progress = Callable[[str, str], None]
"""Called with a model's name and the current step, as a short phrase."""

MeasureParity = Callable[[LoadedModel, Path], Mapping[str, Parity]]
"""Returns parity by engine name, for a model in memory and its ONNX file."""


def default_sources() -> tuple[ModelSource, ...]:
    """Return every source of models."""
    return (BundledSource(), TimmSource(), TorchvisionSource())


def measure_nothing(model: LoadedModel, onnx_path: Path) -> Mapping[str, Parity]:
    """Return no parity, for machines without photographs."""
    return {}


class Preparer:
    """Prepares the models that a store lacks."""

    def __init__(
        self,
        store: BentoModelStore | None = None,
        sources: Sequence[ModelSource] | None = None,
        *,
        measure_parity: MeasureParity = measure_nothing,
    ) -> None:
        """Set the store and the sources.

        Args:
            store: Where to store prepared models; BentoML's own store if None.
            sources: The first one that offers a name loads it; `default_sources()` if None.
            measure_parity: Measures the parity of the cards.
        """
        self._store = store or BentoModelStore()
        self._sources = default_sources() if sources is None else tuple(sources)
        self._measure_parity = measure_parity

    def prepare(self, names: Sequence[str], on_progress: Progress) -> None:
        """Load, export and store each missing model. Of several processes, one prepares a model and the others wait.

        Raises:
            ModelLoadError: A model cannot be prepared; those before it in `names` are stored.
        """
        for name in names:
            if self._store.find(name) is not None:
                continue
            with self._store.lock(name):
                if self._store.find(name) is None:
                    self._prepare(name, on_progress)

    def _prepare(self, name: str, on_progress: Progress) -> None:
        on_progress(name, "loading weights")
        try:
            model = self._source_of(name).load(name)
        except ModuleNotFoundError as error:
            raise ModelLoadError(
                f"The model {name!r} is not prepared, and the Python package {error.name}, which that takes, is not "
                f"installed. {PREPARE_ELSEWHERE}",
                model=name,
            ) from error
        card = ModelCard(
            name=name,
            version=compute_version(model.module, model.recipe),
            labels=model.labels,
            recipe=model.recipe,
            source=model.source,
            licence=model.licence,
        )

        def write_model(onnx_path: Path, program_path: Path) -> None:
            on_progress(name, "exporting to ONNX")
            export(model, onnx_path=onnx_path, program_path=program_path)

        def measure(onnx_path: Path) -> Mapping[str, Parity]:
            on_progress(name, "measuring parity")
            return self._measure_parity(model, onnx_path)

        stored = self._store.save(card, write_model=write_model, measure=measure)
        failing = [engine for engine, parity in stored.parities.items() if not parity.passes_gate]
        on_progress(name, f"ready, but fails the parity gate on {', '.join(failing)}" if failing else "ready")

    def _source_of(self, name: str) -> ModelSource:
        for source in self._sources:
            if source.offers(name):
                return source
        raise ModelLoadError(
            f"No source has a model {name!r}. Name a bundled model, `timm/<name>` or `torchvision/<name>`.", model=name
        )


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
