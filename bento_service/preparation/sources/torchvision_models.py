"""Models of torchvision by name: `torchvision/resnet50`, with its default weights and their transform."""

from pathlib import Path

from bento_service.errors import ModelLoadError
from bento_service.preparation.sources.base import UNKNOWN_LICENCE, LoadedModel, unknown_model
from bento_service.preparation.sources.downloads import check_reachable, no_weights
from bento_service.preparation.sources.recipes import recipe_of_torchvision

_PREFIX = "torchvision/"


def load_torchvision(name: str, *, is_pretrained: bool = True) -> LoadedModel:
    """Load a classifier with its default weights from torch.hub's local cache or torchvision's site.

    Args:
        name: `torchvision/<name>`.
        is_pretrained: False uses random initial weights, without a network.

    Raises:
        ModelLoadError: There is no such classifier, or its weights cannot be downloaded or are damaged.
    """
    import torch
    from torchvision import models

    names = tuple(f"{_PREFIX}{known}" for known in models.list_models(module=models))
    if name not in names:
        raise unknown_model(name, names, allowed="A torchvision model is named `torchvision/<name>`.")
    torchvision_name = name.removeprefix(_PREFIX)
    weights = models.get_model_weights(torchvision_name).DEFAULT
    recipe = recipe_of_torchvision(name, weights.transforms())
    cache_dir = Path(torch.hub.get_dir()) / "checkpoints"
    if is_pretrained and not (cache_dir / Path(weights.url).name).exists():
        check_reachable(weights.url, model=name, cache_dir=str(cache_dir))
    try:
        module = models.get_model(torchvision_name, weights=weights if is_pretrained else None)
    except OSError as error:
        raise no_weights(name, cache_dir=str(cache_dir), reason=str(error)) from error
    except RuntimeError as error:  # torch.hub's digest check
        raise ModelLoadError(
            f"The weights of {name!r} are damaged: {error}. Delete them from {cache_dir} and try again."
        ) from error
    return LoadedModel(
        name=name,
        module=module.eval(),
        labels=tuple(weights.meta["categories"]),
        recipe=recipe,
        source=f"torchvision {torchvision_name} {weights.name}",
        # torchvision states no licence for most weights; its own licence covers its code.
        licence=weights.meta.get("license", UNKNOWN_LICENCE),
    )
