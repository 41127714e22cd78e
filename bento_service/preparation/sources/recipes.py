"""Input recipes from the metadata of timm's and torchvision's weights."""

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final, cast, get_args

from bento_service.domain.models import Fit, InputRecipe, Interpolation
from bento_service.errors import ModelLoadError

if TYPE_CHECKING:
    from timm.models import PretrainedCfg

_FITS: Final[dict[str, Fit]] = {"center": "crop", "squash": "squash", "border": "letterbox"}
"""By timm's crop modes."""


def recipe_of_timm(name: str, cfg: "PretrainedCfg") -> InputRecipe:
    """Return the recipe of timm's evaluation transform for a model (timm/data/config.py).

    Raises:
        ModelLoadError: Lightbox does not support the model's crop, interpolation or number of channels.
    """
    from timm.data.config import resolve_data_config

    config = resolve_data_config(pretrained_cfg=cfg.to_dict())
    channels, height_px, width_px = config["input_size"]
    fit = _FITS.get(config["crop_mode"])
    if fit is None:
        raise _unsupported(name, "crop mode", config["crop_mode"], allowed=" or ".join(_FITS))
    if fit != "crop" and config["crop_pct"] != 1:
        raise _unsupported(name, f"crop fraction with {config['crop_mode']}", config["crop_pct"], allowed="1")
    if channels not in {1, 3}:
        raise _unsupported(name, "number of channels", channels, allowed="1 or 3")
    mean = _to_channels(name, config["mean"], channels)
    return InputRecipe(
        height_px=height_px,
        width_px=width_px,
        crop_fraction=config["crop_pct"],
        interpolation=_to_interpolation(name, config["interpolation"]),
        mean=mean,
        std=_to_channels(name, config["std"], channels),
        fit=fit,
        channels="grey" if channels == 1 else "rgb",
        pad_value=_grey_of(name, mean) if fit == "letterbox" else 0,
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
        mean=_to_channels(name, transform.mean, 3),
        std=_to_channels(name, transform.std, 3),
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


def _to_channels(name: str, values: Iterable[float], channels: int) -> tuple[float, ...]:
    """Return a value for each channel. One value, or several equal ones, count for all channels."""
    given = tuple(float(value) for value in values)
    if len(given) == channels:
        return given
    if len(set(given)) != 1:
        raise _unsupported(name, "normalisation", given, allowed=f"a value for each of {channels} channels, or one")
    return given[:1] * channels


def _grey_of(name: str, mean: tuple[float, ...]) -> int:
    """Return the value that timm fills borders with: the mean's."""
    greys = {round(255 * value) for value in mean}
    if len(greys) > 1:
        raise _unsupported(name, "border's colour", mean, allowed="grey")
    return greys.pop()


def _unsupported(name: str, what: str, value: object, *, allowed: str) -> ModelLoadError:
    return ModelLoadError(f"{name!r} cannot be served: its {what} is {value!r}; Lightbox makes {allowed}.")
