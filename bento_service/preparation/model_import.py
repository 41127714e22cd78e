"""Import a model from a person's own files: find out what it is, make its graph, measure it, store it."""

import shutil
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from bento_service.domain.models import InputRecipe, StoredModel
from bento_service.errors import ModelLoadError
from bento_service.models.store import BentoModelStore
from bento_service.preparation.import_facts import GraphShape, complete, list_missing
from bento_service.preparation.import_plan import ImportPlan, choose_score_kind, describe, make_plan, make_recipe
from bento_service.preparation.inspection import GraphHints
from bento_service.preparation.onnx_import import OnnxImport, PreparedOnnx, check_recipes, inspect_onnx, prepare_onnx
from bento_service.preparation.presets import Preset
from bento_service.preparation.progress import Quarters
from bento_service.preparation.recipe_check import RecipeCheck
from bento_service.preparation.sources.base import LoadedModel
from bento_service.preparation.sources.discovery import OnnxSource, Source
from bento_service.preparation.sources.findings import NOTHING, ModelFindings
from bento_service.preparation.sources.onnx_metadata import read_metadata


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportRequest:
    """What a person asks for: `stated` are the flags, which win over what the files say.

    `check` is a folder of labelled photographs, over which candidates of the recipe are tried. `reference` is the f32
    original of a quantised ONNX file.
    """

    name: str
    source: Source
    stated: ModelFindings = NOTHING
    preset: Preset | None = None
    arch: str | None = None
    hints: GraphHints = field(default_factory=GraphHints)
    check: Path | None = None
    reference: Path | None = None
    allow_inexact: bool = False


@dataclass(frozen=True, slots=True)
class Listener:
    """Who follows an import.

    `announce` gets each step and each finding, as a short phrase. `show_check` gets the figures of the candidates, and
    the recipe that is imported; None where the facts do not make one.
    """

    announce: Callable[[str], None]
    show_check: Callable[[RecipeCheck, InputRecipe | None], None]


def import_model(request: ImportRequest, store: BentoModelStore, listener: Listener) -> StoredModel:
    """Import a model into a store; one that has the same version is replaced.

    Raises:
        ModelLoadError: The source is damaged, hostile or no classifier; facts are missing or contradict each other; or
            it fails the parity gate.
        ModuleNotFoundError: A library that the source takes is not installed.
    """
    # A store that cannot be written is told before the import, which takes half a minute.
    with store.lock(request.name):
        pass
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory()))
        listener.announce(f"reading {request.source.description}")
        if isinstance(request.source, OnnxSource):
            prepared = _prepare_onnx(request, request.source, folder, listener)
        else:
            prepared = _prepare_torch(request, folder, listener)

        def move_files(onnx_path: Path, program_path: Path) -> None:
            shutil.move(folder / "model.onnx", onnx_path)
            if (folder / "model.pt2").exists():
                shutil.move(folder / "model.pt2", program_path)

        stack.enter_context(store.lock(prepared.card.name))
        return store.save(
            prepared.card,
            write_model=move_files,
            measure=lambda _: prepared.parities,
            has_features=prepared.has_features,
        )


def _prepare_onnx(request: ImportRequest, source: OnnxSource, folder: Path, listener: Listener) -> PreparedOnnx:
    facts = inspect_onnx(source.path, request.hints)
    shape = GraphShape(
        channels=facts.channels,
        height_px=facts.height_px,
        width_px=facts.width_px,
        classes=facts.classes,
        activation=facts.activation,
        takes_bytes=facts.input_type == "uint8" and not facts.is_wrapped,
    )
    files = read_metadata(facts.metadata).or_else(source.found)
    plan = _plan(request, files, shape, source.path, listener)
    return prepare_onnx(
        OnnxImport(
            path=source.path,
            name=request.name,
            labels=plan.labels,
            recipe=plan.recipe,
            source=plan.source or _describe_producer(source, facts.producer),
            licence=plan.licence,
            score_kind=plan.score_kind,
            found_in=plan.found_in,
            hints=request.hints,
            reference=request.reference,
            allow_inexact=request.allow_inexact,
        ),
        folder,
        listener.announce,
    )


