"""The interface by which a running worker changes what it serves."""

from collections.abc import Mapping
from typing import Protocol

from bento_service.domain.registry import Deployment, VersionStatus


class ModelControl(Protocol):
    """Loads, unloads and routes versions while the worker serves. Used on the event loop.

    Requests go on meanwhile, and each is answered by the version that it was admitted to.
    """

    async def load(self, name: str, version: str, *, loaded_by: int = 0) -> None:
        """Load and warm a version beside what serves; do nothing if it is loaded. `version` is whole.

        A failed load leaves what serves as it is. `loaded_by` is how many other workers of this machine have loaded it
        already, and need no memory for it.

        Raises:
            LightboxError: The store lacks the version or cannot be read, its parity fails the gate, it would not fit
                into memory, the engine cannot run it, or the load takes too long.
        """

    async def unload(self, name: str, version: str) -> None:
        """Admit no further request to a version, wait until its last one is answered, and close its engine.

        It does nothing if the version is not loaded.

        Raises:
            InvalidParameterError: It answers to the bare name, or is the canary or the shadow of its deployment.
        """

    def set_deployment(self, deployment: Deployment) -> None:
        """Replace aliases, canary and shadow of one model in one step; `deployment.versions` loads nothing.

        An empty deployment ends the model: its name is unknown from now on, and every version of it may be unloaded.

        Raises:
            InvalidParameterError: It names a version that is not READY, or one whose labels differ from the champion's
                as canary or shadow; or it would end the default model.
        """

    def states(self) -> Mapping[tuple[str, str], VersionStatus]:
        """Return the state of each version by name and version, without unloaded versions."""
