"""A model's version: a digest of what decides its answers."""

import hashlib
import json
from dataclasses import asdict
from typing import TYPE_CHECKING

from bento_service.domain.models import InputRecipe
from bento_service.models.store import FILE_FORMAT

if TYPE_CHECKING:
    from torch import nn

_HEX_DIGITS = 12


def compute_version(module: "nn.Module", recipe: InputRecipe) -> str:
    """Return twelve hex digits over every tensor of a model (name, type, shape, bytes), its recipe and the file format.

    Equal weights and recipes give equal versions in any process on any machine; the exported files do not count,
    because exporting twice does not give the same bytes.
    """
    digest = hashlib.sha256()
    digest.update(json.dumps([FILE_FORMAT, asdict(recipe)], sort_keys=True).encode())
    for name, tensor in sorted(module.state_dict().items()):
        values = tensor.detach().cpu().contiguous().numpy()
        digest.update(f"{name} {values.dtype.str} {values.shape}".encode())
        digest.update(values.tobytes())
    return digest.hexdigest()[:_HEX_DIGITS]
