"""LitServe with dynamic batching on a GPU: `accelerator="cuda"`, `max_batch_size` and `batch_timeout`.

Batching: https://lightning.ai/docs/litserve/features/batching
"""

from bench.gpu_peers.engine import MAX_BATCH, open_engine
from bench.peers.classifier import read_model
from bench.peers.litserve_batched.server import ClassifierAPI, serve


class GpuClassifierAPI(ClassifierAPI):
    """As on CPUs, with the engine that Lightbox runs on a GPU."""

    def setup(self, device: str) -> None:
        """Load the model, in each worker."""
        self.model = read_model()
        self.infer = open_engine(lanes=1).infer


if __name__ == "__main__":
    api = GpuClassifierAPI(max_batch_size=MAX_BATCH, batch_timeout=0.005, api_path="/classify")
    serve(api, accelerator="cuda", devices=1)
