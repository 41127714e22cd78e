"""The memory that a model takes, and whether it is there."""

from collections.abc import Sequence

from bento_service.domain.models import StoredModel
from bento_service.errors import ModelLoadError
from bento_service.pipeline.live_models import WarmModel

_MEMORY_FACTOR = 6
"""Memory of a loaded model as a multiple of its file, where nobody measured it: OpenVINO with one lane took 3.3 times,
with several 5.4 (docs/adr/0036-models-change-while-serving.md)."""


def estimate_memory(stored: StoredModel) -> tuple[int, str]:
    """Return the bytes that a model takes in one worker, and where the figure comes from."""
    if stored.card.memory_bytes is not None:
        return stored.card.memory_bytes, "measured when it was imported"
    return _MEMORY_FACTOR * stored.onnx_path.stat().st_size, f"estimated as {_MEMORY_FACTOR} times its file"


def require_memory(stored: StoredModel, loaded: Sequence[WarmModel], *, workers: int, available_bytes: int) -> None:
    """Check that a model fits once more into each of `workers`; `loaded` is what one of them has already.

    Raises:
        ModelLoadError: It does not; the message has the figures.
    """
    need_bytes, source = estimate_memory(stored)
    if workers * need_bytes <= available_bytes:
        return
    card = stored.card
    others = ", ".join(f"{model.card.key} ({_mb(model.memory_bytes)})" for model in loaded)
    raise ModelLoadError(
        f"{card.key} would not fit into memory: it needs {_mb(need_bytes)} ({source})"
        f"{f' in each of {workers} workers' if workers > 1 else ''}, and {_mb(available_bytes)} are available. "
        f"Loaded: {others}. Unload one of them, or give the service more memory.",
        model=card.name,
        needed_bytes=workers * need_bytes,
        available_bytes=available_bytes,
    )


def _mb(size_bytes: int) -> str:
    return f"{size_bytes / 1e6:.0f} MB"
