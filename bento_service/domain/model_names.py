"""The names of models, and how a person names one version of a model."""

import re
from dataclasses import dataclass

BUNDLED_NAMES = ("efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2")
"""The models that need no network, smallest first."""
IMPORTED_NAME_LIMIT = 50
"""Characters of an imported model's name, at most: BentoML's tag has a prefix before it."""
_IMPORTED_NAME = re.compile(r"[a-z0-9](?:[a-z0-9._-]*[a-z0-9])?")


def is_imported_name(name: str) -> bool:
    """Return whether an imported model may have this name.

    It has lower-case letters, digits, and `.`, `_` and `-` inside, and is no bundled model's.
    """
    is_short = len(name) <= IMPORTED_NAME_LIMIT
    return is_short and name not in BUNDLED_NAMES and _IMPORTED_NAME.fullmatch(name) is not None


def is_preparable(name: str) -> bool:
    """Return whether `lightbox models prepare` brings this model: bundled, or of a library. Others are imported."""
    return "/" in name or name in BUNDLED_NAMES


@dataclass(frozen=True, slots=True)
class ModelReference:
    """A model as it was named: `name`, `name:version` or `name@alias`; `version` may be its first characters."""

    name: str
    version: str | None = None
    alias: str | None = None

    @classmethod
    def parse(cls, text: str) -> "ModelReference":
        """Split a text; an empty version or alias counts as not given."""
        name, _, alias = text.partition("@")
        if alias:
            return cls(name, alias=alias)
        name, _, version = name.partition(":")
        return cls(name, version or None)
