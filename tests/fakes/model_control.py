"""A `ModelControl` without models: loads on demand, and records each routing."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field

from bento_service.domain.registry import Deployment, LoadState, VersionStatus
from bento_service.errors import InvalidParameterError, ModelLoadError
from bento_service.pipeline.model_control import ModelControl


@dataclass
class FakeModelControl(ModelControl):
    """Loads at once, unless `held` has the version: then once it is set. `missing` has the versions without files.

    The `default_model` does not end.
    """

    held: dict[str, asyncio.Event] = field(default_factory=dict)
    missing: set[str] = field(default_factory=set)
    loads: list[str] = field(default_factory=list)
    loaded_by: list[int] = field(default_factory=list)
    routed: dict[str, Deployment] = field(default_factory=dict)
    found: dict[tuple[str, str], VersionStatus] = field(default_factory=dict)
    default_model: str = ""

    async def load(self, name: str, version: str, *, loaded_by: int = 0) -> None:
        self.loads.append(version)
        self.loaded_by.append(loaded_by)
        self.found[name, version] = VersionStatus(LoadState.LOADING)
        if version in self.held:
            await self.held[version].wait()
        if version in self.missing:
            self.found[name, version] = VersionStatus(LoadState.FAILED, f"{version} is not stored here")
            raise ModelLoadError(f"{version} is not stored here")
        self.found[name, version] = VersionStatus(LoadState.READY, memory_bytes=1)

    async def unload(self, name: str, version: str) -> None:
        del self.found[name, version]

    def set_deployment(self, deployment: Deployment) -> None:
        if deployment.is_empty and deployment.name == self.default_model:
            raise InvalidParameterError(f"{deployment.name} is the default")
        for version in deployment.aliases.values():
            if self.found[deployment.name, version].state is not LoadState.READY:
                raise InvalidParameterError(f"{version} is not READY")
        self.routed[deployment.name] = deployment

    def states(self) -> Mapping[tuple[str, str], VersionStatus]:
        return dict(self.found)

    def champion(self, name: str) -> str:
        return self.routed[name].champion
