"""Measure the parity of prepared models again, against the best reference that is installed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec

import numpy as np
from numpy.typing import NDArray

from bento_service.domain.models import Parity, StoredModel
from bento_service.errors import ModelLoadError
from bento_service.extras import explain_missing
from bento_service.preparation.parity import (
    classify_as_reference,
    classify_with_onnxruntime,
    compare_engines,
    sample_crops,
)
from bento_service.preparation.prepare import load_in_torch

PYTORCH = "PyTorch in f32"
"""The name of the better reference."""


@dataclass(frozen=True, slots=True)
class Verification:
    """The parity of a prepared model by engine name, and the reference's name."""

    reference: str
    parities: Mapping[str, Parity]


def verify(stored: StoredModel) -> Verification:
    """Compare each installed CPU engine with a reference over crops of the dashboard's photographs.

    The reference is f32 PyTorch on timm's evaluation transform. Where PyTorch and timm are missing, and for imported
    models, whose source may be gone, it is ONNX Runtime on the stored graph.

    Raises:
        ModelLoadError: There is no reference or no photograph, or PyTorch cannot load the model.
    """
    crops = sample_crops()
    if not crops:
        raise ModelLoadError("Parity is measured over the dashboard's photographs, which are not installed here.")
    reference, answers = _ask_reference(stored, crops)
    return Verification(reference, compare_engines(stored.onnx_path, stored.card, answers, crops))


def _ask_reference(stored: StoredModel, crops: Sequence[bytes]) -> tuple[str, NDArray[np.float32]]:
    is_imported = bool(stored.card.found_in)
    if not is_imported and find_spec("torch") and find_spec("timm"):
        return PYTORCH, classify_as_reference(load_in_torch(stored.card.name), crops)
    if find_spec("onnxruntime"):
        return "ONNX Runtime in f32", classify_with_onnxruntime(stored.onnx_path, stored.card.recipe, crops)
    raise ModelLoadError(explain_missing("Verifying models", "onnxruntime"), model=stored.card.name)
