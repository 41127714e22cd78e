"""The facts of an import: what a person states wins over what the files say; and which are missing."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Final

from bento_service.domain.models import Fit
from bento_service.errors import WrongFactsError
from bento_service.preparation.inspection import Activation
from bento_service.preparation.presets import BYTES, GEOMETRIES, NORMALISATIONS, Preset
from bento_service.preparation.sources.findings import Finding, ModelFindings, RecipeFindings

_FLAGS: Final[Mapping[str, str]] = {
    "mean": f"the normalisation: --recipe {'|'.join(NORMALISATIONS)}, or --mean and --std",
    "size": "the size in pixels: --size WIDTHxHEIGHT",
    "fit": "how an image is brought to that size: --fit crop|squash|letterbox",
    "crop_fraction": "the share of the short side that the crop keeps: --crop-fraction 0.875",
    "interpolation": "the interpolation: --interpolation nearest|box|bilinear|bicubic|lanczos",
    "channels": "the order of the channels: --channels rgb|bgr",
    "pad_value": "the grey around a letterboxed image: --pad-value 0-255",
}

_FIT_OF: Final[Mapping[str, Fit]] = {"crop_fraction": "crop", "pad_value": "letterbox"}
"""The fit that a fact belongs to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphShape:
    """What a graph or module itself says: its channels, its size where that is fixed, its scores."""

    channels: int
    height_px: int | None
    width_px: int | None
    classes: int | None
    activation: Activation
    takes_bytes: bool = False


def complete(stated: ModelFindings, preset: Preset | None, files: ModelFindings, shape: GraphShape) -> ModelFindings:
    """Return all findings: what a person stated, then a preset's normalisation, the files, and a preset's crop.

    What the graph leaves no choice of comes first, and its size last.

    Raises:
        WrongFactsError: A flag states something else than the graph leaves no choice of, or what another fit needs.
    """
    fixed = _of_graph(shape)
    for own, other in ((getattr(fixed, one.name), getattr(stated.recipe, one.name)) for one in fields(fixed)):
        if own is not None and other is not None and own.value != other.value:
            raise WrongFactsError(f"{other.where} is {other.value}, and {own.where}: leave it out.")
    recipe = fixed.or_else(stated.recipe).or_else(_normalisation_of(preset)).or_else(files.recipe)
    recipe = recipe.or_else(_geometry_of(preset)).or_else(_size_of(shape))
    _refuse_unused(stated.recipe, recipe.fit)
    return ModelFindings(facts=stated.facts.or_else(files.facts), recipe=recipe)


def list_missing(found: ModelFindings, shape: GraphShape) -> Iterator[str]:
    """Yield a line for each fact that an import lacks, with the flags that state it."""
    if found.facts.labels is None:
        count = f"{shape.classes} " if shape.classes else ""
        imagenet = ", or --labels imagenet" if shape.classes == 1000 else ""
        yield f"the {count}labels: --labels FILE, a label a line in the order of the classes{imagenet}"
    yield from (line for name, line in _FLAGS.items() if getattr(found.recipe, name) is None and is_needed(found, name))
    if found.recipe.mean is not None and found.recipe.std is None:
        yield "the standard deviation: --std"


def is_needed(found: ModelFindings, name: str) -> bool:
    """Return whether a recipe of this fit has this field."""
    fit = found.recipe.fit.value if found.recipe.fit else None
    return name not in _FIT_OF or _FIT_OF[name] == fit


def _refuse_unused(stated: RecipeFindings, fit: Finding[Fit] | None) -> None:
    for name, needed in _FIT_OF.items():
        finding = getattr(stated, name)
        if finding is not None and fit is not None and fit.value != needed:
            raise WrongFactsError(
                f"{finding.where} goes with --fit {needed}, and the fit is {fit.value} ({fit.where}): leave it out, or "
                f"state --fit {needed}."
            )


def _of_graph(shape: GraphShape) -> RecipeFindings:
    """Return what the graph allows no choice of."""
    return RecipeFindings(
        channels=Finding("grey", "the graph takes one channel") if shape.channels == 1 else None,
        mean=Finding(BYTES.mean * shape.channels, "the graph takes bytes") if shape.takes_bytes else None,
        std=Finding(BYTES.std * shape.channels, "the graph takes bytes") if shape.takes_bytes else None,
    )


def _normalisation_of(preset: Preset | None) -> RecipeFindings:
    if preset is None:
        return RecipeFindings()
    normalisation, where = NORMALISATIONS[preset], f"--recipe {preset}"
    return RecipeFindings(
        mean=Finding(normalisation.mean, where),
        std=Finding(normalisation.std, where),
        channels=Finding(normalisation.channels, where),
    )


def _geometry_of(preset: Preset | None) -> RecipeFindings:
    if preset is None:
        return RecipeFindings()
    (fraction, interpolation), where = GEOMETRIES[preset], f"--recipe {preset}"
    return RecipeFindings(
        fit=Finding("crop", where),
        crop_fraction=Finding(fraction, where),
        interpolation=Finding(interpolation, where),
    )


def _size_of(shape: GraphShape) -> RecipeFindings:
    if shape.height_px is None or shape.width_px is None:
        return RecipeFindings()
    return RecipeFindings(size=Finding((shape.height_px, shape.width_px), "the graph's input"))
