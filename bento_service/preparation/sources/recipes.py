"""Input recipes from the metadata of timm's and torchvision's weights."""

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, cast, get_args

from bento_service.domain.models import InputRecipe, Interpolation
from bento_service.errors import ModelLoadError

if TYPE_CHECKING:
    from timm.models import PretrainedCfg


def recipe_of_timm(name: str, cfg: "PretrainedCfg") -> InputRecipe:
    """Return the recipe of timm's evaluation transform for a model (timm/data/config.py).

    Raises:
        ModelLoadError: Lightbox does not support the model's crop, interpolation or number of channels.
    """
    from timm.data.config import resolve_data_config

    config = resolve_data_config(pretrained_cfg=cfg.to_dict())
    channels, height_px, width_px = config["input_size"]
    if config["crop_mode"] != "center":
        raise _unsupported(name, "crop", config["crop_mode"], allowed="center")
    if channels != 3:
        raise _unsupported(name, "number of channels", channels, allowed="3")
    return InputRecipe(
        height_px=height_px,
        width_px=width_px,
        crop_fraction=config["crop_pct"],
        interpolation=_to_interpolation(name, config["interpolation"]),
        mean=_to_rgb(config["mean"]),
        std=_to_rgb(config["std"]),
    )


def recipe_of_torchvision(name: str, transform: object) -> InputRecipe:
    """Return the recipe of a torchvision `ImageClassification` preset (torchvision/transforms/_presets.py).

    Raises:
        ModelLoadError: The preset is of another kind, or Lightbox does not support its interpolation.
    """
    from torchvision.transforms._presets import ImageClassification

    if not isinstance(transform, ImageClassification):
        raise _unsupported(name, "transform", type(transform).__name__, allowed="ImageClassification")
    (crop_px,), (resize_px,) = transform.crop_size, transform.resize_size
    return InputRecipe(
        height_px=crop_px,
        width_px=crop_px,
        crop_fraction=crop_fraction(crop_px, resize_px),
        interpolation=_to_interpolation(name, transform.interpolation.value),
        mean=_to_rgb(transform.mean),
        std=_to_rgb(transform.std),
    )


def crop_fraction(crop_px: int, resize_px: int) -> float:
    """Return the fraction for which `floor(crop_px / fraction)` is exactly `resize_px`.

    Their quotient is off by one pixel where it rounds up: 32 / (32 / 93) is 92.99….
    """
    fraction = crop_px / resize_px
    return fraction if math.floor(crop_px / fraction) == resize_px else math.nextafter(fraction, 0.0)


def _to_interpolation(name: str, value: str) -> Interpolation:
    allowed = get_args(Interpolation)
    if value not in allowed:
        raise _unsupported(name, "interpolation", value, allowed=" or ".join(allowed))
    return cast("Interpolation", value)


def _to_rgb(values: Iterable[float]) -> tuple[float, float, float]:
    red, green, blue = (float(value) for value in values)
    return red, green, blue


def _unsupported(name: str, what: str, value: object, *, allowed: str) -> ModelLoadError:
    return ModelLoadError(f"{name!r} cannot be served: its {what} is {value!r}; Lightbox makes {allowed}.")
