"""Try input recipes on labelled photographs, so that a wrong one is seen before it serves."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, get_args

import numpy as np
from numpy.typing import NDArray

from bento_service.domain.models import Channels, Fit, InputRecipe
from bento_service.errors import LightboxError, ModelLoadError
from bento_service.evaluation.folders import Photograph
from bento_service.images.preprocessing import ImageLimits, preprocess
from bento_service.preparation.graph_run import GraphRun, to_graph_input
from bento_service.preparation.inspection import Activation, GraphFacts
from bento_service.preparation.presets import NORMALISATIONS, Normalisation

MAX_PHOTOGRAPHS = 100
"""At most so many are used, as many of each class as there are: thirty candidates run each of them."""
_BATCH = 8
_LIMITS = ImageLimits(max_bytes=100_000_000, max_pixels=100_000_000)
_LEAST_PROBABILITY = 1e-7
_COLOURS: Final[tuple[Channels, ...]] = ("rgb", "bgr")


@dataclass(frozen=True, slots=True)
class RecipeFigures:
    """How one recipe does on labelled photographs. `name` is for people: `imagenet, bgr, squash`."""

    name: str
    recipe: InputRecipe
    accuracy: float
    log_loss: float


@dataclass(frozen=True, slots=True)
class RecipeCheck:
    """The candidates, best first (by log loss), and how many photographs of the folder were used."""

    figures: tuple[RecipeFigures, ...]
    used: int
    found: int


def make_candidates(recipe: InputRecipe, facts: GraphFacts) -> Mapping[str, InputRecipe]:
    """Return the recipes to try by their names: of the size of `recipe`, which comes first."""
    candidates = {"as given": recipe}
    fits: tuple[Fit, ...] = get_args(Fit)
    for fit, (name, normalisation), channels in itertools.product(fits, _normalisations(recipe, facts), _COLOURS):
        if recipe.channels == "grey" and channels == "bgr":
            continue
        wanted = recipe.channels if recipe.channels == "grey" else channels
        mean, std = _order(normalisation, wanted)
        tried = replace(recipe, mean=mean, std=std, channels=wanted, fit=fit)
        if tried not in candidates.values():
            candidates[f"{name}, {wanted}, {fit}"] = tried
    unlike = replace(recipe, is_antialiased=not recipe.is_antialiased)
    if recipe.interpolation != "box":
        candidates["as given, antialiased" if unlike.is_antialiased else "as given, not antialiased"] = unlike
    return candidates


def measure_candidates(
    run: GraphRun, candidates: Mapping[str, InputRecipe], photographs: Sequence[Photograph], added: Activation
) -> list[RecipeFigures]:
    """Return the figures of each candidate, best first. Call it in a confined process only.

    Raises:
        ModelLoadError: A photograph cannot be read.
    """
    right = np.array([photograph.class_id for photograph in photographs])
    answers: dict[str, list[NDArray[np.float32]]] = {name: [] for name in candidates}
    for start in range(0, len(photographs), _BATCH):
        encoded = [_read(photograph) for photograph in photographs[start : start + _BATCH]]
        pixels: dict[InputRecipe, NDArray[np.uint8]] = {}
        for name, recipe in candidates.items():
            # What preprocessing makes depends on neither; the graph applies them.
            key = replace(recipe, mean=(), std=(), channels="grey" if recipe.channels == "grey" else "rgb")
            if key not in pixels:
                pixels[key] = np.stack([_preprocess(*image, key) for image in encoded])
            answers[name].append(run.score(to_graph_input(pixels[key], recipe, run.facts), added))
    figures = [_judge(name, recipe, np.concatenate(answers[name]), right) for name, recipe in candidates.items()]
    return sorted(figures, key=lambda figure: figure.log_loss)


def _judge(name: str, recipe: InputRecipe, scores: NDArray[np.float32], right: NDArray[Any]) -> RecipeFigures:
    of_right = np.clip(scores[np.arange(len(right)), right].astype(np.float64), _LEAST_PROBABILITY, 1)
    accuracy = float(np.mean(scores.argmax(axis=1) == right))
    return RecipeFigures(name, recipe, accuracy, float(-np.log(of_right).mean()))


def _normalisations(recipe: InputRecipe, facts: GraphFacts) -> Iterator[tuple[str, Normalisation]]:
    if facts.input_type == "uint8":
        yield "0-255", Normalisation(recipe.mean, recipe.std, recipe.channels)
        return
    for name, normalisation in NORMALISATIONS.items():
        if recipe.channels != "grey":
            yield name, normalisation
        elif len(set(normalisation.mean)) == 1:
            yield name, Normalisation(normalisation.mean[:1], normalisation.std[:1], "grey")


def _order(normalisation: Normalisation, channels: Channels) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and deviation in an order of channels."""
    if normalisation.channels == channels:
        return normalisation.mean, normalisation.std
    return normalisation.mean[::-1], normalisation.std[::-1]


def _read(photograph: Photograph) -> tuple[str, bytes]:
    try:
        return photograph.path, Path(photograph.path).read_bytes()
    except OSError as error:
        raise ModelLoadError(f"The photograph {photograph.path!r} cannot be read: {error.strerror}.") from error


def _preprocess(path: str, encoded: bytes, recipe: InputRecipe) -> NDArray[np.uint8]:
    try:
        return preprocess(encoded, recipe, _LIMITS).pixels_hwc
    except LightboxError as error:
        raise ModelLoadError(f"The photograph {path!r} cannot be read: {error.message}") from error
