"""The steps of an import that read or run the file: called by `confined`, in a process of its own."""

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter

from bento_service.domain.models import InputRecipe, ModelCard, Parity, ScoreKind
from bento_service.errors import LightboxError, ModelLoadError, OutOfMemoryError
from bento_service.evaluation.folders import Photograph
from bento_service.preparation.batches import fix_batch, free_batch
from bento_service.preparation.features import add_features
from bento_service.preparation.graph_run import GraphRun, to_graph_input
from bento_service.preparation.inspection import Activation, GraphFacts, GraphHints, inspect
from bento_service.preparation.onnx_file import read_onnx
from bento_service.preparation.progress import Progress
from bento_service.preparation.recipe_check import make_candidates, measure_candidates
from bento_service.preparation.version import compute_version
from bento_service.preparation.weights_task import convert_weights
from bento_service.preparation.wrapping import check_recipe, wrap

if TYPE_CHECKING:
    from onnx import ModelProto

Task = Callable[[Mapping[str, Any]], object]
"""From a request to an answer, both as JSON has them; raises `LightboxError`."""

HINTS: Final = TypeAdapter(GraphHints)
FACTS: Final = TypeAdapter(GraphFacts)
RECIPES: Final = TypeAdapter(InputRecipe)
PARITIES: Final = TypeAdapter(Mapping[str, Parity])

_ACTIVATION_OF: Final[Mapping[ScoreKind, Activation]] = {"softmax": "softmax", "independent": "sigmoid"}
_PROBE_PX = 224
"""The height and width of a first run where the graph takes any."""
_MAX_BATCH_DIFFERENCE = 1e-3
"""Batches may round differently, by far less than the parity gate allows."""


def inspect_file(request: Mapping[str, Any]) -> object:
    """Return the facts of the file at `path`, as JSON."""
    model, hints = _read(request)
    facts = inspect(model, hints)
    size_px = facts.height_px or _PROBE_PX, facts.width_px or _PROBE_PX
    try:
        facts = _probe(GraphRun(model, facts), *size_px)
    except OutOfMemoryError:
        raise
    except LightboxError:
        # A graph that takes any size by its declaration may still need one that the recipe knows.
        if facts.height_px is not None and facts.width_px is not None:
            raise
    return FACTS.dump_python(facts, mode="json")


def wrap_file(request: Mapping[str, Any]) -> object:
    """Write the wrapped graph of the file at `path` to `wrapped_path`.

    Return its version, its largest batch, the seconds of one image, whether it is quantised, and whether it returns
    features.
    """
    import onnx

    model, hints = _read(request)
    recipe = RECIPES.validate_python(request["recipe"])
    labels: list[str] = request["labels"]
    facts = inspect(model, hints)
    check_recipe(facts, recipe)
    run = GraphRun(model, facts)
    facts = _probe(run, recipe.height_px, recipe.width_px)
    _check_labels(facts, labels)
    added = choose_activation(facts, request["score_kind"])
    started_s = time.monotonic()
    run.score(to_graph_input(_make_images(recipe)[:1], recipe, facts))
    run_s = time.monotonic() - started_s
    del run
    wrapped = model if facts.is_wrapped else wrap(model, facts, recipe, added, len(labels))
    returns_features = add_features(wrapped)
    wrapped, max_batch = _settle_batch(wrapped, facts, recipe)
    try:
        onnx.save(wrapped, request["wrapped_path"])
    except ValueError as error:
        raise ModelLoadError(f"The wrapped graph is larger than one ONNX file can be: {error}") from error
    return {
        "version": compute_version(wrapped, labels, recipe),
        "max_batch": max_batch,
        "run_s": run_s,
        "is_quantised": facts.is_quantised,
        "has_features": returns_features,
    }


def measure_file(request: Mapping[str, Any]) -> object:
    """Return the parity of the graph at `wrapped_path` with the file at `path`, by engine, and its memory.

    Parity is measured over `crops` images, or not at all where the dashboard's photographs are not installed. The
    percentage of those that have run is written to `progress_fd`.
    """
    from bento_service.preparation import memory, parity

    recipe = RECIPES.validate_python(request["recipe"])
    wrapped_path = Path(request["wrapped_path"])
    card = ModelCard(request["name"], "", tuple(request["labels"]), recipe, "", "")
    taken_bytes = memory.measure_load(wrapped_path, card)
    crops = parity.sample_crops(request["crops"])
    if not crops:
        return {"reference": "", "parities": {}, "memory_bytes": taken_bytes}
    model, hints = _read(request)
    run = GraphRun(model, inspect(model, hints))
    del model
    facts = _probe(run, recipe.height_px, recipe.width_px)
    _check_labels(facts, card.labels)
    added = choose_activation(facts, request["score_kind"])
    progress = Progress(len(crops) * (1 + parity.count_engines()), partial(_write_progress, request["progress_fd"]))
    answers = []
    for crop in crops:
        pixels = parity.transform_plainly(crop, recipe)[np.newaxis]
        answers.append(run.score(to_graph_input(pixels, recipe, facts), added))
        progress.add(1)
    parities = parity.compare_engines(wrapped_path, card, np.concatenate(answers), crops, progress.add)
    return {
        "reference": f"{run.library} in f32",
        "parities": PARITIES.dump_python(parities, mode="json"),
        "memory_bytes": taken_bytes,
    }