def _prepare_torch(request: ImportRequest, folder: Path, listener: Listener) -> PreparedOnnx:
    """Export a classifier in PyTorch, import that as any ONNX file, and compare it with PyTorch."""
    from bento_service.preparation.export import export_plain, export_program
    from bento_service.preparation.parity import measure_parity
    from bento_service.preparation.sources.torch_sources import load_source

    if request.reference is not None:
        raise ModelLoadError("--reference is for ONNX files; this source is compared with PyTorch in f32.")
    classifier = load_source(request.source, request.arch)
    height_px, width_px = classifier.size or (None, None)
    shape = GraphShape(
        channels=classifier.channels,
        height_px=height_px,
        width_px=width_px,
        classes=classifier.classes,
        activation="none",
    )
    files = request.source.found.or_else(classifier.found)
    size = complete(request.stated, request.preset, files, shape).recipe.size
    exported_path = folder / "exported.onnx"
    if size is not None:
        listener.announce("exporting to ONNX")
        export_plain(classifier.module, (classifier.channels, *size.value), exported_path)
    plan = _plan(request, files, shape, exported_path, listener)
    source = plan.source or request.source.description + (f" as {request.arch}" if request.arch else "")
    prepared = prepare_onnx(
        OnnxImport(
            path=exported_path,
            name=request.name,
            labels=plan.labels,
            recipe=plan.recipe,
            source=source,
            licence=plan.licence,
            score_kind=plan.score_kind,
            found_in=plan.found_in,
            measures_parity=False,
        ),
        folder,
        listener.announce,
    )
    listener.announce("writing the torch program")
    model = LoadedModel(
        name=request.name,
        labels=plan.labels,
        recipe=plan.recipe,
        source=source,
        licence=plan.licence,
        score_kind=plan.score_kind,
        module=classifier.module,
    )
    export_program(model, folder / "model.pt2")
    step = "comparing with PyTorch"
    listener.announce(step)
    parities = measure_parity(model, prepared.onnx_path, on_progress=Quarters(step, listener.announce).show)
    failing = [engine for engine, parity in parities.items() if not parity.passes_gate]
    if failing and not request.allow_inexact:
        raise ModelLoadError(
            f"{request.name!r} fails the parity gate on {', '.join(failing)}; --allow-inexact stores it nevertheless.",
            model=request.name,
        )
    found_in = {**prepared.card.found_in, **({"parity": "PyTorch in f32"} if parities else {})}
    return replace(prepared, card=replace(prepared.card, found_in=found_in), parities=parities)


def _plan(
    request: ImportRequest,
    files: ModelFindings,
    shape: GraphShape,
    onnx_path: Path,
    listener: Listener,
) -> ImportPlan:
    found = complete(request.stated, request.preset, files, shape)
    _check(request, found, shape, onnx_path, listener)
    plan = make_plan(request.name, found, shape)
    for line in describe(plan):
        listener.announce(line)
    return plan


def _check(
    request: ImportRequest, found: ModelFindings, shape: GraphShape, onnx_path: Path, listener: Listener
) -> None:
    """Try the candidates over labelled photographs; without labels or a size there is nothing to try."""
    if request.check is None or found.facts.labels is None or found.recipe.size is None:
        return
    usual = complete(NOTHING, "zero-one" if shape.channels == 1 else "imagenet", found, shape).recipe
    is_complete = not list(list_missing(found, shape))
    figures = check_recipes(
        onnx_path,
        request.check,
        found.facts.labels.value,
        make_recipe(found.recipe.or_else(usual)),
        score_kind=choose_score_kind(found, shape)[0],
        hints=request.hints,
    )
    listener.show_check(figures, make_recipe(found.recipe) if is_complete else None)


def _describe_producer(source: OnnxSource, producer: str) -> str:
    return f"{source.description}, made by {producer}" if producer else source.description
