"""What an operator may do with the registry: each call checks what was asked for, and changes the desired state."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from bento_service.domain.model_names import ModelReference
from bento_service.domain.models import StoredModel
from bento_service.domain.registry import (
    CHALLENGER,
    Agreement,
    Canary,
    Change,
    Deployment,
    LoadState,
    Shadow,
    WorkerReport,
)
from bento_service.errors import (
    AmbiguousVersionError,
    LabelsDifferError,
    ModelLoadError,
    UnknownModelError,
    UnknownVersionError,
    VersionInUseError,
)
from bento_service.models import registry_changes
from bento_service.models.registry import RegistryStore, Transform

logger = logging.getLogger(__name__)

_CHANGES_SHOWN = 20


class StoredVersions(Protocol):
    """The files of models; `models.store.BentoModelStore` has them."""

    def versions(self, name: str) -> Sequence[StoredModel]:
        """Return each stored version of a model, newest first."""


@dataclass(frozen=True, slots=True)
class Overview:
    """What the registry knows of one model.

    `stored` has the versions whose files are here, newest first; `workers` each worker that lives; `changes` the last
    ones, newest first; `agreement` is that of champion and shadow.
    """

    deployment: Deployment
    stored: tuple[str, ...]
    workers: tuple[WorkerReport, ...]
    changes: tuple[Change, ...]
    agreement: Agreement | None


class RegistryControl:
    """Changes deployments by the API's calls. Thread-safe; every method reads files and the database.

    Each takes a model as `name`, `name:version` or `name@alias`, and who asks. Each raises `JournalUnavailableError`
    where the database cannot be used, `UnknownModelError` and `UnknownVersionError` for what is neither stored nor
    loaded, and `AmbiguousVersionError` where several versions begin with the characters given.
    """

    def __init__(self, registry: RegistryStore, stored: StoredVersions, *, default_model: str) -> None:
        self._registry = registry
        self._stored = stored
        self._default_model = default_model

    def overview(self, name: str) -> Overview:
        """Return what the registry knows of a model."""
        deployment = self._registry.deployments().get(name)
        stored = tuple(model.card.version for model in self._read_stored(name))
        if deployment is None:
            raise self._unknown_model(name, is_stored=bool(stored))
        shadow = deployment.shadow
        return Overview(
            deployment,
            stored,
            self._registry.workers(),
            self._registry.changes(name, limit=_CHANGES_SHOWN),
            None if shadow is None else self._registry.agreement(name, deployment.champion, shadow.version),
        )

    def load(self, model: ModelReference, actor: str) -> None:
        """Load a version; without one, that which was stored last. The first of a model is its champion.

        One that has failed is tried again.
        """
        version = self._find_version(model)
        self._change(
            model.name, partial(registry_changes.load, name=model.name, version=version), "load", version, actor
        )

    def unload(self, model: ModelReference, actor: str) -> None:
        """Unload a version; without one, the whole model.

        Raises:
            VersionInUseError: The version is the champion, or answers where that has failed; or the model is the
                default.
        """
        version = self._find_version(model) if model.version or model.alias else None
        if version is None and model.name == self._default_model:
            raise VersionInUseError(
                f"{model.name} answers requests that name no model, so it cannot be unloaded as a whole.",
                model=model.name,
            )
        if version is not None:
            self._refuse_substitute(model.name, version)
        transform = partial(registry_changes.unload, name=model.name, version=version)
        self._change(model.name, transform, "unload", version or "", actor)

    def promote(self, model: ModelReference, actor: str) -> None:
        """Make a version the champion; without one, the challenger, else that which was stored last."""
        version = self._find_version(model, prefers_challenger=True)
        transform = partial(registry_changes.promote, name=model.name, version=version)
        self._change(model.name, transform, "promote", version, actor)

    def roll_back(self, name: str, actor: str) -> None:
        """Make the former champion the champion again; raises `NoFormerChampionError` where there is none."""
        transform = partial(registry_changes.roll_back, name=name)
        self._change(name, transform, "rollback", "", actor)

    def set_canary(self, model: ModelReference, share: float, header: str | None, actor: str) -> None:
        """Send this share of the requests for the bare name to a version; 0 ends it.

        Raises:
            LabelsDifferError: The version has other labels than the champion.
            VersionInUseError: It is the champion.
        """
        if share == 0:
            transform = partial(registry_changes.set_canary, name=model.name, canary=None)
            return self._change(model.name, transform, "canary", "", actor)
        version = self._find_version(model, prefers_challenger=True)
        canary = Canary(version, share, header)
        transform = partial(registry_changes.set_canary, name=model.name, canary=canary)
        return self._change(model.name, self._with_same_labels(transform, version), "canary", version, actor)

    def set_shadow(self, model: ModelReference, share: float, actor: str) -> None:
        """Run this share of the images on a version too; 0 ends it. Raises as `set_canary`."""
        if share == 0:
            transform = partial(registry_changes.set_shadow, name=model.name, shadow=None)
            return self._change(model.name, transform, "shadow", "", actor)
        version = self._find_version(model, prefers_challenger=True)
        transform = partial(registry_changes.set_shadow, name=model.name, shadow=Shadow(version, share))
        return self._change(model.name, self._with_same_labels(transform, version), "shadow", version, actor)

    def _change(self, name: str, transform: Transform, action: str, version: str, actor: str) -> None:
        has_failed = any(worker.state_of(name, version) is LoadState.FAILED for worker in self._registry.workers())
        self._registry.change(name, transform, action=action, version=version, actor=actor, is_retry=has_failed)

    def _refuse_substitute(self, name: str, version: str) -> None:
        """Refuse a version that answers to the bare name in a worker that could not load the champion."""
        deployment = self._registry.deployments().get(name)
        if deployment is None or deployment.is_empty:
            return
        former = [one for one in deployment.former_champions if one in deployment.versions]
        for worker in self._registry.workers():
            champion = worker.versions.get((name, deployment.champion))
            if champion is None or champion.state is not LoadState.FAILED:
                continue
            ready = (one for one in former if worker.state_of(name, one) is LoadState.READY)
            if next(ready, None) == version:
                raise VersionInUseError(
                    f"{name}:{version} still answers to the bare name on {worker.host}: the champion, "
                    f"{deployment.champion}, is FAILED there ({champion.reason}). Roll back or promote another version "
                    "first, or load the champion again once that cause is mended.",
                    model=name,
                    version=version,
                )

    def _with_same_labels(self, transform: Transform, version: str) -> Transform:
        """Return a transform that checks first, so that no promotion comes in between."""

        def check(deployment: Deployment | None) -> Deployment:
            after = transform(deployment)
            labels = {model.card.version: model.card.labels for model in self._read_stored(after.name)}
            for needed in (version, after.champion):
                if needed not in labels:
                    raise self._unknown_version(after.name, needed, tuple(labels))
            if labels[version] != labels[after.champion]:
                raise LabelsDifferError(
                    f"{after.name}:{version} has other labels than the champion, {after.champion}: their answers "
                    "cannot be compared or mixed. Promote it, or import it under another name.",
                    model=after.name,
                    version=version,
                )
            return after

        return check

    def _find_version(self, model: ModelReference, *, prefers_challenger: bool = False) -> str:
        """Return the whole version that a reference means, of those that are stored here or wanted already."""
        deployment = self._registry.deployments().get(model.name)
        stored = tuple(stored.card.version for stored in self._read_stored(model.name))
        wanted = deployment.versions if deployment else ()
        known = tuple(dict.fromkeys((*stored, *wanted)))
        if not known:
            raise self._unknown_model(model.name, is_stored=False)
        aliases: Mapping[str, str] = deployment.aliases if deployment else {}
        if model.alias:
            if model.alias not in aliases:
                raise UnknownVersionError(
                    f"{model.name} has no alias {model.alias!r}. Its aliases: {', '.join(aliases) or 'none'}.",
                    model=model.name,
                    aliases=list(aliases),
                )
            return aliases[model.alias]
        if not model.version:
            return aliases.get(CHALLENGER, known[0]) if prefers_challenger else known[0]
        matching = [version for version in known if version.startswith(model.version)]
        if model.version in matching:
            return model.version
        if not matching:
            raise self._unknown_version(model.name, model.version, known)
        if len(matching) > 1:
            raise AmbiguousVersionError(
                f"Several versions of {model.name} begin with {model.version!r}: {', '.join(matching)}.",
                model=model.name,
                versions=matching,
            )
        return matching[0]

    def _read_stored(self, name: str) -> Sequence[StoredModel]:
        try:
            return self._stored.versions(name)
        except ModelLoadError as error:
            # Its message names folders, which are the operator's.
            logger.error("The registry finds no versions of %s: %s", name, error.message)
            raise UnknownVersionError(
                f"The model store of this service cannot be read, so no version of {name} is known. The server's log "
                "has the cause.",
                model=name,
            ) from error

    @staticmethod
    def _unknown_version(name: str, version: str, known: Sequence[str]) -> UnknownVersionError:
        found = ", ".join(known) or "none"
        return UnknownVersionError(
            f"No version of {name} that begins with {version!r} is stored here. There are: {found}.",
            model=name,
            versions=list(known),
        )

    @staticmethod
    def _unknown_model(name: str, *, is_stored: bool) -> UnknownModelError:
        if is_stored:
            return UnknownModelError(f"The model {name!r} is stored and not loaded. Load it first.", model=name)
        return UnknownModelError(
            f"No model named {name!r} is loaded, and none is in the model store of this service. Import it there "
            "first, with `lightbox models import`.",
            model=name,
        )
