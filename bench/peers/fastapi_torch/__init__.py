"""FastAPI with eager PyTorch: what most tutorials show."""
