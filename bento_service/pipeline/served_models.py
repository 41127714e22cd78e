"""The served models by name, version and alias, and the parameters that they take."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Self

from bento_service.domain.model_names import ModelReference
from bento_service.domain.registry import CHAMPION, Canary, Deployment, Shadow
from bento_service.domain.service import ServedModel
from bento_service.errors import InvalidParameterError, UnknownModelError

MAX_DEADLINE_MS = 600_000.0
"""Longest deadline that a client may ask for: ten minutes."""
_LISTED_NAMES = 20
"""Names in the message of an error, at most; its details have all."""


@dataclass(frozen=True, slots=True)
class ServedName:
    """One name: its loaded versions, oldest load first, and its deployment, None until there is one."""

    versions: Mapping[str, ServedModel] = field(default_factory=dict)
    deployment: Deployment | None = None

    @property
    def champion(self) -> ServedModel | None:
        """The version that answers to the bare name, or None where only single versions are served."""
        return self.versions[self.deployment.champion] if self.deployment else None

    @property
    def aliases(self) -> Mapping[str, ServedModel]:
        """The loaded versions that have an alias."""
        aliases = self.deployment.aliases.items() if self.deployment else ()
        return {alias: self.versions[version] for alias, version in aliases if version in self.versions}


@dataclass(frozen=True, slots=True)
class ServedModels:
    """The served models; a change makes another one, so that a request sees one state until it is answered.

    `names` are in the order of the settings, those loaded later behind. `default_model` answers requests that name no
    model; it may be one that is not loaded yet.
    """

    names: Mapping[str, ServedName]
    default_model: str

    @classmethod
    def of(cls, models: Sequence[ServedModel], default_model: str) -> Self:
        """Serve these versions; the first one of each name is its champion."""
        served = cls({}, default_model)
        for model in models:
            served = served.with_version(model)
        for name, named in served.names.items():
            versions = tuple(named.versions)
            served = served.with_deployment(Deployment(name, versions, {CHAMPION: versions[0]}))
        return served

    @property
    def champions(self) -> tuple[ServedModel, ...]:
        """The version that answers to each name, in the order of the names."""
        return tuple(champion for named in self.names.values() if (champion := named.champion))

    @property
    def versions(self) -> tuple[ServedModel, ...]:
        """Every loaded version."""
        return tuple(model for named in self.names.values() for model in named.versions.values())

    def has(self, key: str) -> bool:
        """Tell whether a version is served, by its card's key."""
        return any(model.card.key == key for model in self.versions)

    def find(self, name: str | None) -> ServedModel:
        """Return one model by `name`, `name:version` or `name@alias`; None asks for the default.

        The first characters of a version do, if no other version of the name has them.

        Raises:
            UnknownModelError: It is not served.
        """
        asked = self.default_model if name is None else name
        named = self.names.get(asked)
        if named is not None and (champion := named.champion) is not None:
            return champion
        reference = ModelReference.parse(asked)
        named = self.names.get(reference.name, ServedName())
        if reference.alias and reference.alias in named.aliases:
            return named.aliases[reference.alias]
        if reference.version:
            found = [model for version, model in named.versions.items() if version.startswith(reference.version)]
            if len(found) == 1:
                return found[0]
        raise self._make_unknown(asked)

    def name_of(self, key: str) -> str:
        """Return the name under which a version is shown: the bare one of a champion, else its card's key."""
        name, _, version = key.rpartition(":")
        named = self.names.get(name)
        return name if named and named.deployment and named.deployment.champion == version else key

    def find_canary(self, name: str | None) -> tuple[Canary, ServedModel] | None:
        """Return the canary of what a request asks for, which only bare names have."""
        named = self.names.get(self.default_model if name is None else name)
        canary = named.deployment.canary if named and named.deployment else None
        return (canary, named.versions[canary.version]) if named and canary else None

    def find_shadow(self, answering: ServedModel) -> tuple[Shadow, ServedModel] | None:
        """Return the shadow of the version that answered; only a champion has one."""
        named = self.names.get(answering.card.name)
        deployment = named.deployment if named else None
        if named is None or deployment is None or deployment.shadow is None:
            return None
        shadow = deployment.shadow
        return (shadow, named.versions[shadow.version]) if deployment.champion == answering.card.version else None

    def with_version(self, model: ServedModel) -> Self:
        """Serve one more version; it answers to its own name only, until a deployment says otherwise."""
        named = self.names.get(model.card.name, ServedName())
        return self._with(model.card.name, replace(named, versions={**named.versions, model.card.version: model}))

    def without_version(self, name: str, version: str) -> Self:
        """Serve a version no more.

        Raises:
            InvalidParameterError: Requests for the bare name may still reach it.
        """
        named = self.names[name]
        if (deployment := named.deployment) and version in _routed(deployment):
            raise InvalidParameterError(
                f"{name}:{version} is the champion, the canary or the shadow of {name!r}, so it stays loaded. Promote "
                "another version, or end canary and shadow, first.",
                model=name,
            )
        return self._with(
            name, replace(named, versions={one: model for one, model in named.versions.items() if one != version})
        )

    def with_deployment(self, deployment: Deployment) -> Self:
        """Route the requests for one name as `deployment` says; an empty one ends the name.

        Aliases of versions that are not loaded are unknown until they are.

        Raises:
            InvalidParameterError: Its champion, canary or shadow is not loaded, or canary or shadow have other labels
                than the champion; or it ends the default model.
        """
        name = deployment.name
        named = self.names.get(name, ServedName())
        if deployment.is_empty:
            if name == self.default_model:
                raise InvalidParameterError(
                    f"{name!r} answers requests that name no model, so it cannot be unloaded.", model=name
                )
            return self._with(name, replace(named, deployment=None))
        routed = _routed(deployment)
        if missing := [version for version in routed if version not in named.versions]:
            raise InvalidParameterError(f"{name}:{missing[0]} is not loaded here, so no request can go to it.")
        labels = named.versions[deployment.champion].card.labels
        for version in routed[1:]:
            if (others := named.versions[version].card.labels) != labels:
                raise InvalidParameterError(
                    f"{name}:{version} has other labels than the champion {deployment.champion} ({len(others)} and "
                    f"{len(labels)} classes); only versions with the same labels can share the requests of a name.",
                    model=name,
                )
        return self._with(name, replace(named, deployment=deployment))

    def _with(self, name: str, named: ServedName) -> Self:
        names = {**self.names, name: named}
        if not named.versions and named.deployment is None:
            del names[name]
        return replace(self, names=names)

    def _make_unknown(self, asked: str) -> UnknownModelError:
        names = [name for name, named in self.names.items() if named.champion]
        for name, named in self.names.items():
            names += [f"{name}@{alias}" for alias in named.aliases if alias != CHAMPION]
            shown = {named.deployment.champion} if named.deployment else set()
            names += [f"{name}:{version}" for version in named.versions if version not in shown]
        listed = ", ".join(names[:_LISTED_NAMES]) + (", …" if len(names) > _LISTED_NAMES else "")
        return UnknownModelError(f"No model named {asked!r} is served. Served: {listed or 'none'}.", models=names)


