"""The engine that Lightbox runs on a GPU, for a peer."""

from bench.models import MODEL, open_store
from bench.peers.classifier import share_of_cpus
from bento_service.engines.torch.engine import TorchEngine

MAX_BATCH = 128


def open_engine(lanes: int) -> TorchEngine:
    """Load the model that is measured, on so many lanes.

    Raises:
        FileNotFoundError: It is not prepared.
    """
    stored = open_store().find(MODEL)
    if stored is None:
        raise FileNotFoundError(f"{MODEL} is not prepared; `python -m bench.gpu` does it.")
    return TorchEngine(
        stored.require_program(), stored.card, device="cuda", threads=share_of_cpus(), lanes=lanes, max_batch=MAX_BATCH
    )
