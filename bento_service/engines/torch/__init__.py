"""PyTorch engine for CPUs and CUDA GPUs. Imports PyTorch only when an engine is created."""
