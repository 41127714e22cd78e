"""Bring models in: load the weights, export them, measure their parity, store them. Needs PyTorch."""

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
"""Called with a model's name and what is being done to it, as a short phrase."""

MeasureParity = Callable[[LoadedModel, Path], Mapping[str, Parity]]
"""Given a model in memory and its ONNX file, returns parity by the name of the engine it was measured with."""


def default_sources() -> tuple[ModelSource, ...]:
    """Return every source that a name in the settings may belong to."""
    return (BundledSource(), TimmSource(), TorchvisionSource())


def measure_nothing(model: LoadedModel, onnx_path: Path) -> Mapping[str, Parity]:
    """Measure no parity: for where there are no photographs to measure with."""
    return {}


class Preparer:
    """Brings in the models that a store lacks."""

    def __init__(
        self,
        store: BentoModelStore | None = None,
        sources: Sequence[ModelSource] | None = None,
        *,
        measure_parity: MeasureParity = measure_nothing,
    ) -> None:
        """Take where to store and where to load from.

        Args:
            store: Where prepared models are kept; the store that BentoML is set to, if None.
            sources: Where models come from, the first that offers a name loads it; `default_sources()` if None.
            measure_parity: What fills the parity of the cards.
        """
        self._store = store or BentoModelStore()
        self._sources = default_sources() if sources is None else tuple(sources)
        self._measure_parity = measure_parity

    def prepare(self, names: Sequence[str], on_progress: Progress) -> None:
        """Load, export and store each model that is missing. Several processes may do it at once: one works, all wait.

        Raises:
            ModelLoadError: A model cannot be had; those before it in `names` are stored.
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
    """Return twelve hex digits over every tensor of a model (name, type, shape, bytes), its recipe and the file format.

    Equal weights and recipes give equal versions in any process on any machine; the exported files do not count,
    because exporting twice does not give the same bytes.
    """
    digest = hashlib.sha256()
    digest.update(json.dumps([FILE_FORMAT, asdict(recipe)], sort_keys=True).encode())
    for name, tensor in sorted(module.state_dict().items()):
        values = tensor.detach().cpu().contiguous().numpy()
        digest.update(f"{name} {values.dtype.str} {values.shape}".encode())
        digest.update(values.tobytes())
    return digest.hexdigest()[:_HEX_DIGITS]