def is_chosen(value: str, *, purpose: str, share: float) -> bool:
    """Tell whether a value falls into a share of all values, 0 to 1: by its hash, so the same value always does.

    A larger share keeps every value of a smaller one. Different purposes choose independently.
    """
    digest = hashlib.sha256(f"{purpose}:{value}".encode()).digest()
    return int.from_bytes(digest[:8]) < share * 2**64


def check_parameters(*, top_k: int, deadline_ms: float | None) -> None:
    """Check a request's parameters.

    Raises:
        InvalidParameterError: `top_k` or `deadline_ms` is out of range.
    """
    if top_k < 1:
        raise InvalidParameterError(f"top_k is {top_k}; it must be at least 1.", parameter="top_k", minimum=1)
    if deadline_ms is not None and not 0 < deadline_ms <= MAX_DEADLINE_MS:
        raise InvalidParameterError(
            f"deadline_ms is {deadline_ms:g}; it must be more than 0 and at most {MAX_DEADLINE_MS:g}.",
            parameter="deadline_ms",
            minimum=0,
            maximum=MAX_DEADLINE_MS,
        )


def _routed(deployment: Deployment) -> list[str]:
    """Return the versions that requests for the bare name may reach, the champion first."""
    others = [one.version for one in (deployment.canary, deployment.shadow) if one]
    return [deployment.champion, *others]
