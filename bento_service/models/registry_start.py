"""What a worker loads at its start where the registry has a say: known before any model is loaded."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from bento_service.domain.model_names import ModelReference
from bento_service.domain.models import StoredModel
from bento_service.domain.registry import Deployment
from bento_service.errors import JournalUnavailableError, LightboxError, ModelLoadError
from bento_service.models.registry import RegistryStore

logger = logging.getLogger(__name__)


class StoredModels(Protocol):
    """The files of models; `models.store.BentoModelStore` has them."""

    def load(self, name: str, version: str | None = None) -> StoredModel:
        """Return a version, or the one that was stored last; ModelLoadError where it is not stored."""


@dataclass(frozen=True, slots=True)
class StartPlan:
    """The models to load first, each as `name:version`; and why others of the settings are not served, by name."""

    names: tuple[str, ...]
    missing: Mapping[str, str]


def plan_start(names: Sequence[str], stored: StoredModels, registry: RegistryStore) -> StartPlan:
    """Return the champion of each model of the settings: the registry's, or the one that the settings mean.

    A model that was unloaded as a whole is left out. Everything else that the registry wants is loaded after these.

    Raises:
        ModelLoadError: Not one of them can be loaded.
    """
    deployments = _read_deployments(registry)
    found, missing = list[str](), dict[str, str]()
    for text in names:
        reference = ModelReference.parse(text)
        name, version = reference.name, reference.version
        deployment = deployments.get(name)
        if deployment is not None:
            if deployment.is_empty:
                continue
            version = deployment.champion
        try:
            found.append(stored.load(name, version).card.key)
        except LightboxError as error:
            logger.error("%s is not served: %s", text, error.message)
            missing[name] = error.message
    if not found:
        reasons = " ".join(missing.values()) or "All of them were unloaded; name another one in LIGHTBOX_MODELS."
        raise ModelLoadError(f"No model of LIGHTBOX_MODELS can be served. {reasons}")
    return StartPlan(tuple(found), missing)


def _read_deployments(registry: RegistryStore) -> Mapping[str, Deployment]:
    try:
        return registry.deployments()
    except JournalUnavailableError as error:
        logger.warning("The registry cannot be read; this worker starts as the settings say: %s", error)
        return {}
