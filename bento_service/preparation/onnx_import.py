"""Bring an ONNX file in from outside: inspect it, wrap it like our graphs, measure it.

Each step reads and runs the file in a child process with limits, never in this one: see `confinement`, and
docs/adr/0034-files-from-outside.md for the reasons.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from pydantic import TypeAdapter

from bento_service.domain.models import (
    MAX_PROBABILITY_DIFFERENCE,
    MIN_TOP1_AGREEMENT,
    InputRecipe,
    ModelCard,
    Parity,
    ScoreKind,
)
from bento_service.errors import ModelLoadError
from bento_service.evaluation.folders import Photograph, choose_of_each_class, find_photographs
from bento_service.preparation.confinement import Limits, run_confined
from bento_service.preparation.inspection import GraphFacts, GraphHints
from bento_service.preparation.onnx_file import find_onnx_file
from bento_service.preparation.progress import Quarters
from bento_service.preparation.recipe_check import MAX_PHOTOGRAPHS, RecipeCheck, RecipeFigures

_HINTS = TypeAdapter(GraphHints)
_FACTS = TypeAdapter(GraphFacts)
_RECIPES = TypeAdapter(InputRecipe)
_PARITIES = TypeAdapter(Mapping[str, Parity])
_PHOTOGRAPHS = TypeAdapter(list[Photograph])
_FIGURES = TypeAdapter(tuple[RecipeFigures, ...])
_CHECK_S = 600.0
"""For thirty candidates and a hundred photographs, 0.2 s an image."""
_CROPS = 200
"""As many as `parity.CROPS`, which would import the engines here."""
_PASSES = 4
"""Times that measuring parity runs each crop: by the reference and two engines, and once more for their loading."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OnnxImport:
    """What a source found out about an ONNX file that is to be imported.

    `recipe.channel_count` must be the graph's, and its size the graph's where that is fixed. A graph that takes uint8
    normalises inside: its recipe has `presets.BYTES`. `score_kind` is what the scores are meant to be: Softmax or
    Sigmoid is added where the graph does not end in it.

    `reference` is the f32 original of a quantised file, which parity is then measured against. `allow_inexact` imports
    a file that fails the parity gate; the gate then decides for each engine when it is served. `measures_parity` is
    False where the caller has a better reference than ONNX Runtime.
    """

    path: Path
    name: str
    labels: tuple[str, ...]
    recipe: InputRecipe
    source: str
    licence: str
    score_kind: ScoreKind = "softmax"
    found_in: Mapping[str, str] = field(default_factory=dict)
    hints: GraphHints = field(default_factory=GraphHints)
    reference: Path | None = None
    allow_inexact: bool = False
    measures_parity: bool = True


@dataclass(frozen=True, slots=True)
class PreparedOnnx:
    """A wrapped and measured model, ready for `BentoModelStore.save`. `onnx_path` is one file, to be moved."""

    card: ModelCard
    onnx_path: Path
    parities: Mapping[str, Parity]
    has_features: bool


def inspect_onnx(path: Path, hints: GraphHints | None = None) -> GraphFacts:
    """Say what an ONNX file is, or the one in a folder (external data beside it). Takes about two seconds.

    Raises:
        ModelLoadError: It is no image classifier, needs a hint (the message names the flag), or is refused as hostile.
    """
    file = find_onnx_file(path)
    request = {"path": str(file.path), "hints": _HINTS.dump_python(hints or GraphHints())}
    found = run_confined("inspect", request, Limits.of_file(file.total_bytes), subject=file.path.name)
    return _FACTS.validate_python(found)


