"""What the files of a Hugging Face folder say: config.json, preprocessor_config.json, the model card in README.md.

Only keys that are written down count: transformers' image processors have defaults of their own for each class, which
are in no file.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from bento_service.domain.models import Channels, Fit
from bento_service.preparation.sources.findings import NOTHING, Finding, Findings, ModelFindings, RecipeFindings
from bento_service.preparation.sources.foreign_files import MAX_YAML_BYTES, explained_reading, read_object
from bento_service.preparation.sources.label_files import are_placeholders, labels_by_number
from bento_service.preparation.sources.recipes import crop_fraction
from bento_service.preparation.sources.timm_config import is_timm_config, read_timm_config
from bento_service.preparation.sources.values import as_float, as_floats, as_interpolation, as_text

CONFIG, PREPROCESSOR, MODEL_CARD = "config.json", "preprocessor_config.json", "README.md"
_CONVNEXT_CROP_BELOW_PX = 384
"""ConvNeXt's processor crops below this size (transformers, image_processing_convnext.py), and squashes from it on."""


def read_config(folder: Path, name: str = CONFIG) -> Mapping[str, Any]:
    """Return a JSON file of a folder; empty if there is none.

    Raises:
        ModelLoadError: It is no JSON object.
    """
    path = folder / name
    return read_object(path) if path.is_file() else {}


def read_folder(folder: Path) -> ModelFindings:
    """Return what the files of a Hugging Face or timm folder say.

    Raises:
        ModelLoadError: One of them cannot be read.
    """
    config, processor = read_config(folder), read_config(folder, PREPROCESSOR)
    with explained_reading(str(folder / CONFIG)):
        found = read_timm_config(config) if is_timm_config(config) else _read_model_config(config)
    with explained_reading(str(folder / PREPROCESSOR)):
        found = found.or_else(ModelFindings(recipe=_read_processor(processor)))
    return found.or_else(_read_model_card(folder))


def _read_model_config(config: Mapping[str, Any]) -> ModelFindings:
    names = config.get("id2label")
    labels = labels_by_number(names) if names else ()
    # transformers/pipelines/image_classification.py
    is_independent = config.get("problem_type") == "multi_label_classification" or len(labels) == 1
    key = "problem_type" if "problem_type" in config else "id2label"
    activation: Finding[Any] | None = None
    if names:
        activation = Finding("sigmoid" if is_independent else "softmax", f"{CONFIG} {key}")
    return ModelFindings(
        facts=Findings(
            labels=Finding(labels, f"{CONFIG} id2label") if labels and not are_placeholders(labels) else None,
            activation=activation,
        )
    )


def _read_processor(config: Mapping[str, Any]) -> RecipeFindings:
    if not config:
        return RecipeFindings()

    def where(key: str) -> str:
        return f"{PREPROCESSOR} {key}"

    geometry = _read_geometry(config)
    mean, std = _read_normalisation(config)
    channels: Channels = "bgr" if config.get("do_flip_channel_order") else "rgb"
    return RecipeFindings(
        size=geometry.size,
        fit=geometry.fit,
        crop_fraction=geometry.crop_fraction,
        interpolation=as_interpolation(config.get("resample"), where("resample")),
        mean=Finding(mean, where("image_mean")) if mean else None,
        std=Finding(std, where("image_std")) if std else None,
        channels=Finding(channels, where("do_flip_channel_order") if channels == "bgr" else PREPROCESSOR),
    )


def _read_geometry(config: Mapping[str, Any]) -> RecipeFindings:
    """Return size, fit and crop fraction where the keys say them; what a bare number means is in the class alone."""
    if config.get("do_resize") is False:
        return RecipeFindings()
    resized, cropped = _to_size(config.get("size")), _to_size(config.get("crop_size"))
    short_side = config["size"].get("shortest_edge") if isinstance(config.get("size"), dict) else None
    crops = config.get("do_center_crop") is True and cropped is not None
    where = f"{PREPROCESSOR} size"
    if "ConvNext" in str(config.get("image_processor_type", config.get("feature_extractor_type"))):
        fraction = as_float(config.get("crop_pct"), f"{PREPROCESSOR} crop_pct")
        is_cropped = isinstance(short_side, int) and short_side < _CONVNEXT_CROP_BELOW_PX
        fit: Fit = "crop" if is_cropped else "squash"
        size = Finding((short_side, short_side), where) if isinstance(short_side, int) else None
        return RecipeFindings(size=size, fit=Finding(fit, where) if size else None, crop_fraction=fraction)
    if crops and cropped and isinstance(short_side, int):
        fraction = Finding(crop_fraction(min(cropped), short_side), f"{PREPROCESSOR} size, crop_size")
        size = Finding(cropped, f"{PREPROCESSOR} crop_size")
        return RecipeFindings(size=size, fit=Finding("crop", where), crop_fraction=fraction)
    if resized and not crops:
        return RecipeFindings(size=Finding(resized, where), fit=Finding("squash", where))
    if resized and resized == cropped:
        return RecipeFindings(size=Finding(resized, where), fit=Finding("squash", where))
    return RecipeFindings(size=Finding(cropped, f"{PREPROCESSOR} crop_size") if crops and cropped else None)


def _to_size(value: Any) -> tuple[int, int] | None:  # noqa: ANN401 - of a JSON file
    """Return (height, width) where both are written down; a single number means another thing in each class."""
    match value:
        case {"height": int() as height_px, "width": int() as width_px}:
            return height_px, width_px
    return None


def _read_normalisation(
    config: Mapping[str, Any],
) -> tuple[tuple[float, ...] | None, tuple[float, ...] | None]:
    """Return mean and deviation for pixels in [0, 1]; None where the file does not say them."""
    mean, std = as_floats(config.get("image_mean")), as_floats(config.get("image_std"))
    if config.get("do_normalize") is False:
        mean, std = (0.0,) * 3, (1.0,) * 3
    factor = config.get("rescale_factor")
    scale = 1.0 if config.get("do_rescale") is False else factor
    if config.get("rescale_offset") is True or mean is None or std is None:
        return None, None
    if isinstance(scale, int | float) and scale > 0:
        # Normalisation applies to byte * scale, which is the pixel in [0, 1] times 255 * scale.
        mean, std = (tuple(_round(value / (255 * scale)) for value in values) for values in (mean, std))
    return mean, std


def _round(value: float) -> float:
    """Undo the rounding error of 255 * (1 / 255)."""
    return float(f"{value:.12g}")


def _read_model_card(folder: Path) -> ModelFindings:
    """Return the licence in the YAML header of the model card."""
    path = folder / MODEL_CARD
    if not path.is_file():
        return NOTHING
    with path.open("rb") as file:
        start = file.read(MAX_YAML_BYTES).decode("utf-8", errors="replace")
    before, _, rest = start.partition("---\n")
    header, separator, _ = rest.partition("\n---")
    if before.strip() or not separator:
        return NOTHING
    try:
        described = yaml.safe_load(header)
    # A date that does not exist is a ValueError.
    except (yaml.YAMLError, ValueError, RecursionError):
        return NOTHING
    licence = described.get("license") if isinstance(described, dict) else None
    return ModelFindings(facts=Findings(licence=as_text(licence, f"{MODEL_CARD} license")))
