"""Every model that can be served: brings them in, and hands them out."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from bento_service.domain.models import ModelCard, Parity
from bento_service.errors import ModelLoadError
from bento_service.models.base import LoadedModel, ModelSource
from bento_service.models.bundled import BundledSource
from bento_service.models.digest import compute_version
from bento_service.models.export import export
from bento_service.models.parity import check_gate
from bento_service.models.store import PREPARE_ELSEWHERE, BentoModelStore, StoredModel
from bento_service.models.timm_source import TimmSource
from bento_service.models.torchvision_source import TorchvisionSource

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


class Catalogue:
    """Prepares models (needs torch, once) and loads prepared ones (needs no torch)."""

    def __init__(
        self,
        store: BentoModelStore | None = None,
        sources: Sequence[ModelSource] | None = None,
        *,
        measure_parity: MeasureParity = measure_nothing,
    ) -> None:
        """Wire a catalogue.

        Args:
            store: Where prepared models are kept; the store that BentoML is set to, if None.
            sources: Where models come from, the first that offers a name loads it; `default_sources()` if None.
            measure_parity: What fills the parity of the cards.
        """
        self._store = store or BentoModelStore()
        self._sources = default_sources() if sources is None else tuple(sources)
        self._measure_parity = measure_parity

    def missing(self, names: Sequence[str]) -> tuple[str, ...]:
        """Return those of `names` that are not prepared yet. Takes milliseconds."""
        return tuple(name for name in names if self._store.find(name) is None)

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

    def load(self, name: str) -> StoredModel:
        """Return a prepared model.

        Raises:
            ModelLoadError: It is not prepared.
        """
        stored = self._store.find(name)
        if stored is None:
            raise ModelLoadError(
                f"The model {name!r} is not prepared. Run `lightbox models prepare {name}` first.", model=name
            )
        return stored

    def load_to_serve(self, name: str, engine: str, *, allow_inexact: bool = False) -> StoredModel:
        """Return a prepared model whose card has the parity that was measured with `engine`.

        Args:
            name: The model.
            engine: What is to run it.
            allow_inexact: Return it even if it failed the parity gate; its card warns then.

        Raises:
            ModelLoadError: It is not prepared, or failed the parity gate.
        """
        stored = self.load(name)
        card = stored.card_served_by(engine)
        if not allow_inexact:
            check_gate(card, engine)
        return replace(stored, card=card)

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