def prepare_onnx(request: OnnxImport, folder: Path, announce: Callable[[str], None]) -> PreparedOnnx:
    """Wrap a file, check that it answers, and measure parity and memory; `folder` is for its files, and the caller's.

    A file that is a graph of Lightbox's own already (`GraphFacts.is_wrapped`) is kept as it is, so that an export
    imports to the same version. `announce` is called with each step, as a short phrase.

    Raises:
        ModelLoadError: As `inspect_onnx`; or labels, recipe and graph contradict each other; or it fails the parity
            gate, with the figures.
    """
    file = find_onnx_file(request.path)
    reference = find_onnx_file(request.reference) if request.reference else file
    wrapped_path = folder / "model.onnx"
    asked = {
        "name": request.name,
        "path": str(file.path),
        "hints": _HINTS.dump_python(request.hints),
        "recipe": _RECIPES.dump_python(request.recipe),
        "labels": request.labels,
        "score_kind": request.score_kind,
        "wrapped_path": str(wrapped_path),
    }
    announce("wrapping the graph")
    limits = Limits.of_file(file.total_bytes)
    wrapped = run_confined("wrap", asked, limits, subject=file.path.name)
    step = "measuring parity and memory"
    announce(step)
    asked |= {"path": str(reference.path), "crops": _CROPS if request.measures_parity else 0}
    limits = Limits.of_file(max(file.total_bytes, reference.total_bytes)).for_runs(wrapped["run_s"], _CROPS * _PASSES)
    measured = run_confined(
        "measure", asked, limits, subject=reference.path.name, on_progress=Quarters(step, announce).show
    )
    parities = _PARITIES.validate_python(measured["parities"])
    if not request.allow_inexact:
        check_parity(request, parities, measured["reference"], is_quantised=wrapped["is_quantised"])
    found_in = dict(request.found_in)
    if parities:
        found_in["parity"] = f"{measured['reference']} on {reference.path.name}"
    card = ModelCard(
        request.name,
        wrapped["version"],
        request.labels,
        request.recipe,
        request.source,
        request.licence,
        score_kind=request.score_kind,
        found_in=found_in,
        max_batch=wrapped["max_batch"],
        memory_bytes=measured["memory_bytes"],
    )
    return PreparedOnnx(card, wrapped_path, parities, has_features=wrapped["has_features"])


def check_recipes(
    path: Path,
    photographs: Path,
    labels: Sequence[str],
    recipe: InputRecipe,
    *,
    score_kind: ScoreKind = "softmax",
    hints: GraphHints | None = None,
) -> RecipeCheck:
    """Try normalisations, RGB and BGR, and fits on labelled photographs: a subfolder a class, named by label or id.

    Candidates have the size, interpolation and crop fraction of `recipe`, which is one of them (`as given`); it is
    also tried with the other kind of resize. A grey graph, and one that takes uint8, is tried with what is left to
    vary. At most `MAX_PHOTOGRAPHS` are used.

    Raises:
        ModelLoadError: As `inspect_onnx`; or a subfolder is no label, or a photograph cannot be read.
    """
    file = find_onnx_file(path)
    found = find_photographs(photographs, labels).photographs
    used = choose_of_each_class(found, MAX_PHOTOGRAPHS)
    request = {
        "path": str(file.path),
        "hints": _HINTS.dump_python(hints or GraphHints()),
        "recipe": _RECIPES.dump_python(recipe),
        "labels": labels,
        "score_kind": score_kind,
        "photographs": _PHOTOGRAPHS.dump_python(used),
    }
    limits = Limits.of_file(file.total_bytes)
    limits = replace(limits, wall_s=limits.wall_s + _CHECK_S)
    figures = run_confined("check", request, limits, subject=file.path.name)
    return RecipeCheck(_FIGURES.validate_python(figures["figures"]), len(used), len(found))


def check_parity(request: OnnxImport, parities: Mapping[str, Parity], reference: str, *, is_quantised: bool) -> None:
    """Check the parity of each CPU engine; `reference` names what it was measured against.

    Raises:
        ModelLoadError: One fails the gate.
    """
    failing = {engine: parity for engine, parity in parities.items() if not parity.passes_gate}
    if not failing:
        return
    figures = "; ".join(
        f"on `{engine}` a probability moves by up to {parity.max_probability_difference:.4f}, and the best class "
        f"agrees on {parity.top1_agreement:.1%}"
        for engine, parity in failing.items()
    )
    passing = [engine for engine in parities if engine not in failing]
    advice = f", and serve it with LIGHTBOX_ENGINE={passing[0]}" if passing else ""
    better = "Import the f32 original, or s" if is_quantised else "S"
    original = f" (its original {request.reference.name!r})" if request.reference else ""
    raise ModelLoadError(
        f"{request.path.name!r} fails the parity gate: over {next(iter(failing.values())).crops} crops of photographs, "
        f"compared with {reference}{original}, {figures}. At most {MAX_PROBABILITY_DIFFERENCE:g} and at least "
        f"{MIN_TOP1_AGREEMENT:.1%} are allowed. {better}tore it nevertheless with `--allow-inexact`"
        f"{advice}.",
        model=request.name,
    )
