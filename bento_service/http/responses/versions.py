"""The registry's values as messages of the wire contract."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence

from bento_service.domain.registry import (
    Agreement,
    Canary,
    Deployment,
    LoadState,
    Shadow,
    VersionStatus,
    WorkerReport,
)
from bento_service.models.registry_control import Overview
from lightbox_client import contract

_STORED = "STORED"
_UNLOADED = "UNLOADED"
_WORST_FIRST = (LoadState.FAILED, LoadState.LOADING, LoadState.UNLOADING, LoadState.READY)


def to_model_versions(overview: Overview) -> contract.ModelVersions:
    """Return the desired state of a model, and how far the workers are."""
    deployment = overview.deployment
    done = [worker for worker in overview.workers if worker.applied.get(deployment.name, 0) >= deployment.revision]
    versions = [_to_version(deployment, version, overview.workers) for version in _list_loaded(overview)]
    is_done = len(done) == len(overview.workers) > 0
    if deployment.is_empty:
        state = _UNLOADED if is_done else LoadState.UNLOADING
    elif not is_done:
        state = LoadState.LOADING
    elif any(version.state == LoadState.FAILED for version in versions if version.version in deployment.versions):
        state = LoadState.FAILED
    else:
        state = LoadState.READY
    listed = {version.version for version in versions}
    return contract.ModelVersions(
        name=deployment.name,
        state=state,
        revision=deployment.revision,
        workers=len(overview.workers),
        workers_done=len(done),
        aliases=dict(deployment.aliases),
        versions=versions
        + [
            contract.VersionState(version=version, state=_STORED)
            for version in overview.stored
            if version not in listed
        ],
        canary=to_canary(deployment.canary),
        shadow=to_shadow(deployment.shadow, overview.agreement),
        former_champions=list(deployment.former_champions),
        changes=[contract.ModelChange.model_validate(change, from_attributes=True) for change in overview.changes],
    )


def to_own_versions(
    deployment: Deployment, states: Mapping[tuple[str, str], VersionStatus]
) -> list[contract.VersionState]:
    """Return the versions that one worker has of a model."""
    return [
        contract.VersionState(
            version=version,
            state=status.state,
            reason=status.reason,
            aliases=_aliases_of(deployment, version),
            memory_bytes=status.memory_bytes,
        )
        for (name, version), status in states.items()
        if name == deployment.name
    ]


def to_unserved(
    served: Collection[str], states: Mapping[tuple[str, str], VersionStatus]
) -> list[contract.UnservedModel]:
    """Return the models that one worker is to have and that are not among the `served` names."""
    found: dict[str, list[VersionStatus]] = {}
    for (name, _), status in states.items():
        if name not in served:
            found.setdefault(name, []).append(status)
    return [
        contract.UnservedModel(
            name=name,
            state=min((status.state for status in statuses), key=_WORST_FIRST.index),
            reason="; ".join(status.reason for status in statuses if status.reason),
        )
        for name, statuses in found.items()
    ]


def to_canary(canary: Canary | None) -> contract.CanaryState | None:
    """Return a canary."""
    return None if canary is None else contract.CanaryState.model_validate(canary, from_attributes=True)


def to_shadow(shadow: Shadow | None, agreement: Agreement | None = None) -> contract.ShadowState | None:
    """Return a shadow, with what it was compared in."""
    if shadow is None:
        return None
    if agreement is None or not agreement.compared:
        return contract.ShadowState(version=shadow.version, share=shadow.share)
    return contract.ShadowState(
        version=shadow.version,
        share=shadow.share,
        compared=agreement.compared,
        same_class=agreement.same_class / agreement.compared,
        mean_difference=agreement.mean_difference,
        max_difference=agreement.max_difference,
    )


def _list_loaded(overview: Overview) -> list[str]:
    """Return the wanted versions, then those that some worker still has."""
    name = overview.deployment.name
    held = (version for worker in overview.workers for (model, version) in worker.versions if model == name)
    return list(dict.fromkeys((*overview.deployment.versions, *held)))


def _to_version(deployment: Deployment, version: str, workers: Sequence[WorkerReport]) -> contract.VersionState:
    is_wanted = version in deployment.versions
    found = [(worker.host, worker.versions.get((deployment.name, version))) for worker in workers]
    # A worker that has not said anything of a wanted version is about to load it.
    states = Counter(status.state if status else LoadState.LOADING for _, status in found if status or is_wanted)
    state = next((state for state in _WORST_FIRST if states[state]), LoadState.LOADING)
    reasons = {f"{host}: {status.reason}" for host, status in found if status and status.reason}
    return contract.VersionState(
        version=version,
        state=state,
        reason="; ".join(sorted(reasons)),
        aliases=_aliases_of(deployment, version),
        memory_bytes=max((status.memory_bytes or 0 for _, status in found if status), default=0) or None,
        workers={state.value: count for state, count in states.items()},
    )


def _aliases_of(deployment: Deployment, version: str) -> list[str]:
    return [alias for alias, one in deployment.aliases.items() if one == version]
