"""NVIDIA Triton through PyTriton: its dynamic batcher in front of its Python backend."""
