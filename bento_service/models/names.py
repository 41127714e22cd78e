"""Model names: finding the one that was meant, and the one that the store can hold."""

import difflib
import hashlib
import re
from collections.abc import Sequence

from bento_service.errors import ModelLoadError

BUNDLED_NAMES: tuple[str, ...] = ("efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2")
"""The models that need no network, smallest first (bento_service/preparation/sources/bundled.py)."""

_BENTO_NAME_LIMIT = 63
"""Characters in a BentoML tag's name, at most (bentoml/_internal/tag.py)."""


def unknown_model(name: str, known: Sequence[str], *, allowed: str) -> ModelLoadError:
    """Make the error for a name that no source has, with the names closest to it.

    Args:
        name: What was asked for.
        known: Every name that could have been meant.
        allowed: What a name may be, as a sentence.
    """
    matches = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    meant = f" Did you mean {' or '.join(repr(match) for match in matches)}?" if matches else ""
    return ModelLoadError(f"There is no model {name!r}.{meant} {allowed}", model=name, close_matches=tuple(matches))


def bento_name(name: str) -> str:
    """Return the BentoML tag name that holds a model: `timm/resnet50.a1_in1k` is `lightbox-timm-resnet50.a1_in1k`.

    A name that BentoML cannot hold as it is (longer than 63 characters, or with other characters than lower-case
    letters, digits, `.`, `_` and `-`) ends in a digest of the original, so that two names never meet.
    """
    plain = name.replace("/", "-", 1)
    safe = f"lightbox-{re.sub(r'[^a-z0-9._-]', '-', plain.lower())}"
    is_faithful = safe == f"lightbox-{plain}" and safe[-1].isalnum() and len(safe) <= _BENTO_NAME_LIMIT
    if is_faithful:
        return safe
    digest = hashlib.sha256(name.encode()).hexdigest()[:8]
    return f"{safe[: _BENTO_NAME_LIMIT - 9]}-{digest}"
