"""The versions of a model and the routing among them: `/v1/models/{name}/versions`, and the calls that change them."""

from datetime import datetime

from pydantic import Field

from lightbox_client.contract.wire import WireModel


class VersionState(WireModel):
    """One version of a model, over all workers."""

    version: str
    state: str = Field(
        description="LOADING until all workers have it, READY, FAILED on one of them, UNLOADING; STORED if its files "
        "are in the model store and nobody asked for it."
    )
    reason: str = Field(default="", description="Why it is FAILED, with the worker's host.")
    aliases: list[str] = Field(default=[], description="Its names: `champion` answers to the bare name.")
    memory_bytes: int | None = Field(default=None, description="What it takes in one worker, at most.")
    workers: dict[str, int] = Field(default={}, description="Workers by state.")


class CanaryState(WireModel):
    """The version that answers a share of the requests for the bare name."""

    version: str
    share: float
    header: str | None = Field(default=None, description="Hash of this header chooses; of the image if null.")


class ShadowState(WireModel):
    """The version that also runs a share of the images, and how often it agreed with the champion."""

    version: str
    share: float
    compared: int = Field(default=0, description="Images that ran on both, of those that the journal keeps.")
    same_class: float | None = Field(default=None, description="Share of them with the same best class.")
    mean_difference: float | None = Field(default=None, description="Largest difference of a score, on average.")
    max_difference: float | None = Field(default=None, description="Largest difference of a score in any of them.")


class ModelChange(WireModel):
    """One change of a model's versions or routing."""

    revision: int
    changed_at: datetime
    action: str = Field(description="start, load, unload, promote, rollback, canary or shadow.")
    version: str = Field(description="Empty where the change concerns none.")
    actor: str = Field(description="The caller's address.")


class ModelVersions(WireModel):
    """The desired state of one model, and how far the workers are."""

    name: str
    state: str = Field(
        description="LOADING until every worker has done what was asked for, then READY, or FAILED if a version "
        "failed on one; UNLOADING, then UNLOADED, for a model that was unloaded as a whole."
    )
    revision: int = Field(description="Grows with each change of any model.")
    workers: int = Field(description="Workers that live, of all replicas.")
    workers_done: int = Field(description="Those that have done what was asked for.")
    aliases: dict[str, str] = Field(description="Version by alias; `champion` answers to the bare name.")
    versions: list[VersionState] = Field(description="Loaded versions, oldest load first; then stored ones.")
    canary: CanaryState | None = None
    shadow: ShadowState | None = None
    former_champions: list[str] = Field(default=[], description="Newest first; a rollback takes the first.")
    changes: list[ModelChange] = Field(default=[], description="The last changes, newest first.")


class VersionChoice(WireModel):
    """The body of load, unload and promote. The version may be in the path instead: `pets:2f3a`."""

    version: str | None = Field(
        default=None,
        pattern=r"^[A-Za-z0-9._-]{1,64}$",
        description="A version, or its first characters. Without one, `load` takes the version that was stored last, "
        "`promote` the challenger, else that one, and `unload` unloads the whole model.",
    )


class CanaryChoice(VersionChoice):
    """The body of canary."""

    share: float = Field(
        ge=0, le=1, description="Share of the requests for the bare name; 0 ends the canary.", allow_inf_nan=False
    )
    header: str | None = Field(
        default=None,
        pattern=r"^[A-Za-z0-9-]{1,64}$",
        description="Requests are chosen by the hash of this header, so that a user always gets the same version; by "
        "that of the image if unset.",
    )


class ShadowChoice(VersionChoice):
    """The body of shadow."""

    share: float = Field(ge=0, le=1, description="Share of the images; 0 ends the shadow.", allow_inf_nan=False)


class NoChoice(WireModel):
    """The body of rollback: none."""
