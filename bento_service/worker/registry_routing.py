"""Which part of a deployment one worker has loaded and can route to. Pure functions."""

from collections.abc import Mapping
from dataclasses import replace

from bento_service.domain.registry import CHAMPION, Deployment, LoadState, VersionStatus

States = Mapping[tuple[str, str], VersionStatus]
"""The state of each version in a worker, by name and version."""


def restrict(wanted: Deployment, states: States, routed: Deployment | None) -> Deployment | None:
    """Return the part of a deployment that is READY; None where no version can answer to the bare name yet."""
    if wanted.is_empty:
        return wanted
    ready = set(list_ready(wanted.name, states))
    champion = wanted.champion
    if champion not in ready:
        # What answers goes on; a worker that starts later comes to the same.
        answering = () if routed is None or routed.is_empty else (routed.champion,)
        former = (version for version in wanted.former_champions if version in wanted.versions)
        found = next((version for version in (*answering, *former) if version in ready), None)
        if found is None:
            return None
        champion = found
    aliases = {alias: version for alias, version in wanted.aliases.items() if version in ready}
    return replace(
        wanted,
        aliases=aliases | {CHAMPION: champion},
        canary=wanted.canary if wanted.canary and wanted.canary.version in ready - {champion} else None,
        shadow=wanted.shadow if wanted.shadow and wanted.shadow.version in ready - {champion} else None,
    )


def list_ready(name: str, states: States) -> list[str]:
    """Return the versions of a model that are READY."""
    return [version for (model, version), one in states.items() if model == name and one.state is LoadState.READY]


def routing_of(deployment: Deployment) -> tuple[object, ...]:
    """Return what decides which version a request gets, to compare."""
    return (dict(deployment.aliases), deployment.canary, deployment.shadow)


def versions_in_use(deployment: Deployment) -> set[str]:
    """Return the versions that requests may reach, by any name but their own."""
    others = (deployment.canary, deployment.shadow)
    return {*deployment.aliases.values(), *(one.version for one in others if one is not None)}


def applied_revision(
    wanted: Deployment, states: States, failed_at: Mapping[tuple[str, str], int], routed: Deployment | None
) -> int:
    """Return the revision of a deployment that a worker follows; 0 while something of it is still to do.

    `failed_at` has the revision at which a version could not be loaded. Where that is the champion, the version that
    answers in its place stays, wanted or not.
    """
    name = wanted.name

    def is_settled(version: str) -> bool:
        status = states.get((name, version))
        is_ready = status is not None and status.state is LoadState.READY
        return is_ready or (status is not None and failed_at.get((name, version)) == wanted.revision)

    kept = set(wanted.versions)
    if routed is not None and not wanted.is_empty and (name, wanted.champion) in failed_at:
        kept |= versions_in_use(routed)
    is_unloaded = all(version in kept for model, version in states if model == name and version)
    return wanted.revision if is_unloaded and all(map(is_settled, wanted.versions)) else 0
