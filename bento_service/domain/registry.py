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

    `reason` says why it is FAILED, and is empty otherwise. `memory_bytes` is what it takes in this worker by
    its card, or else an estimate; None until it is READY.
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
    of them. `former_champions` is newest first. `revision` grows with each change of any model.

    The champion is always set, unless the whole model was unloaded: then `versions` and `aliases` are empty.
    """

    name: str
    versions: tuple[str, ...]
    aliases: Mapping[str, str]
    canary: Canary | None = None
    shadow: Shadow | None = None
    former_champions: tuple[str, ...] = ()
    revision: int = 0

    @property
    def is_empty(self) -> bool:
        """Whether the whole model was unloaded."""
        return not self.versions

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


@dataclass(frozen=True, slots=True)
class Change:
    """One entry of the registry's history. `version` is empty where a change concerns none, `changed_at` is in UTC."""

    revision: int
    changed_at: datetime
    name: str
    action: str
    version: str
    actor: str


@dataclass(frozen=True, slots=True)
class WorkerReport:
    """What one worker has loaded, by name and version; `applied` is the revision of each deployment that it follows.

    A worker follows a revision once all that it asks for is done here, or has failed.
    """

    worker_id: str
    host: str
    applied: Mapping[str, int]
    versions: Mapping[tuple[str, str], VersionStatus]

    def state_of(self, name: str, version: str) -> LoadState | None:
        """Return the state of a version; None if the worker has nothing of it."""
        status = self.versions.get((name, version))
        return status.state if status is not None else None


@dataclass(frozen=True, slots=True)
class Agreement:
    """The comparisons of two versions: how many, in how many the best class is the same, and differences of scores."""

    compared: int = 0
    same_class: int = 0
    mean_difference: float = 0.0
    max_difference: float = 0.0
