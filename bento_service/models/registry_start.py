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
    """The models to load first, each as `name:version`; and why others of the settings are not served, by name.

    `former` has the former champions that are still loaded elsewhere: they serve where no other model can be loaded.
    """

    names: tuple[str, ...]
    missing: Mapping[str, str]
    former: tuple[str, ...] = ()


def plan_start(names: Sequence[str], stored: StoredModels, registry: RegistryStore) -> StartPlan:
    """Return the champion of each model of the settings: the registry's, or the one that the settings mean.

    Where the files of a champion are missing, its former champion answers, as it does in workers that run already. A
    model that was unloaded as a whole is left out. Everything else that the registry wants is loaded after these.

    Raises:
        ModelLoadError: Not one of them can be loaded.
    """
    deployments = _read_deployments(registry)
    found, former, missing = list[str](), list[str](), dict[str, str]()
    for text in names:
        reference = ModelReference.parse(text)
        name, versions = reference.name, [reference.version]
        deployment = deployments.get(name)
        if deployment is not None:
            if deployment.is_empty:
                continue
            others = (one for one in deployment.former_champions if one in deployment.versions)
            versions = [deployment.champion, *others]
        keys, reasons = _find(name, versions, stored)
        if keys:
            found.append(keys[0])
            former += keys[1:]
        else:
            logger.error("%s is not served: %s", text, reasons[0])
            missing[name] = reasons[0]
    if not found:
        why = " ".join(missing.values()) or "All of them were unloaded; name another one in LIGHTBOX_MODELS."
        raise ModelLoadError(f"No model of LIGHTBOX_MODELS can be served. {why}")
    return StartPlan(tuple(dict.fromkeys(found)), missing, tuple(former))


def _find(name: str, versions: Sequence[str | None], stored: StoredModels) -> tuple[list[str], list[str]]:
    """Return the keys of the versions whose files are here, and why the others are not."""
    keys, reasons = list[str](), list[str]()
    for version in versions:
        try:
            keys.append(stored.load(name, version).card.key)
        except LightboxError as error:
            reasons.append(error.message)
    return keys, reasons


def _read_deployments(registry: RegistryStore) -> Mapping[str, Deployment]:
    try:
        return registry.deployments()
    except JournalUnavailableError as error:
        logger.warning("The registry cannot be read; this worker starts as the settings say: %s", error)
        return {}
