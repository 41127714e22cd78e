"""Models of timm by name: `timm/resnet50.a1_in1k`."""

from pathlib import Path
from typing import TYPE_CHECKING

from bento_service.errors import ModelLoadError
from bento_service.preparation.sources.base import UNKNOWN_LICENCE, LoadedModel, unknown_model
from bento_service.preparation.sources.downloads import check_reachable, no_weights
from bento_service.preparation.sources.imagenet_labels import imagenet_labels
from bento_service.preparation.sources.recipes import recipe_of_timm

if TYPE_CHECKING:
    from timm.models import PretrainedCfg

_PREFIX = "timm/"
_WEIGHT_FILES = ("model.safetensors", "pytorch_model.bin")
"""The file names that timm tries in a model's repository (timm/models/_hub.py)."""


def load_timm(name: str, *, is_pretrained: bool = True) -> LoadedModel:
    """Load a classifier with weights from Hugging Face's local cache or its hub.

    Args:
        name: `timm/<architecture>` or `timm/<architecture>.<weights>`.
        is_pretrained: False uses random initial weights, without a network.

    Raises:
        ModelLoadError: There is no such classifier, or its weights cannot be downloaded.
    """
    import timm

    cfg = _find_cfg(name)
    recipe = recipe_of_timm(name, cfg)
    labels = _labels(name, cfg)
    if is_pretrained and not _is_cached(cfg):
        check_reachable(_download_url(cfg), model=name, cache_dir=_cache_dir())
    try:
        module = timm.create_model(name.removeprefix(_PREFIX), pretrained=is_pretrained)
    except OSError as error:
        raise no_weights(name, cache_dir=_cache_dir(), reason=str(error)) from error
    return LoadedModel(
        name=name,
        module=module.eval(),
        labels=labels,
        recipe=recipe,
        source=f"timm {cfg.architecture}.{cfg.tag}" if cfg.tag else f"timm {cfg.architecture}",
        licence=cfg.license or UNKNOWN_LICENCE,
    )


def _find_cfg(name: str) -> "PretrainedCfg":
    import timm

    timm_name = name.removeprefix(_PREFIX)
    cfg = timm.get_pretrained_cfg(timm_name) if timm.models.is_model_pretrained(timm_name) else None
    if cfg is not None:
        return cfg
    known = (*timm.list_models(pretrained=True), *timm.list_models())
    raise unknown_model(
        name,
        tuple(f"{_PREFIX}{known_name}" for known_name in known),
        allowed="A timm model is named `timm/<architecture>` or `timm/<architecture>.<weights>`.",
    )


def _labels(name: str, cfg: "PretrainedCfg") -> tuple[str, ...]:
    from timm.data.imagenet_info import infer_imagenet_subset

    if cfg.label_names:
        descriptions = cfg.label_descriptions or {}
        return tuple(descriptions.get(label, label) for label in cfg.label_names)
    subset = infer_imagenet_subset(cfg)
    if subset is None:
        raise ModelLoadError(
            f"{name!r} cannot be served: timm names no classes for its {cfg.num_classes} outputs. "
            "Choose weights trained to classify, such as those tagged `in1k`."
        )
    return imagenet_labels(subset)


def _is_cached(cfg: "PretrainedCfg") -> bool:
    import huggingface_hub
    import torch

    if cfg.hf_hub_id:
        found = (huggingface_hub.try_to_load_from_cache(cfg.hf_hub_id, file_name) for file_name in _WEIGHT_FILES)
        return any(isinstance(path, str) for path in found)
    return (Path(torch.hub.get_dir()) / "checkpoints" / Path(str(cfg.url)).name).exists()


def _download_url(cfg: "PretrainedCfg") -> str:
    import huggingface_hub

    return huggingface_hub.hf_hub_url(cfg.hf_hub_id, _WEIGHT_FILES[0]) if cfg.hf_hub_id else str(cfg.url)


def _cache_dir() -> str:
    from huggingface_hub.constants import HF_HUB_CACHE

    return str(HF_HUB_CACHE)
