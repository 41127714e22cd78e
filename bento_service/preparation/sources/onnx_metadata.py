"""What an ONNX file's `metadata_props` say: of Lightbox's export, Ultralytics, OpenVINO's Model API and Paddle."""

import ast
import json
from collections.abc import Mapping
from typing import Final, cast, get_args

from pydantic import TypeAdapter

from bento_service.domain.models import Fit, InputRecipe, Interpolation, ScoreKind
from bento_service.errors import ModelLoadError
from bento_service.preparation.inspection import Activation
from bento_service.preparation.sources.findings import NOTHING, Finding, Findings, ModelFindings, RecipeFindings
from bento_service.preparation.sources.foreign_files import explained_reading
from bento_service.preparation.sources.label_files import labels_by_number

LABELS, RECIPE, SCORE_KIND, LICENCE, SOURCE = (
    "lightbox.labels",
    "lightbox.recipe",
    "lightbox.score_kind",
    "lightbox.licence",
    "lightbox.source",
)
"""The keys that `models export` writes; labels and recipe are JSON."""
ACTIVATIONS: Final[Mapping[ScoreKind, Activation]] = {"softmax": "softmax", "independent": "sigmoid"}
_EXPORT = "Lightbox's export"
_RECIPES = TypeAdapter(InputRecipe)

_MODEL_API_FITS: Final[Mapping[str, tuple[Fit, float]]] = {
    "standard": ("squash", 1.0),
    "crop": ("crop", 1.0),
    "fit_to_window_letterbox": ("letterbox", 1.0),
}
"""Fit and crop fraction by `resize_type` (model_api/adapters/utils.py). `fit_to_window` fills one side alone."""
_MODEL_API_INTERPOLATIONS: Final[Mapping[str, Interpolation]] = {
    "LINEAR": "bilinear",
    "CUBIC": "bicubic",
    "NEAREST": "nearest",
}


def read_metadata(metadata: Mapping[str, str]) -> ModelFindings:
    """Return what a file's metadata say.

    Raises:
        ModelLoadError: They cannot be read, or say that the model is no classifier.
    """
    found = NOTHING
    with explained_reading("The metadata of the ONNX file"):
        for read in (_read_export, _read_ultralytics, _read_model_api, _read_paddle):
            found = found.or_else(read(metadata))
    return found


def _read_export(metadata: Mapping[str, str]) -> ModelFindings:
    if RECIPE not in metadata:
        return NOTHING
    labels = tuple(map(str, json.loads(metadata[LABELS])))
    score_kind = metadata[SCORE_KIND]
    if score_kind not in get_args(ScoreKind):
        raise ValueError(f"{SCORE_KIND} is {score_kind!r}")
    facts = Findings(
        labels=Finding(labels, _EXPORT),
        activation=Finding(ACTIVATIONS[cast("ScoreKind", score_kind)], _EXPORT),
        licence=Finding(metadata[LICENCE], _EXPORT),
        source=Finding(metadata[SOURCE], _EXPORT),
    )
    return ModelFindings(facts=facts, recipe=findings_of_recipe(_RECIPES.validate_json(metadata[RECIPE]), _EXPORT))


def findings_of_recipe(recipe: InputRecipe, where: str) -> RecipeFindings:
    """Return all of a recipe as found in one place."""
    return RecipeFindings(
        size=Finding((recipe.height_px, recipe.width_px), where),
        fit=Finding(recipe.fit, where),
        crop_fraction=Finding(recipe.crop_fraction, where),
        interpolation=Finding(recipe.interpolation, where),
        mean=Finding(recipe.mean, where),
        std=Finding(recipe.std, where),
        channels=Finding(recipe.channels, where),
        pad_value=Finding(recipe.pad_value, where),
        is_antialiased=Finding(recipe.is_antialiased, where),
    )


def _read_ultralytics(metadata: Mapping[str, str]) -> ModelFindings:
    if not {"names", "imgsz", "task"} <= metadata.keys():
        return NOTHING
    if metadata["task"] != "classify":
        raise ModelLoadError(
            f"This is Ultralytics' model for the task {metadata['task']!r}; Lightbox serves classifiers."
        )
    where = "Ultralytics' metadata"
    names: Mapping[str, str] = ast.literal_eval(metadata["names"])
    height_px, width_px = map(int, ast.literal_eval(metadata["imgsz"]))
    licence = metadata.get("license", "AGPL-3.0").partition(" License")[0]
    # ultralytics/data/augment.py, classify_transforms: the short side and a crop, or both sides where not square.
    fit: Fit = "crop" if height_px == width_px else "squash"
    return ModelFindings(
        facts=Findings(
            labels=Finding(labels_by_number(names), f"{where}, names"),
            licence=Finding(licence, f"{where}, license"),
        ),
        recipe=RecipeFindings(
            size=Finding((height_px, width_px), f"{where}, imgsz"),
            fit=Finding(fit, where),
            crop_fraction=Finding(1.0, where),
            interpolation=Finding("bilinear", where),
            mean=Finding((0.0,) * 3, where),
            std=Finding((1.0,) * 3, where),
            channels=Finding("rgb", where),
        ),
    )


def _read_model_api(metadata: Mapping[str, str]) -> ModelFindings:
    values = {
        key.removeprefix("model_info "): value for key, value in metadata.items() if key.startswith("model_info ")
    }
    if not values:
        return NOTHING

    def where(key: str) -> str:
        return f"Model API's metadata, {key}"

    if values.get("hierarchical") in {"True", "YES"}:
        raise ModelLoadError("This is a hierarchical classifier of OpenVINO's Model API; Lightbox serves flat ones.")
    labels = tuple(values.get("labels", "").split())
    is_multilabel = values.get("multilabel") in {"True", "YES"}
    fit = _MODEL_API_FITS.get(values.get("resize_type", ""))
    interpolation = _MODEL_API_INTERPOLATIONS.get(values.get("interpolation_mode", ""))
    # They apply to 0-255. Whether `reverse_input_channels` makes RGB or BGR depends on who reads the image: not used.
    mean, std = (
        tuple(float(value) / 255 for value in values[key].split()) if values.get(key, "").split() else None
        for key in ("mean_values", "scale_values")
    )
    pad_value = values.get("pad_value", "")
    return ModelFindings(
        facts=Findings(
            labels=Finding(labels, where("labels")) if labels else None,
            activation=Finding("sigmoid", where("multilabel")) if is_multilabel else None,
        ),
        recipe=RecipeFindings(
            fit=Finding(fit[0], where("resize_type")) if fit else None,
            crop_fraction=Finding(fit[1], where("resize_type")) if fit else None,
            interpolation=Finding(interpolation, where("interpolation_mode")) if interpolation else None,
            mean=Finding(mean, where("mean_values")) if mean else None,
            std=Finding(std, where("scale_values")) if std else None,
            pad_value=Finding(int(pad_value), where("pad_value")) if pad_value.isdigit() else None,
            # It resizes with cv2.resize, or with an Interpolate of OpenVINO that is not antialiased either.
            is_antialiased=Finding(False, where("resize_type")) if "resize_type" in values else None,
        ),
    )


def _read_paddle(metadata: Mapping[str, str]) -> ModelFindings:
    labels = tuple(metadata.get("character", "").splitlines())
    return ModelFindings(facts=Findings(labels=Finding(labels, "the metadata character"))) if labels else NOTHING
