"""Prepare models: load or build them, write their ONNX file, measure their parity, store them.

The bundled models take `onnx` and the packages of their weights; those of timm and torchvision take PyTorch.
"""

import functools
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from bento_service.domain.model_names import BUNDLED_NAMES
from bento_service.domain.models import Parity, StoredModel
from bento_service.errors import ModelLoadError
from bento_service.extras import Part, explain_missing, find_installation
from bento_service.models.bento_entries import PREPARE_ELSEWHERE
from bento_service.models.class_head import has_features
from bento_service.models.store import BentoModelStore
from bento_service.preparation.bundled_parity import find_bundled_parity
from bento_service.preparation.export import export, export_program
from bento_service.preparation.sources.base import BuiltModel, LoadedModel
from bento_service.preparation.sources.bundled import build_bundled, load_bundled, weights_package
from bento_service.preparation.sources.timm_models import load_timm
from bento_service.preparation.sources.torchvision_models import load_torchvision
from bento_service.preparation.version import compute_version

Progress = Callable[[str, str], None]
"""Called with a model's name and the current step, as a short phrase."""

LoadModel = Callable[[str], BuiltModel | LoadedModel]
"""Builds or loads a model by name; raises `ModelLoadError`, and `ModuleNotFoundError` for a library that it takes."""

MeasureParity = Callable[[LoadedModel, Path], Mapping[str, Parity]]
"""Returns parity by engine name, for a model in PyTorch and its ONNX file."""


_LOADERS: Final[Mapping[str, Callable[[str], LoadedModel]]] = {"timm": load_timm, "torchvision": load_torchvision}
"""By the library that a name begins with; bundled models have none."""

_PACKAGES_OF_BUNDLED: Final = frozenset(("onnx", *map(weights_package, BUNDLED_NAMES)))


def load_model(name: str) -> BuiltModel | LoadedModel:
    """Build a bundled model, or load one of a library.

    Raises:
        ModelLoadError: There is no such source or model, or its weights cannot be had.
        ModuleNotFoundError: A library that this takes is not installed.
    """
    return _load_from_library(name) if "/" in name else build_bundled(name)


def load_in_torch(name: str) -> LoadedModel:
    """Load a model in PyTorch; raises as `load_model`."""
    return _load_from_library(name) if "/" in name else load_bundled(name)


def measure_over_samples(model: LoadedModel, onnx_path: Path) -> Mapping[str, Parity]:
    """Measure parity over the dashboard's photographs; return none where there are none."""
    # Here, since the bundled models need none of the engines that it imports.
    from bento_service.preparation.parity import measure_parity

    return measure_parity(model, onnx_path)


def prepare_missing(
    names: Sequence[str],
    store: BentoModelStore,
    on_progress: Progress,
    *,
    load: LoadModel = load_model,
    measure_parity: MeasureParity = measure_over_samples,
    with_program: bool = False,
) -> None:
    """Prepare each model that a store lacks. Of several processes, one prepares a model and others wait.

    A bundled model that an earlier Lightbox prepared is prepared again; where that fails, it stays as it is.
    `with_program` also writes the torch program of each model that lacks it, which takes PyTorch.

    Raises:
        ModelLoadError: A model cannot be prepared; those before it in `names` are stored.
    """

    def is_ready(stored: StoredModel | None) -> bool:
        return stored is not None and not (with_program and stored.program_path is None)

    for name in names:
        announce = functools.partial(on_progress, name)
        stored = store.find(name)
        if stored is not None and stored.is_outdated:
            stored = _renew(stored, store, announce, load, measure_parity)
        if is_ready(stored):
            continue
        with store.lock(name), _explained_imports(name):
            stored = store.find(name)
            if is_ready(stored):
                continue
            stored = stored or _prepare(name, store, announce, load, measure_parity)
            if with_program and stored.program_path is None:
                announce("writing the torch program")
                store.save_program(stored.card, functools.partial(write_program, name))
        failing = [engine for engine, parity in stored.parities.items() if not parity.passes_gate]
        announce(f"ready, but fails the parity gate on {', '.join(failing)}" if failing else "ready")


def write_program(name: str, path: Path) -> None:
    """Write the torch program of a model, which takes PyTorch.

    Raises:
        ModelLoadError: The model cannot be had, or PyTorch cannot export it.
        ModuleNotFoundError: PyTorch is not installed.
    """
    export_program(load_in_torch(name), path)


def _renew(
    outdated: StoredModel,
    store: BentoModelStore,
    announce: Callable[[str], None],
    load: LoadModel,
    measure_parity: MeasureParity,
) -> StoredModel:
    """Prepare a model again, in place where its version is the same; return what is stored then."""
    name = outdated.card.name
    try:
        with store.lock(name), _explained_imports(name):
            stored = store.find(name) or outdated
            return _prepare(name, store, announce, load, measure_parity) if stored.is_outdated else stored
    except ModelLoadError as error:
        announce(f"stays as an earlier Lightbox prepared it, without the features that explain a class: {error}")
        return outdated


def _prepare(
    name: str, store: BentoModelStore, announce: Callable[[str], None], load: LoadModel, measure_parity: MeasureParity
) -> StoredModel:
    import onnx

    announce("loading weights")
    model = load(name)
    with TemporaryDirectory() as folder:
        onnx_path, program_path = Path(folder, "model.onnx"), Path(folder, "model.pt2")
        if isinstance(model, BuiltModel):
            graph = model.graph
            onnx.save(graph, onnx_path)
        else:
            announce("exporting to ONNX")
            export(model, onnx_path=onnx_path, program_path=program_path)
            graph = onnx.load(onnx_path)
        version = compute_version(graph, model.labels, model.recipe)
        if isinstance(model, BuiltModel):
            parities = find_bundled_parity(version)
        else:
            announce("measuring parity")
            parities = measure_parity(model, onnx_path)

        def move_files(to_onnx_path: Path, to_program_path: Path) -> None:
            shutil.move(onnx_path, to_onnx_path)
            if program_path.exists():
                shutil.move(program_path, to_program_path)

        return store.save(
            model.to_card(version),
            write_model=move_files,
            measure=lambda _: parities,
            has_features=has_features(graph),
        )


def _load_from_library(name: str) -> LoadedModel:
    loader = _LOADERS.get(name.partition("/")[0])
    if loader is None:
        raise ModelLoadError(
            f"No source has a model {name!r}. Name a bundled model, `timm/<name>` or `torchvision/<name>`.", model=name
        )
    return loader(name)


@contextmanager
def _explained_imports(name: str) -> Iterator[None]:
    """Explain a library that is not installed."""
    try:
        yield
    except ModuleNotFoundError as error:
        here = find_installation()
        package = (error.name or "").partition(".")[0]
        part: Part = "bundled" if package in _PACKAGES_OF_BUNDLED else "torch"
        missing = explain_missing(f"Preparing the model {name!r}", part, here)
        raise ModelLoadError(f"{missing} {PREPARE_ELSEWHERE}" if here.is_container else missing, model=name) from error