def check_file(request: Mapping[str, Any]) -> object:
    """Return the figures of each candidate recipe for the file at `path`, best first, as JSON."""
    model, hints = _read(request)
    recipe = RECIPES.validate_python(request["recipe"])
    facts = inspect(model, hints)
    check_recipe(facts, recipe)
    run = GraphRun(model, facts)
    facts = _probe(run, recipe.height_px, recipe.width_px)
    _check_labels(facts, request["labels"])
    added = choose_activation(facts, request["score_kind"])
    photographs = [Photograph(**photograph) for photograph in request["photographs"]]
    figures = measure_candidates(run, make_candidates(recipe, facts), photographs, added)
    return {"figures": [asdict(figure) for figure in figures]}


def choose_activation(facts: GraphFacts, score_kind: ScoreKind) -> Activation:
    """Return the activation that a graph lacks for scores of a kind.

    Raises:
        ModelLoadError: It ends in another one.
    """
    wanted = _ACTIVATION_OF[score_kind]
    if facts.activation == "none":
        if wanted == "softmax" and facts.classes == 1:
            raise ModelLoadError(
                "The graph returns one score, and Softmax makes 1 of it: state `--activation sigmoid`."
            )
        return wanted
    if facts.activation != wanted:
        raise ModelLoadError(
            f"The graph ends in {facts.activation}, so {wanted} would be the second one: leave `--activation` out."
        )
    return "none"


def _write_progress(progress_fd: int, percent: int) -> None:
    os.pwrite(progress_fd, b"%3d" % percent, 0)


def _check_labels(facts: GraphFacts, labels: Sequence[str]) -> None:
    if facts.classes != len(labels):
        raise ModelLoadError(
            f"The graph returns {facts.classes} scores for an image, and there are {len(labels)} labels."
        )


def _read(request: Mapping[str, Any]) -> tuple["ModelProto", GraphHints]:
    hints = HINTS.validate_python(request["hints"])
    return read_onnx(Path(request["path"]), allow_any_operator=hints.allow_any_operator), hints


def _probe(run: GraphRun, height_px: int, width_px: int) -> GraphFacts:
    """Run noise once; return the graph's facts with what its scores show.

    Raises:
        LightboxError: The graph cannot be run with this size.
    """
    facts = run.facts
    random = np.random.default_rng(0)
    noise = random.uniform(0, 255, (1, height_px, width_px, facts.channels))
    scores = run.score(noise if facts.input_type == "uint8" else noise / 64 - 2)
    activation = facts.activation
    if activation == "none" and scores.shape[1] > 1 and _are_distributions(scores):
        activation = "softmax"
    run.facts = replace(facts, classes=scores.shape[1], output_rank=run.output_rank, activation=activation)
    return run.facts


def _are_distributions(scores: NDArray[np.float32]) -> bool:
    return bool(scores.min() >= 0 and np.abs(scores.sum(axis=1) - 1).max() < 1e-3)


def _settle_batch(wrapped: "ModelProto", facts: GraphFacts, recipe: InputRecipe) -> tuple["ModelProto", int | None]:
    """Return the wrapped graph with a free batch where its answers for batches are those for each image, else with 1.

    Raises:
        ModelLoadError: It takes neither.
    """
    freed = free_batch(wrapped, facts.batch)
    if _answers_batches_alike(freed, recipe):
        return freed, None
    fix_batch(wrapped, 1)
    try:
        GraphRun(wrapped, _inspect_wrapped(wrapped)).score(_make_images(recipe)[:1])
    except OutOfMemoryError:
        raise
    except LightboxError as error:
        raise ModelLoadError(
            f"The graph takes batches of {facts.batch} and nothing else ({error.message}). Export it with a dynamic "
            "batch, or with a batch of 1."
        ) from error
    return wrapped, 1


def _answers_batches_alike(model: "ModelProto", recipe: InputRecipe) -> bool:
    images = _make_images(recipe)
    try:
        run = GraphRun(model, _inspect_wrapped(model))
        alone = np.concatenate([run.score(images[row : row + 1]) for row in range(len(images))])
        return all(
            np.abs(run.score(images[:size]) - alone[:size]).max() < _MAX_BATCH_DIFFERENCE for size in (2, len(images))
        )
    except OutOfMemoryError:
        raise
    except LightboxError:
        return False


def _inspect_wrapped(model: "ModelProto") -> GraphFacts:
    return inspect(model, GraphHints(layout="NHWC", allow_any_operator=True))


def _make_images(recipe: InputRecipe) -> NDArray[np.uint8]:
    """Return three images that differ: noise, a gradient, and noise of low contrast."""
    random = np.random.default_rng(1)
    shape = recipe.height_px, recipe.width_px, recipe.channel_count
    gradient = np.broadcast_to(np.linspace(0, 255, recipe.width_px)[np.newaxis, :, np.newaxis], shape)
    return np.stack([random.uniform(0, 256, shape), gradient, random.uniform(64, 128, shape)]).astype(np.uint8)


TASKS: Final[Mapping[str, Task]] = {
    "inspect": inspect_file,
    "wrap": wrap_file,
    "measure": measure_file,
    "check": check_file,
    "convert_weights": convert_weights,
}
