"""The registry's values: which versions of a model are loaded, and which of them answers."""

from collections.abc import Mapping
from dataclasses import dataclass
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
