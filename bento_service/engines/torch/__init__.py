"""One model as PyTorch runs it, on a CPU or a CUDA GPU. Loads PyTorch only when an engine is made."""
