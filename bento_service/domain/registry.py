"""The registry's values: which versions of a model are loaded, and which of them answers."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

CHAMPION = "champion"
"""The alias that answers to the bare name."""
CHALLENGER = "challenger"


class LoadState(StrEnum):
    """The state of one version in one worker."""

    LOADING = "LOADING"
    READY = "READY"
    FAILED = "FAILED"
    UNLOADING = "UNLOADING"


@dataclass(frozen=True, slots=True)
class VersionStatus:
    """The state of one version in one worker.

    `reason` says why it is FAILED, and is empty otherwise. `memory_bytes` is what its load added to the worker's
    memory, or None until it is READY.
    """

    state: LoadState
    reason: str = ""
    memory_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Canary:
    """A version that answers a share of the requests for the bare name.

    A request is chosen by the hash of the header `header`, or of the image's bytes where that is None, so that the same
    caller or image always gets the same version. `share` is 0 to 1.
    """

    version: str
    share: float
    header: str | None = None


@dataclass(frozen=True, slots=True)
class Shadow:
    """A version that also runs a share of the images, at bulk priority, after they were answered. `share` is 0 to 1."""

    version: str
    share: float


@dataclass(frozen=True, slots=True)
class Deployment:
    """The desired state of one model: the versions to load, and the routing among them.

    `versions` has each version that is loaded or to be loaded, oldest load first. `aliases` points from an alias to one
    of them; the champion is always set. `former_champions` is newest first. `revision` grows with each change of any
    model.
    """

    name: str
    versions: tuple[str, ...]
    aliases: Mapping[str, str]
    canary: Canary | None = None
    shadow: Shadow | None = None
    former_champions: tuple[str, ...] = ()
    revision: int = 0

    @property
    def champion(self) -> str:
        """The version that answers to the bare name."""
        return self.aliases[CHAMPION]


@dataclass(frozen=True, slots=True)
class Comparison:
    """One image that ran on two versions of the model `name`: on the one that answered, and on the challenger.

    `compared_at` is in UTC. `is_same_class` tells whether both have the same best class; `max_difference` is the
    largest difference of a class's two scores.
    """

    name: str
    version: str
    challenger: str
    request_id: str
    compared_at: datetime
    is_same_class: bool
    max_difference: float
