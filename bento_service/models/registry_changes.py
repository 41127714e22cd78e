"""The changes of a deployment. Pure functions: each takes the deployment as it is and returns the one to have."""

from dataclasses import replace

from bento_service.domain.registry import CHALLENGER, CHAMPION, Canary, Deployment, Shadow
from bento_service.errors import NoFormerChampionError, UnknownModelError, UnknownVersionError, VersionInUseError

FORMER_CHAMPIONS_KEPT = 20


def load(deployment: Deployment | None, name: str, version: str) -> Deployment:
    """Add a version. The first one of a model is its champion."""
    if deployment is None or deployment.is_empty:
        former = () if deployment is None else deployment.former_champions
        return Deployment(name, (version,), {CHAMPION: version}, former_champions=former)
    return _with_version(deployment, version)


def unload(deployment: Deployment | None, name: str, version: str | None) -> Deployment:
    """Take away a version with its aliases, canary and shadow; or the whole model, where `version` is None.

    Raises:
        UnknownModelError: Nothing of this model is loaded.
        UnknownVersionError: The version is not loaded.
        VersionInUseError: It is the champion.
    """
    deployment = _require(deployment, name)
    if version is None:
        return replace(deployment, versions=(), aliases={}, canary=None, shadow=None)
    _require_loaded(deployment, version)
    if version == deployment.champion:
        raise VersionInUseError(
            f"{name}:{version} answers to the bare name. Promote another version first, or unload the whole model.",
            model=name,
            version=version,
        )
    return replace(
        deployment,
        versions=tuple(one for one in deployment.versions if one != version),
        aliases={alias: one for alias, one in deployment.aliases.items() if one != version},
        canary=None if deployment.canary and deployment.canary.version == version else deployment.canary,
        shadow=None if deployment.shadow and deployment.shadow.version == version else deployment.shadow,
    )


def promote(deployment: Deployment | None, name: str, version: str) -> Deployment:
    """Make a version the champion, loading it if it is not; canary and shadow end: they were of the former champion."""
    if deployment is None or deployment.is_empty:
        return load(deployment, name, version)
    if version == deployment.champion:
        return deployment
    former = (deployment.champion, *(one for one in deployment.former_champions if one != deployment.champion))
    return _with_champion(_with_version(deployment, version), version, former[:FORMER_CHAMPIONS_KEPT])


def roll_back(deployment: Deployment | None, name: str) -> Deployment:
    """Make the former champion the champion again, and the one before it the next to roll back to.

    The version that was the champion stays loaded. Canary and shadow end.

    Raises:
        UnknownModelError: Nothing of this model is loaded.
        NoFormerChampionError: There was no other champion.
    """
    deployment = _require(deployment, name)
    former = [one for one in deployment.former_champions if one != deployment.champion]
    if not former:
        raise NoFormerChampionError(
            f"{name}:{deployment.champion} is the first champion of {name}: there is none to roll back to. "
            "Promote a version by its name.",
            model=name,
        )
    return _with_champion(_with_version(deployment, former[0]), former[0], tuple(former[1:]))


def set_canary(deployment: Deployment | None, name: str, canary: Canary | None) -> Deployment:
    """Send a share of the requests for the bare name to a version, loading it if it is not; None ends it.

    Raises:
        UnknownModelError: Nothing of this model is loaded.
        VersionInUseError: The version is the champion.
    """
    deployment = _require(deployment, name)
    if canary is None:
        return replace(deployment, canary=None)
    return replace(_with_challenger(deployment, canary.version), canary=canary)


def set_shadow(deployment: Deployment | None, name: str, shadow: Shadow | None) -> Deployment:
    """Run a share of the images on a version too, loading it if it is not; None ends it. Raises as `set_canary`."""
    deployment = _require(deployment, name)
    if shadow is None:
        return replace(deployment, shadow=None)
    return replace(_with_challenger(deployment, shadow.version), shadow=shadow)


def _with_version(deployment: Deployment, version: str) -> Deployment:
    if version in deployment.versions:
        return deployment
    return replace(deployment, versions=(*deployment.versions, version))


def _with_champion(deployment: Deployment, version: str, former: tuple[str, ...]) -> Deployment:
    others = {alias: one for alias, one in deployment.aliases.items() if (alias, one) != (CHALLENGER, version)}
    aliases = {**others, CHAMPION: version}
    return replace(deployment, aliases=aliases, canary=None, shadow=None, former_champions=former)


def _with_challenger(deployment: Deployment, version: str) -> Deployment:
    if version == deployment.champion:
        raise VersionInUseError(
            f"{deployment.name}:{version} is the champion already; a canary or shadow is another version.",
            model=deployment.name,
            version=version,
        )
    return replace(_with_version(deployment, version), aliases={**deployment.aliases, CHALLENGER: version})


def _require(deployment: Deployment | None, name: str) -> Deployment:
    if deployment is None or deployment.is_empty:
        raise UnknownModelError(f"No version of {name!r} is loaded. Load one first.", model=name)
    return deployment


def _require_loaded(deployment: Deployment, version: str) -> None:
    if version not in deployment.versions:
        raise UnknownVersionError(
            f"{deployment.name}:{version} is not loaded. Loaded: {', '.join(deployment.versions)}.",
            model=deployment.name,
            versions=list(deployment.versions),
        )
