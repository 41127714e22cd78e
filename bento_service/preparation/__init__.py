"""Bringing a model in: sources, graphs, export, versions, parity. Beside engines/torch, the one room with PyTorch."""
