"""Bringing a model in: sources, export, parity. The one room beside engines/torch that loads PyTorch."""
