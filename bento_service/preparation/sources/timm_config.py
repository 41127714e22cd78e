"""What timm's `config.json` says (timm/models/_hub.py, `save_config_for_hf`)."""

from collections.abc import Mapping
from typing import Any, Final

from bento_service.domain.models import Channels, Fit
from bento_service.preparation.sources.findings import Finding, Findings, ModelFindings, RecipeFindings
from bento_service.preparation.sources.label_files import labels_by_number
from bento_service.preparation.sources.values import as_float, as_floats, as_interpolation, as_text

_FITS: Final[Mapping[str, Fit]] = {"center": "crop", "squash": "squash", "border": "letterbox"}


def is_timm_config(config: Mapping[str, Any]) -> bool:
    """Return whether a `config.json` is timm's."""
    return isinstance(config.get("architecture"), str) and "architectures" not in config


def read_timm_config(config: Mapping[str, Any]) -> ModelFindings:
    """Return what a `config.json` of timm says."""
    cfg: Mapping[str, Any] = config.get("pretrained_cfg", config)

    def where(key: str) -> str:
        return f"config.json pretrained_cfg.{key}"

    size = cfg.get("input_size")
    fit = _FITS.get(cfg.get("crop_mode", ""))
    channels: Channels | None = None
    if isinstance(size, list) and len(size) == 3:
        channels = "grey" if size[0] == 1 else "rgb"
    mean, std = as_floats(cfg.get("mean")), as_floats(cfg.get("std"))
    # timm fills borders with the mean (timm/data/transforms_factory.py).
    greys = {round(255 * value) for value in mean or ()}
    return ModelFindings(
        facts=Findings(labels=_read_labels(config, cfg), licence=as_text(cfg.get("license"), where("license"))),
        recipe=RecipeFindings(
            size=Finding((int(size[1]), int(size[2])), where("input_size")) if channels and size else None,
            fit=Finding(fit, where("crop_mode")) if fit else None,
            crop_fraction=as_float(cfg.get("crop_pct"), where("crop_pct")),
            interpolation=as_interpolation(cfg.get("interpolation"), where("interpolation")),
            mean=Finding(mean, where("mean")) if mean else None,
            std=Finding(std, where("std")) if std else None,
            channels=Finding(channels, where("input_size")) if channels else None,
            pad_value=Finding(greys.pop(), where("mean")) if len(greys) == 1 else None,
        ),
    )


def _read_labels(config: Mapping[str, Any], cfg: Mapping[str, Any]) -> Finding[tuple[str, ...]] | None:
    names = config.get("label_names", cfg.get("label_names"))
    if isinstance(names, dict):
        names = labels_by_number(names)
    if not names:
        return None
    descriptions: Mapping[str, str] = config.get("label_descriptions") or cfg.get("label_descriptions") or {}
    return Finding(tuple(str(descriptions.get(name, name)) for name in names), "config.json label_names")
